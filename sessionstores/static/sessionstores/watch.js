// Watching: other participants' states, for a role that may see them.

import * as patches from "./patch.js";
import * as subscribers from "./subscribers.js";

export const VERSION = "3831dced";

const EVERYBODY = "*";
const DOCUMENT = "p:"; // in front of a participant's id
const SHOWN = ["name", "role", "status", "reason", "states"];
const NOTHING = Object.freeze({});

// Who is asked for, one participant or all, by however many holders.
class Target {
  holders = 0;
  status = "asked"; // then "watching" or "refused"
  reason; // of a refusal
  isFirst = true; // the next answer names everybody

  constructor(initial) {
    this.initial = this.state = initial;
    this.subscribers = new subscribers.Subscribers(() => this.state);
  }
}

export class Watches {
  #tab;
  #targets = new Map(); // by id, or EVERYBODY
  #roll = {}; // name and role, by id, of those whom the server has named
  #gone = new Map(); // why there is nothing to be seen, by id
  #people = new Map(); // what is shown, by id

  // `tab`: `documents` by name and their class, `send(frame)`, `isLive()`, `freeze(states)`.
  constructor(tab) {
    this.#tab = tab;
  }

  watch(id) {
    return this.#hold(id, { id, status: "asked", states: NOTHING });
  }

  participants() {
    return this.#hold(EVERYBODY, { status: "asked", people: NOTHING });
  }

  // The server of a new connection knows nothing of what was asked for.
  welcome() {
    for (const id of this.#targets.keys()) this.#ask(id);
  }

  // Another role may see what this one was refused.
  askAgain() {
    for (const [id, { status }] of this.#targets) if (status === "refused") this.#ask(id);
  }

  // The document that a snapshot is of, if anybody watches it.
  open(name) {
    const id = name.slice(DOCUMENT.length);
    if (!name.startsWith(DOCUMENT) || !this.#isWatched(id)) return undefined;
    const document = new this.#tab.LiveDocument(undefined, {
      requestSync: (rev) => this.#tab.send({ type: "sync", doc: name, rev }),
      changed: () => this.#show([id]),
      counted: () => {},
      isDoubtful: () => false,
    });
    this.#tab.documents.set(name, document);
    this.#gone.delete(id);
    return document;
  }

  answered({ participant: id, people = {} }) {
    const target = this.#targets.get(id);
    if (!target) return;
    const before = this.#roll;
    if (id === EVERYBODY) {
      this.#roll = target.isFirst ? people : { ...before, ...people };
      for (const each in before) if (!Object.hasOwn(this.#roll, each)) this.#drop(each);
    }
    Object.assign(target, { status: "watching", reason: undefined, isFirst: false });
    this.#show([id, ...Object.keys({ ...before, ...people })]);
  }

  left({ participant: id, reason }) {
    if (!this.#isWatched(id)) return;
    this.#drop(id);
    if (this.#targets.has(id) || reason === "unreadable") this.#gone.set(id, reason);
    if (reason !== "unreadable") delete this.#roll[id];
    this.#show([id]);
  }

  // Without an id: servers of earlier releases know no frame of this kind, and do not say which.
  refused({ participant: id, reason }) {
    for (const [each, target] of this.#targets) {
      if (each === id || (!id && target.isFirst)) {
        Object.assign(target, { status: "refused", reason });
      }
    }
    this.#tidy();
  }

  #hold(id, initial) {
    if (!this.#targets.has(id)) {
      this.#targets.set(id, new Target(initial));
      if (!this.#people.has(id)) this.#people.set(id, initial);
      this.#show([id]);
      this.#ask(id);
    }
    const target = this.#targets.get(id);
    let isHeld = true;
    target.holders += 1;
    return {
      getState: () => target.state,
      getInitialState: () => target.initial,
      subscribe: target.subscribers.subscribe,
      stop: () => {
        if (isHeld && !(target.holders -= 1)) this.#forget(id);
        isHeld = false;
      },
    };
  }

  #ask(id) {
    const target = this.#targets.get(id);
    if (target.status === "refused") target.status = "asked";
    target.isFirst = true;
    if (this.#tab.isLive()) this.#tab.send({ type: "watch", participant: id });
  }

  #forget(id) {
    this.#targets.delete(id);
    if (this.#tab.isLive()) this.#tab.send({ type: "unwatch", participant: id });
    this.#tidy();
  }

  #isWatched(id) {
    const isSeen = (each) => (this.#targets.get(each)?.status ?? "refused") !== "refused";
    return isSeen(id) || isSeen(EVERYBODY);
  }

  // Lets go of whom nobody watches, or may watch, any more.
  #tidy() {
    if (!this.#isWatched(EVERYBODY)) this.#roll = {};
    const ids = [EVERYBODY, ...this.#people.keys(), ...this.#targets.keys()];
    for (const id of ids) if (!this.#isWatched(id)) this.#drop(id);
    this.#show(ids);
  }

  #drop(id) {
    this.#tab.documents.get(DOCUMENT + id)?.close();
    this.#tab.documents.delete(DOCUMENT + id);
    this.#gone.delete(id);
  }

  // What is known of somebody: the same object as before, unless it has changed.
  #person(id) {
    const found = this.#tab.documents.get(DOCUMENT + id)?.states;
    const target = this.#targets.get(id);
    const isRefused = !this.#isWatched(id);
    const reason = isRefused ? target?.reason : this.#gone.get(id);
    const status = isRefused ? "refused" : found ? "here" : reason ? "gone" : "asked";
    const states = found ? this.#tab.freeze(found) : NOTHING;
    const person = { id, ...patches.own(this.#roll, id), status, ...(reason && { reason }), states };
    const before = this.#people.get(id);
    return before && SHOWN.every((part) => before[part] === person[part]) ? before : person;
  }

  // Everybody who is to be seen: not those who are gone, nor who is asked for but not there.
  #everybody({ status, reason, state: before }) {
    const isShown = (person) => person.states !== NOTHING || Object.hasOwn(this.#roll, person.id);
    const shown = status === "refused" ? [] : [...this.#people.values()].filter(isShown);
    const people = Object.fromEntries(shown.map((person) => [person.id, person]));
    const isSame =
      status === before.status &&
      shown.length === Object.keys(before.people).length &&
      shown.every((person) => person === patches.own(before.people, person.id));
    return isSame ? before : { status, ...(reason && { reason }), people };
  }

  // Shows what has changed of `ids` to whoever listens, once all of it is in place.
  #show(ids) {
    for (const id of ids) {
      const isNamed = this.#targets.has(id) || Object.hasOwn(this.#roll, id);
      const isSomebody = isNamed || this.#tab.documents.has(DOCUMENT + id);
      if (isSomebody && id !== EVERYBODY) this.#people.set(id, this.#person(id));
      else this.#people.delete(id);
    }
    const changed = [...new Set([...ids, EVERYBODY])].filter((id) => this.#targets.has(id));
    for (const id of changed) {
      const target = this.#targets.get(id);
      target.state = id === EVERYBODY ? this.#everybody(target) : this.#people.get(id);
    }
    for (const id of changed) this.#targets.get(id)?.subscribers.tell();
  }
}
