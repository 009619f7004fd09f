// The outbox: actions that are not answered yet, sent in order, at a pace, and each at most once.

import * as patches from "./patch.js";

export const VERSION = "3831dced";

const RESEND_WITHIN = 300_000; // ms; the server remembers answers for twice as long
const ROOM_FOR_CLIENT = 12; // bytes of the field beside the id
const MAX_CONFLICTS = 5; // how often an action is sent again because others came first
const CONFLICT_BASE = 250; // ms
const CONFLICT_CAP = 3000; // ms
const CLIENT = /^[\w-]{1,64}$/; // as the server reads it
const FORMAT = 1; // of stored entries; those of releases before have none

// The message is for the person, the hint for developers, if there is one.
export class DispatchError extends Error {
  name = "DispatchError";
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

const now = () => performance.now(); // the other clock may be set

const randomId = () =>
  [...crypto.getRandomValues(new Uint8Array(8))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

// By storage, the entries that an outbox of this page has, so that no other takes them up.
const takenFrom = new WeakMap();
const keyOf = ({ client, id }) => `${client} ${id}`;

const isEntry = (entry) =>
  (entry.format ?? FORMAT) === FORMAT &&
  [entry.client, entry.state, entry.action].every((text) => typeof text === "string") &&
  CLIENT.test(entry.client) &&
  Number.isInteger(entry.id) &&
  entry.id > 0 &&
  entry.id < 2 ** 52 && // others are still to come
  Number.isFinite(entry.at) &&
  patches.isContainer(entry.args);

// A token bucket of actions. Half of the server's burst is left for frames that the network delays
// and delivers at once.
class Pacer {
  #limit; // [actions a second, burst], if any
  #allowance;
  #since;

  begin(limit) {
    const isLimit = Array.isArray(limit) && limit.length === 2 && limit.every((part) => part > 0);
    this.#limit = isLimit ? limit : undefined;
    this.#allowance = Infinity;
    this.#since = now();
  }

  // Takes a token and returns 0, or returns the milliseconds until there is one.
  take() {
    if (!this.#limit) return 0;
    const [rate, burst] = this.#limit;
    const earned = ((now() - this.#since) / 1000) * rate;
    this.#allowance = Math.min(Math.max(1, burst / 2), this.#allowance + earned);
    this.#since = now();
    if (this.#allowance < 1) return Math.ceil(((1 - this.#allowance) / rate) * 1000);
    this.#allowance -= 1;
    return 0;
  }
}

// A client id lives as long as the page. Actions that the previous page left unanswered keep the id
// that they got there: a reload and a duplicated tab repeat them, and nothing runs twice.
export class ActionOutbox {
  #tab;
  #taken = new Set();
  #entries = []; // in the order of their dispatch
  #onWire = new Set(); // those of them that went out on this socket
  #pacer = new Pacer();
  #clients = new Set(); // whose entries in the storage are ours
  #spares = []; // clients of actions that were sent again ahead of others
  #lastId = 0;
  #maxFrame;
  #serverAhead; // ms from our monotonic clock to the server's time
  #isBlocked = false; // what is next has the id of one that is on the wire, of another client
  #isSaving = false;
  #isClosed = false;
  #reported = 0; // the last number of pending actions that was told
  #settling = [];
  #paceTimer;
  #expiryTimer;
  client = randomId();

  // `tab`: `storage` and `storageKey` outlive the page; `send(text)` puts a frame on the wire, if
  // `isLive()`; `say(code)` tells a person of a refusal; `counted(number)` hears what is pending,
  // `refused(entry, error)` what was refused, and `changed(state)` for which state an action that
  // was added or refused counts.
  constructor(tab) {
    const { storage } = (this.#tab = tab);
    if (takenFrom.has(storage)) this.#taken = takenFrom.get(storage);
    else if (storage) takenFrom.set(storage, this.#taken);
    this.#clients.add(this.client);
  }

  get size() {
    return this.#entries.length;
  }

  // The entry that an answer is for: it names nothing but the id.
  find(wanted) {
    return this.#entries.find((entry) => entry.id === wanted && this.#onWire.has(entry));
  }

  // What a state is confirmed without.
  missing(state) {
    return this.#entries.filter((entry) => entry.state === state && !entry.isDone);
  }

  // Of one that was dispatched before this connection, a frame of another may tell first.
  isDoubtful(foretells) {
    return this.#entries.some(
      (each) => each.isOld && !each.acked && !each.isDone && foretells(each),
    );
  }

  // `done`: by client, the last action that the confirmed states which `concerns` contain.
  count(concerns, done, reset) {
    for (const entry of this.#entries.filter(concerns)) {
      const isDone = entry.id <= patches.own(done, entry.client);
      entry.isDone = isDone || (entry.isDone && !reset);
    }
  }

  // An action with the `replace` key of one that was not sent takes its place, and answers for it.
  // Not sent within so many ms, it expires.
  add(state, action, args, { replace: key, within }, waiter) {
    // A copy, so that what is sent later is what was meant now.
    const entry = { state, action, args: JSON.parse(JSON.stringify(args)), key, sent: false };
    const entries = this.#entries;
    const isSame = (each) => !each.sent && each.key === key && each.state === state;
    const old = key !== undefined && entries.find(isSame);
    if (within >= 0) entry.until = now() + within;
    entry.waiters = [...(old?.waiters ?? []), waiter];
    entry.client = this.client;
    this.#number(entry);
    entries.push(entry);
    if (old) this.#take(old);
    this.#save();
    this.flush();
    this.#tab.changed(state);
  }

  recover() {
    const isNew = (entry) => isEntry(entry) && !this.#taken.has(keyOf(entry));
    for (const entry of this.#stored().filter(isNew)) {
      const { client, id, at, sent, state, action, args, key } = entry;
      const until = Number.isFinite(entry.until) ? now() + entry.until - Date.now() : undefined;
      const left = { client, id, at, sent: !!sent, state, action, args, key, until };
      this.#entries.push({ ...left, waiters: [], isLeft: true });
      this.#clients.add(client);
      this.#taken.add(keyOf(entry));
      this.#lastId = Math.max(this.#lastId, id);
    }
    if (this.size) this.#save();
  }

  // How long ago they were sent says the server's clock, if it is told: ours may be set meanwhile,
  // and the monotonic one may stand still in sleep.
  begin(client, { rate, frame }, time) {
    if (typeof client === "string" && CLIENT.test(client)) this.#clients.add((this.client = client));
    this.#maxFrame = frame > 0 ? frame : Infinity;
    this.#pacer.begin(rate);
    const isTold = Number.isFinite(time);
    this.#serverAhead = (isTold ? time * 1000 : Date.now()) - now();
    for (const entry of this.#entries) {
      entry.isOld = true;
      if (isTold || entry.since === undefined) entry.since = entry.at - this.#serverAhead;
    }
    this.#expire();
  }

  flush() {
    clearTimeout(this.#paceTimer);
    this.#isBlocked = false;
    for (const entry of [...this.#entries]) {
      if (!this.#tab.isLive()) return;
      if (this.#onWire.has(entry) || entry.acked || !this.#entries.includes(entry)) continue;
      this.#isBlocked = !!this.find(entry.id);
      if (this.#isBlocked) break;
      const pause = entry.notBefore - now();
      const frame = !(pause > 0) && this.#frameOf(entry);
      if (frame === undefined) continue;
      const wait = frame ? this.#pacer.take() : pause;
      if (wait) {
        this.#paceTimer = setTimeout(() => this.flush(), wait);
        break;
      }
      if (!entry.sent) {
        entry.since = now();
        entry.at = entry.since + this.#serverAhead;
      }
      entry.sent = true;
      this.#onWire.add(entry);
      this.#tab.send(frame);
    }
    this.#save();
  }

  disconnect() {
    clearTimeout(this.#paceTimer);
    this.#onWire.clear();
  }

  // It keeps its place until its effect is here: a patch that it shares with others follows.
  // A repeated answer names the newest rev, not its own.
  acknowledge(entry, document, frame) {
    const { rev, result } = frame;
    entry.acked = true;
    this.#onWire.delete(entry);
    if (this.#isBlocked) this.flush();
    this.#save();
    const done = () => {
      this.#take(entry);
      for (const { resolve } of entry.waiters) resolve(result);
    };
    const isFirst = "result" in frame; // and not from memory
    const isCommitted = isFirst && frame.base !== rev;
    document.when(rev, done, !isFirst && !entry.isDone, isCommitted && !entry.isDone);
  }

  // What the page before has left may be sent again by a copy of this tab, too: as a new action it
  // would run twice.
  reject(entry, { code, hint, message }) {
    const isConflict = code === "conflict";
    if (isConflict && entry.isLeft) this.refuse(entry, "outcome_unknown", hint);
    else if (isConflict && (entry.conflicts ?? 0) < MAX_CONFLICTS) this.#sendAgain(entry);
    else this.refuse(entry, code, hint, message);
  }

  refuse(entry, code, hint, message = this.#tab.say(code)) {
    const error = new DispatchError(code, message, hint);
    this.#take(entry);
    if (this.#isBlocked) this.flush();
    this.#tab.changed(entry.state);
    for (const { reject } of entry.waiters) reject(error);
    this.#tab.refused(entry, error);
  }

  refuseAll(...reason) {
    for (const entry of this.#entries) this.refuse(entry, ...reason);
  }

  settled() {
    return new Promise((resolve, reject) => {
      if (this.size) this.#settling.push({ resolve, reject });
      else resolve();
    });
  }

  // Keeps what is unanswered in the storage, for the next one.
  close(error) {
    clearTimeout(this.#expiryTimer);
    this.disconnect();
    this.#write();
    this.#isClosed = true;
    for (const entry of this.#entries) {
      this.#taken.delete(keyOf(entry));
      for (const { reject } of entry.waiters) reject(error);
    }
    for (const { reject } of this.#settling) reject(error);
    this.#entries = [];
    this.#tab.counted(0);
  }

  #open() {
    return this.#entries.filter((entry) => !entry.acked);
  }

  #number(entry) {
    this.#taken.delete(keyOf(entry));
    entry.id = ++this.#lastId;
    this.#taken.add(keyOf(entry));
  }

  #addSpare() {
    const client = randomId();
    this.#clients.add(client);
    this.#spares.push(client);
    return client;
  }

  #take(entry) {
    this.#entries = this.#entries.filter((each) => each !== entry);
    this.#onWire.delete(entry);
    this.#taken.delete(keyOf(entry));
    this.#save();
    if (!this.size) for (const { resolve } of this.#settling.splice(0)) resolve();
  }

  // The frame of an entry; without one, the entry was refused for its size.
  #frameOf(entry) {
    const { id, state, action, args } = entry;
    const isForeign = entry.sent || entry.client !== this.client;
    const origin = isForeign ? { client: entry.client } : {};
    const frame = JSON.stringify({ type: "action", id, ...origin, state, action, args });
    // Sent again, it names its client, and has to fit then, too.
    const size = patches.bytes(frame) + (isForeign ? 0 : entry.client.length + ROOM_FOR_CLIENT);
    if (size < this.#maxFrame) return frame;
    const code = entry.sent ? "outcome_unknown" : "too_large";
    this.refuse(entry, code, `"${action}" takes more than the ${this.#maxFrame} bytes of a frame.`);
  }

  // A conflict did not run, and goes out again as a new action, after what was sent already and what
  // was dispatched before it. Ids of a client count up in the order of sending. Those that follow keep
  // theirs, under which a copy of this tab may send them, too; ahead of them, it is of another client:
  // of few, since the server remembers each for a while.
  #sendAgain(entry) {
    const entries = this.#entries;
    entry.conflicts = (entry.conflicts ?? 0) + 1;
    const longest = Math.min(CONFLICT_CAP, CONFLICT_BASE * 2 ** entry.conflicts);
    entry.notBefore = now() + Math.random() * longest;
    entry.sent = entry.isDone = false;
    entry.isOld = true;
    entry.order ??= entry.id;
    this.#onWire.delete(entry);
    this.#taken.delete(keyOf(entry));
    entries.splice(entries.indexOf(entry), 1);
    const isFirst = (each) => each.sent || (each.order ?? each.id) < entry.order;
    const place = entries.findLastIndex(isFirst) + 1;
    const later = entries.slice(place).map(({ client }) => client);
    const isFree = (client) => !later.includes(client);
    entry.client = [this.client, ...this.#spares].find(isFree) ?? this.#addSpare();
    this.#number(entry);
    entries.splice(place, 0, entry);
    this.flush();
    this.#tab.changed(entry.state);
  }

  // Sent longer ago, the server may have forgotten its answer and would run the action again.
  #endOf(entry) {
    // What the page before has sent is judged by the next welcome.
    return entry.sent ? (entry.since ?? now()) + RESEND_WITHIN : (entry.until ?? Infinity);
  }

  #expire() {
    const due = this.#open().filter((entry) => this.#endOf(entry) <= now());
    for (const entry of due) {
      const [code, what] = entry.sent
        ? ["outcome_unknown", "was sent but not answered within five minutes"]
        : ["expired", "could not be sent in time"];
      this.refuse(entry, code, `"${entry.action}" ${what}.`);
    }
    if (this.size) this.#save(); // timers may fire a little early
  }

  // Called after each change. Writing once in a turn is enough, since no page is unloaded in the
  // middle of one; and listeners that dispatch cannot disturb a loop over the entries.
  #save() {
    clearTimeout(this.#expiryTimer);
    const end = Math.min(...this.#open().map((entry) => this.#endOf(entry)));
    const wait = Math.min(end - now(), RESEND_WITHIN); // timers cannot wait for months
    if (end < Infinity) this.#expiryTimer = setTimeout(() => this.#expire(), wait);
    if (this.#isSaving) return;
    this.#isSaving = true;
    queueMicrotask(() => this.#write());
  }

  #stored() {
    let stored;
    try {
      stored = JSON.parse(this.#tab.storage?.getItem(this.#tab.storageKey) ?? null);
    } catch {
      // An unreadable storage costs the resend after a reload, nothing else.
    }
    return Array.isArray(stored) ? stored.filter(patches.isContainer) : [];
  }

  #write() {
    this.#isSaving = false;
    if (this.#isClosed) return;
    const { storage, storageKey, counted } = this.#tab;
    if (this.#reported !== this.size) counted((this.#reported = this.size));
    const ours = this.#open().map(({ client, id, at, sent, state, action, args, key, until }) => ({
      ...{ client, id, sent, state, action, args, key, format: FORMAT },
      at: at ?? Date.now(),
      until: until && until - now() + Date.now(),
    }));
    // Those of other instances, and of a later release, are not ours to remove.
    const isTheirs = (entry) =>
      entry.format > FORMAT || (isEntry(entry) && !this.#clients.has(entry.client));
    const all = [...this.#stored().filter(isTheirs), ...ours];
    try {
      if (all.length) storage?.setItem(storageKey, JSON.stringify(all));
      else storage?.removeItem(storageKey);
    } catch {
      // So does a full one.
    }
  }
}
