// Presence: who is there, and what this tab shows of itself to the others.

import * as patches from "./patch.js";

export const VERSION = "3831dced";

const MAX_META = 1024; // bytes of JSON
const MAX_DEPTH = 31; // levels of a meta; its frame is one more
const META_PAUSE = 100; // ms between two metas; of those set meanwhile, the last is sent
const REFUSED_KEY = /^(__proto__|constructor|prototype)$/;

// Whether the server takes it, and others read it as it is here: no lone surrogate, no integer that
// is no longer exact. What it refused would come back with each hello, and keep the tab out.
function isPortable(value, depth = 0) {
  if (typeof value === "string") return !/\p{Surrogate}/u.test(value);
  if (!patches.isContainer(value)) return !Number.isInteger(value) || Number.isSafeInteger(value);
  if (depth === MAX_DEPTH) return false;
  const isRefused = ([key, part]) =>
    REFUSED_KEY.test(key) || !isPortable(key) || !isPortable(part, depth + 1);
  return !Object.entries(value).some(isRefused);
}

// Who is present, and what this tab shows of itself.
export class TabPresence {
  #emit;
  #send;
  #meta = "{}"; // `meta` as JSON
  #sent; // what was sent of it on this socket
  #timer;
  #roll = false; // the next presence frame names everybody
  self;
  meta = {};
  present = {}; // participants by id, each with the metas of its tabs, name and role

  // `send(text)` returns false while there is no connection.
  constructor(self, emit, send) {
    this.self = self;
    this.#emit = emit;
    this.#send = send;
  }

  // The part of hello.
  hello() {
    this.#sent = this.#meta;
    return this.#meta === "{}" ? {} : { meta: this.meta };
  }

  welcome(frame) {
    this.#roll = true;
    this.know(frame);
  }

  disconnect() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  // Adds `data` to the meta, or takes out what is undefined.
  setMeta(data) {
    let text;
    try {
      const added = /^{/.test(JSON.stringify(data)) && { ...this.meta, ...data };
      text = JSON.stringify(added);
    } catch {
      // A cycle, or a BigInt.
    }
    if (!/^{/.test(text) || patches.bytes(text) > MAX_META) {
      throw new RangeError(`A tab's meta is an object of at most ${MAX_META} bytes of JSON.`);
    }
    if (!isPortable(JSON.parse(text))) {
      throw new RangeError("A meta has a broken character, a refused key, depth or integer.");
    }
    if (text === this.#meta) return;
    this.#meta = text;
    this.meta = JSON.parse(text);
    this.#emit("meta", this.meta);
    this.sendMeta();
  }

  sendMeta() {
    if (this.#meta === this.#sent || this.#timer) return;
    if (this.#send(`{"type":"meta","data":${this.#meta}}`) === false) return;
    this.#sent = this.#meta;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.sendMeta();
    }, META_PAUSE);
  }

  know({ name = this.self.name, role = this.self.role }) {
    if (typeof role !== "string" || (name !== null && typeof name !== "string")) return;
    if (name === this.self.name && role === this.self.role) return;
    this.self = { ...this.self, name, role };
    this.#emit("self", this.self);
  }

  attend({ joined: metas, left: gone, people = {} }) {
    const before = this.present;
    if (![gone, ...Object.values(metas)].every(Array.isArray)) throw new TypeError("No lists.");
    // Servers of earlier releases say nothing of names and roles.
    const entries = Object.keys({ ...people, ...metas }).map((id) => {
      const known = (!this.#roll && patches.own(before, id)) || [];
      const { name, role } = patches.own(people, id) ?? known;
      return [id, Object.assign([...(patches.own(metas, id) ?? known)], role && { name, role })];
    });
    const after = { ...(this.#roll ? {} : before), ...Object.fromEntries(entries) };
    for (const id of gone) delete after[id];
    this.#roll = false;
    if (patches.equal(before, after)) return; // in whatever order people are named
    this.present = patches.share(before, after);
    const joined = Object.entries(this.present).filter(([id, metas]) => metas !== before[id]);
    const left = Object.keys(before).filter((id) => !Object.hasOwn(this.present, id));
    this.#emit("presence", this.present, { joined: Object.fromEntries(joined), left });
  }
}
