// A session for front-end tests: the client, and a server in the same page that a test scripts.

import * as clients from "./client.js";

const LIMITS = { rate: null, frame: 65536 }; // tests are not paced

const copied = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));

const digits = (number) => String(number).padStart(8, "0");

// A refusal that an action of the test's throws, and that its caller is told.
export class Rejected extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

// One record: its states, at a rev that counts up.
class ScriptedDocument {
  counter = 1;
  incarnation = 0x7e57;
  done = {}; // the last action of each client

  constructor(name, states) {
    this.name = name;
    this.states = states;
  }

  get rev() {
    return `${this.incarnation.toString(16)}.${this.counter}-${digits(this.counter)}`;
  }

  // Becomes another record: what was there is lost.
  replace(states) {
    this.states = { ...this.states, ...states };
    this.counter = 1;
    this.incarnation += 1;
  }

  // Takes up the newer states of some names; returns the patch that leads there.
  change(changed) {
    const base = this.rev;
    const ops = [];
    for (const [name, value] of Object.entries(changed)) {
      const before = this.states[name];
      for (const key of Object.keys({ ...before, ...value })) {
        const path = `/${name}/${key.replace(/~/g, "~0").replace(/\//g, "~1")}`;
        if (!Object.hasOwn(value, key)) ops.push({ op: "remove", path });
        else if (JSON.stringify(before[key]) !== JSON.stringify(value[key])) {
          ops.push({ op: Object.hasOwn(before, key) ? "replace" : "add", path, value: value[key] });
        }
      }
    }
    this.states = { ...this.states, ...changed };
    this.counter += 1;
    return { doc: this.name, base, rev: this.rev, ops };
  }

  get snapshot() {
    const { name: doc, rev, states, done } = this;
    return { type: "snapshot", doc, rev, states, reset: false, run: "7e57", done };
  }
}

// What a test scripts. All of it happens at once, but for what waits while the network is held.
class ScriptedServer {
  sent = []; // the frames that the client has sent
  #script;
  #documents = new Map();
  #socket;
  #held; // frames, while `hold()` is in force
  #present = {};
  #watched; // what others have, by id; nobody may be watched until a test says so
  #watchedDocuments = new Map();
  #asked = new Set(); // whom the client watches: ids, or "*"
  #isDown = false;
  #answered = new Map(); // by client and id, so that nothing is done twice

  constructor(script) {
    this.#script = script;
    const { states = {}, shared = {} } = script;
    this.#documents.set("me", new ScriptedDocument("me", copied(states)));
    this.#documents.set("session", new ScriptedDocument("session", copied(shared)));
  }

  // The state as the server has it.
  state(name) {
    return this.#documentOf(name).states[name];
  }

  // Another tab, or code of the server, changes a state: `change` gets it, and returns the next one.
  change(name, change) {
    const document = this.#documentOf(name);
    this.#say({ type: "patch", ...document.change({ [name]: copied(change(document.states[name])) }) });
  }

  // The server has lost a state, or has had this participant start afresh.
  reset(name, state, message) {
    const document = this.#documentOf(name);
    document.replace({ [name]: copied(state) });
    this.#say({ ...document.snapshot, reset: true, message });
  }

