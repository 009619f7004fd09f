// The outbox: actions that are not answered yet, sent in order, at a pace, and each at most once.

import * as patches from "./patch.js";

export const VERSION = "139935b4";

const RESEND_WITHIN = 300_000; // ms; the server remembers answers for twice as long
const ROOM_FOR_CLIENT = 12; // bytes of the field beside the id
const MAX_CONFLICTS = 5; // how often an action is sent again because others came first
const CONFLICT_BASE = 250; // ms
const CONFLICT_CAP = 3000; // ms

// The message is for the person, the hint for developers, if there is one.
export class DispatchError extends Error {
  name = "DispatchError";
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

const randomId = () =>
  [...crypto.getRandomValues(new Uint8Array(8))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

// A token bucket of actions. Half of the server's burst is left for frames that the network delays
// and delivers at once.
class Pacer {
  #limit; // [actions a second, burst], if any
  #allowance;
  #since;

  begin(limit) {
    this.#limit = limit;
    this.#allowance = Infinity;
    this.#since = Date.now();
  }

  // Takes a token and returns 0, or returns the milliseconds until there is one.
  take() {
    if (!this.#limit) return 0;
    const [rate, burst] = this.#limit;
    const now = Date.now();
    const earned = (Math.max(0, now - this.#since) / 1000) * rate;
    this.#allowance = Math.min(Math.max(1, burst / 2), this.#allowance + earned);
    this.#since = now;
    if (this.#allowance < 1) return Math.ceil(((1 - this.#allowance) / rate) * 1000);
    this.#allowance -= 1;
    return 0;
  }
}

// A client id lives as long as the page. Actions that the previous page left unanswered keep the id
// that they got there: a reload and a duplicated tab repeat them, and nothing runs twice.
export class ActionOutbox {
  #tab;
  #entries = []; // in the order of their dispatch
  #onWire = new Set(); // those of them that went out on this socket
  #pacer = new Pacer();
  #lastId = 0;
  #maxFrame;
  #isSaving = false;
  #reported = 0; // the last number of pending actions that was told
  #paceTimer;
  #expiryTimer;
  client = randomId();

  // `tab`: `storage` and `storageKey` outlive the page; `send(text)` puts a frame on the wire, if
  // `isLive()`; `say(code)` tells a person of a refusal, `counted(number)` hears what is pending.
  constructor(tab) {
    this.#tab = tab;
  }

  get size() {
    return this.#entries.length;
  }

  find(wanted) {
    return this.#entries.find(({ id, acked }) => id === wanted && !acked);
  }

  add(state, action, args, resolve, reject) {
    // A copy, so that what is sent later is what was meant now.
    const entry = { state, action, args: JSON.parse(JSON.stringify(args)) };
    const identity = { client: this.client, id: ++this.#lastId, at: Date.now(), sent: false };
    this.#entries.push({ ...identity, ...entry, resolve, reject });
    this.#save();
    this.flush();
  }

  recover() {
    const { storage, storageKey } = this.#tab;
    let left = [];
    try {
      left = JSON.parse(storage?.getItem(storageKey) ?? "[]");
    } catch {
      // An unreadable storage costs the resend after a reload, nothing else.
    }
    const entries = this.#entries;
    const isNew = ({ client, id }) => !entries.some((has) => has.client === client && has.id === id);
    entries.push(...left.filter(isNew));
    // An ack names nothing but the id.
    this.#lastId = Math.max(this.#lastId, ...entries.map(({ id }) => id));
    if (entries.length) this.#save();
  }

  begin(client, { rate, frame = Infinity } = {}) {
    this.client = client ?? this.client;
    this.#maxFrame = frame;
    this.#pacer.begin(rate);
    this.#expire();
  }

  flush() {
    if (!this.#tab.isLive()) return;
    clearTimeout(this.#paceTimer);
    for (const entry of [...this.#entries]) {
      if (this.#onWire.has(entry) || entry.acked) continue;
      const pause = entry.notBefore - Date.now();
      if (pause > 0 && pause <= CONFLICT_CAP) {
        this.#flushIn(pause);
        break;
      }
      const frame = this.#frameOf(entry);
      if (!frame) continue;
      const wait = this.#pacer.take();
      if (wait) {
        this.#flushIn(wait);
        break;
      }
      if (!entry.sent) entry.at = Date.now();
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
  acknowledge(entry, document, { rev, result }) {
    entry.acked = true;
    this.#onWire.delete(entry);
    this.#save();
    document.when(rev, () => {
      this.#take(entry);
      entry.resolve?.(result);
    });
  }

  reject(entry, { code, hint, message }) {
    if (code === "conflict" && (entry.conflicts ?? 0) < MAX_CONFLICTS) this.#sendAgain(entry);
    else this.refuse(entry, code, hint, message);
  }

  refuse(entry, code, hint, message = this.#tab.say(code)) {
    this.#take(entry);
    entry.reject?.(new DispatchError(code, message, hint));
  }

  refuseAll(...reason) {
    for (const entry of [...this.#entries]) this.refuse(entry, ...reason);
  }

  #open() {
    return this.#entries.filter((entry) => !entry.acked);
  }

  #take(entry) {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.#onWire.delete(entry);
    this.#save();
  }

  #flushIn(ms) {
    this.#paceTimer = setTimeout(() => this.flush(), ms);
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

  // A conflict did not run, and goes out again as a new action. Ids count up in the order of
  // sending: it follows what was sent already, and what was not is numbered anew.
  #sendAgain(entry) {
    const entries = this.#entries;
    entry.conflicts = (entry.conflicts ?? 0) + 1;
    const longest = Math.min(CONFLICT_CAP, CONFLICT_BASE * 2 ** entry.conflicts);
    entry.notBefore = Date.now() + Math.random() * longest;
    entry.sent = false;
    entry.client = this.client;
    this.#onWire.delete(entry);
    entries.splice(entries.indexOf(entry), 1);
    const wasSent = (each) => each.sent || each.client !== this.client;
    const place = entries.findLastIndex(wasSent) + 1;
    entries.splice(place, 0, entry);
    for (const each of entries.slice(place)) each.id = ++this.#lastId;
    this.flush();
  }

  // Later than this, the server may have forgotten its answer and would run the action again.
  #expire() {
    const now = Date.now();
    for (const entry of this.#open().filter(({ at }) => now - at >= RESEND_WITHIN)) {
      const [code, what] = entry.sent
        ? ["outcome_unknown", "was sent but not answered"]
        : ["expired", "could not be sent"];
      this.refuse(entry, code, `"${entry.action}" ${what} within five minutes.`);
    }
    if (this.#open().length) this.#save(); // timers may fire a little early
  }

  // Called after each change. Writing once in a turn is enough, since no page is unloaded in the
  // middle of one; and listeners that dispatch cannot disturb a loop over the entries.
  #save() {
    clearTimeout(this.#expiryTimer);
    const open = this.#open();
    if (open.length) {
      const oldest = Math.min(...open.map((entry) => entry.at));
      this.#expiryTimer = setTimeout(() => this.#expire(), oldest + RESEND_WITHIN - Date.now());
    }
    if (this.#isSaving) return;
    this.#isSaving = true;
    queueMicrotask(() => this.#write());
  }

  #write() {
    this.#isSaving = false;
    const { storage, storageKey, counted } = this.#tab;
    if (this.#reported !== this.size) counted((this.#reported = this.size));
    try {
      const open = this.#open();
      if (open.length) storage?.setItem(storageKey, JSON.stringify(open));
      else storage?.removeItem(storageKey);
    } catch {
      // A full storage costs the resend after a reload, nothing else.
    }
  }
}