  // Others' states, as far as this tab's role may see them: `{ bob: { name: "Bob", states: { board: … } } }`.
  watched(others) {
    const before = Object.keys(this.#watched ?? {});
    this.#watched = copied(others);
    const left = before.filter((id) => !Object.hasOwn(others, id));
    for (const participant of left) this.#say({ type: "gone", participant, reason: "left" });
    for (const asked of this.#asked) if (!left.includes(asked)) this.#show(asked);
  }

  // This tab's participant has another name or role.
  become({ name = this.#script.name, role = this.#script.role }) {
    Object.assign(this.#script, { name, role });
    this.#say({ type: "self", name, role });
  }

  message(data) {
    this.#say({ type: "message", data: copied(data) });
  }

  // Who is present besides oneself: `{ bob: { name: "Bob", tabs: [{ typing: true }] } }`.
  present(others) {
    const joined = { [this.#script.participant]: [{}] };
    const people = {};
    for (const [id, { name = null, role = "participant", tabs = [{}] }] of Object.entries(others)) {
      joined[id] = copied(tabs);
      people[id] = { name, role };
    }
    const left = Object.keys(this.#present).filter((id) => !Object.hasOwn(others, id));
    this.#present = others;
    this.#say({ type: "presence", joined, left, people });
  }

  // Keep what the client is to be told until `release()`: a slow network, as long as a test likes.
  hold() {
    this.#held ??= [];
  }

  release() {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const frame of held) this.#say(frame);
  }

  // Lose the connection, with what is held; `reconnect()` lets the client come back.
  drop() {
    this.#isDown = true;
    this.#held = this.#held && [];
    this.#socket?.fail(1006);
  }

  reconnect() {
    this.#isDown = false;
    this.session.resume();
  }

  // End the session for good, such as "ended" or "kicked".
  end(reason = "ended", message = "The session is over.") {
    this.#say({ type: "end", reason, message, retry: false });
  }

  // From here on, what the socket asks.
  connect(socket) {
    this.#socket = socket;
    if (this.#isDown) socket.fail(1006);
    else socket.succeed();
  }

  receive(text) {
    const frame = JSON.parse(text);
    this.sent.push(frame);
    if (frame.type === "hello") this.#welcome(frame);
    else if (frame.type === "action") this.#act(frame);
    else if (frame.type === "sync") this.#say(this.#documents.get(frame.doc).snapshot);
    else if (frame.type === "unwatch") this.#asked.delete(frame.participant);
    else if (frame.type === "watch") {
      this.#asked.add(frame.participant);
      this.#show(frame.participant);
    }
  }

  // Answers who is watched, as they are now.
  #show(asked) {
    const watched = this.#watched;
    if (!watched) {
      this.#say({ type: "unwatched", participant: asked, reason: "forbidden" });
      return;
    }
    const ids = Object.keys(watched).filter((id) => asked === "*" || asked === id);
    const people = {};
    for (const id of ids) {
      const { name = null, role = "participant" } = watched[id];
      people[id] = { name, role };
    }
    this.#say({ type: "watching", participant: asked, people });
    if (asked !== "*" && !ids.length) this.#say({ type: "gone", participant: asked, reason: "absent" });
    for (const id of ids) {
      const document = this.#watchedDocuments.get(id) ?? new ScriptedDocument(`p:${id}`);
      this.#watchedDocuments.set(id, document);
      document.states = watched[id].states ?? {};
      document.counter += 1;
      this.#say(document.snapshot);
    }
  }

  #welcome({ client }) {
    this.#asked.clear();
    const { session, participant, role } = this.#script;
    this.client = client ?? "test";
    const who = { session, participant, role, client: this.client };
    this.#say({ type: "welcome", ...who, ping: 3600, limits: LIMITS });
    for (const document of this.#documents.values()) this.#say(document.snapshot);
  }

  #act({ id, client = this.client, state, action, args }) {
    const key = `${client} ${id}`;
    if (!this.#answered.has(key)) this.#answered.set(key, this.#run(client, id, state, action, args));
    this.#say(this.#answered.get(key));
  }

  #run(client, id, name, action, args) {
    const document = this.#documentOf(name);
    document.done = { ...document.done, [client]: id };
    const run = this.#script.actions?.[name]?.[action];
    if (!run) return { type: "reject", id, code: "unknown_action", message: `No ${name}.${action}.` };
    try {
      const before = document.states[name];
      let result = null;
      const returns = (value) => (result = copied(value));
      const next = copied(run(structuredClone(before), args, returns)) ?? before;
      return { type: "ack", id, result, ...document.change({ [name]: next }) };
    } catch (error) {
      return { type: "reject", id, code: error.code ?? "internal", message: error.message };
    }
  }

  #documentOf(name) {
    for (const document of this.#documents.values()) {
      if (Object.hasOwn(document.states, name)) return document;
    }
    throw new Error(`The test's session has no state "${name}".`);
  }

  #say(frame) {
    if (this.#held) this.#held.push(frame);
    else this.#socket?.deliver(frame);
  }
}

// In the place of the browser's WebSocket. A constructor's caller sets its listeners first.
const socketOf = (server) =>
  class ScriptedSocket {
    #isOpen = false;

    constructor() {
      queueMicrotask(() => server.connect(this));
    }

    send(text) {
      if (this.#isOpen) server.receive(text);
    }

    close() {
      this.#isOpen = false;
    }

    succeed() {
      this.#isOpen = true;
      this.onopen();
    }

    fail(code) {
      this.#isOpen = false;
      this.onclose({ code, reason: "" });
    }

    deliver(frame) {
      if (this.#isOpen) this.onmessage({ data: JSON.stringify(frame) });
    }
  };

// A session and the server that a test scripts: `states` of the participant and `shared` ones of the
// session by name, and `actions` of them. An action gets a copy of its state, the arguments, and a function
// that is told its result; it returns the next state, or throws a `Rejected`.
export function createTestSession(script = {}, options = {}) {
  const full = { session: "TEST22", participant: "me", role: "participant", name: null, ...script };
  const server = new ScriptedServer(full);
  const states = {};
  for (const name in full.states) states[name] = "me";
  for (const name in full.shared) states[name] = "session";
  const { session: code, participant, role, name } = full;
  const config = { url: "/", token: "test", session: code, participant, role, name, states, debug: true };
  const connection = { storage: null, ...options, WebSocket: socketOf(server) };
  server.session = clients.connect(config, connection);
  return { session: server.session, server };
}
