// A server and its network for tests: workers, commits, snapshots, and links that delay and are cut.
//
// It keeps to what the protocol promises, and no more: frames of one connection stay in order, those
// between workers are late, repeated, out of order or lost.
import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { FakeStorage } from "./page.js";

const HEARTBEAT = 1; // s

// A generator of numbers in [0, 1), the same for a seed (mulberry32).
export function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// What an action leads to, by its number: most are applied.
export const isRefused = (n) => n % 7 === 3;
export const isNoop = (n) => n % 11 === 5;

// One direction of a connection: in order, after a delay.
class Link {
  #deliver;
  #last = 0;
  isCut = false;

  constructor(deliver) {
    this.#deliver = deliver;
  }

  push(message, delay) {
    const at = Math.max(this.#last, Date.now() + delay);
    this.#last = at;
    setTimeout(() => this.isCut || this.#deliver(message), at - Date.now());
  }
}

// The server's end of a connection: one reader, which takes its frames one after the other.
class ServerConnection {
  inbox = [];
  isBusy = false;
  isLive = false;

  constructor(world, socket) {
    this.world = world;
    this.worker = world.below(2);
    this.down = new Link((text) => socket.onmessage({ data: text }));
    this.up = new Link((frame) => {
      this.inbox.push(frame);
      this.read();
    });
  }

  say(...frames) {
    for (const frame of frames) this.down.push(JSON.stringify(frame), this.world.delay());
  }

  // What has arrived is done, also when the connection is lost meanwhile.
  read() {
    if (this.isBusy || !this.inbox.length) return;
    this.isBusy = true;
    const frame = this.inbox.shift();
    setTimeout(() => this.take(frame, () => {
      this.isBusy = false;
      this.read();
    }), this.world.below(30));
  }

  take(frame, next) {
    const { world } = this;
    if (frame.type === "hello") {
      this.client = frame.client;
      this.isLive = true;
      world.connections.add(this);
      const { client } = frame;
      const limits = { rate: null, frame: 65_536 };
      this.say({ type: "welcome", client, ping: HEARTBEAT, now: world.time(), limits });
      this.say(world.snapshot(frame.have.me, true));
    } else if (frame.type === "sync") {
      this.say(world.snapshot(frame.rev, false));
    } else if (frame.type === "action") {
      return world.act(this, frame, next);
    }
    next();
  }
}

export class World {
  connections = new Set();
  sockets = new Set();
  commits = 0;
  lost = new Set(); // numbers whose effect a reset took
  conflicts = new Set(); // those that others came before, once at least
  copied = new Set(); // those that two tabs have
  group = [];
  isDown = false;

  constructor(random) {
    this.random = random;
    this.begin();
    this.heartbeat = setInterval(() => this.beat(), HEARTBEAT * 1000);
  }

  below = (limit) => Math.floor(this.random() * limit);
  chance = (share) => this.random() < share;
  delay = () => (this.isCalm ? 5 : 5 + this.below(this.chance(0.2) ? 400 : 60));
  time = () => Date.now() / 1000;

  begin() {
    const incarnation = (0x1000 + this.below(0xefff)).toString(16);
    this.record = { incarnation, counter: 0, log: [], clients: {}, revs: new Set() };
    this.advance();
  }

  advance() {
    const { record } = this;
    const base = record.rev;
    record.counter += 1;
    const tail = this.below(2 ** 31).toString(16).padStart(8, "0");
    record.rev = `${record.incarnation}.${record.counter}-${tail}`;
    record.revs.add(record.rev);
    return base;
  }

  // The cache has lost everything.
  reset() {
    for (const n of this.record.log) this.lost.add(n);
    this.begin();
  }

  beat() {
    for (const each of this.connections) {
      each.say({ type: "ping", heads: { me: this.record.rev } });
    }
  }

  // Where only the head is compared, nothing is said of actions.
  snapshot(have, isFirst) {
    const { rev, log, clients, revs } = this.record;
    const frame = { type: "snapshot", doc: "me", rev, reset: have !== undefined && !revs.has(have) };
    const done = Object.fromEntries(Object.entries(clients).map(([id, { last }]) => [id, last]));
    if (have === rev) return isFirst ? { ...frame, done } : frame;
    return { ...frame, states: { board: { log: [...log] } }, done };
  }

  act(connection, { id, args, client = connection.client }, next) {
    const call = { connection, id, n: args.n, client, next };
    if (this.chance(0.4) && !this.isCalm) {
      this.group.push(call);
      if (this.group.length === 1) setTimeout(() => this.commitGroup(), 20);
      return;
    }
    this.commit(call);
    next();
  }

  // What the record knows of an action: null if it ran, its code if it was refused; else undefined.
  recall({ id, client }) {
    const found = this.record.clients[client];
    if (!found || id > found.last) return undefined;
    return found.refused.get(id) ?? (found.ran.has(id) ? null : "rejected");
  }

  // Repeats an answer. Of an action in the same group, that waits for the commit and names its rev.
  repeat({ connection, id, known }) {
    const { rev } = this.record;
    if (known) connection.say({ type: "reject", id, code: known, message: "" });
    else if (known === null) connection.say({ type: "ack", id, doc: "me", base: rev, rev, ops: [] });
  }

  // Whether it runs, and is entered into the record; else it is refused, or `known`.
  run(call) {
    call.known = this.recall(call);
    if (call.known !== undefined) return false;
    const { connection, id, n, client } = call;
    const code = isRefused(n) ? "refused" : this.chance(0.05) && !this.isCalm ? "conflict" : null;
    const entry = (this.record.clients[client] ??= { last: 0, refused: new Map(), ran: new Set() });
    if (code) entry.refused.set(id, code);
    if (code === "conflict") this.conflicts.add(n);
    if (!code) {
      entry.ran.add(id);
      entry.refused.delete(id);
    }
    // A refusal is not a commit: it is known once a later one carries it.
    if (!code && !isNoop(n)) entry.last = Math.max(entry.last, id);
    if (code) connection.say({ type: "reject", id, code, message: "" });
    return !code;
  }

  commit(call) {
    const { connection, id, n } = call;
    if (!this.run(call)) return this.repeat(call);
    if (isNoop(n)) {
      const { rev } = this.record;
      return connection.say({ type: "ack", id, doc: "me", base: rev, rev, ops: [], result: n });
    }
    const change = this.change([n]);
    connection.say({ ...change, type: "ack", id, result: n });
    this.publish(change, connection);
  }

  // One commit of several: their acks go ahead of the patch that carries them all.
  commitGroup() {
    const calls = this.group.splice(0);
    const ran = calls.filter((call) => this.run(call));
    const numbers = ran.map(({ n }) => n).filter((n) => !isNoop(n));
    const change = numbers.length ? this.change(numbers) : undefined;
    const { rev } = this.record;
    for (const { connection, id, n } of ran) {
      connection.say({ type: "ack", id, doc: "me", rev, result: n, ...(change ? {} : { base: rev }) });
    }
    for (const call of calls) this.repeat(call);
    if (change) this.publish(change, null, calls[0].connection.worker);
    for (const { next } of calls) next();
  }

  change(numbers) {
    this.commits += 1;
    const base = this.advance();
    this.record.log = [...this.record.log, ...numbers];
    const ops = numbers.map((value) => ({ op: "add", path: "/board/log/-", value }));
    return { type: "patch", doc: "me", base, rev: this.record.rev, ops };
  }

  publish(change, author, worker = author.worker) {
    for (const each of this.connections) {
      if (each === author) continue;
      if (each.worker === worker) each.say(change);
      else if (!this.chance(0.1) || this.isCalm) {
        setTimeout(() => each.say(change), this.below(100));
        if (this.chance(0.1)) setTimeout(() => each.say(change), this.below(200));
      }
    }
  }

  // A WebSocket class whose sockets lead here.
  get Socket() {
    const world = this;
    return class {
      constructor() {
        this.connection = new ServerConnection(world, this);
        world.sockets.add(this);
        setTimeout(() => {
          if (this.isClosed) return;
          if (world.isDown || this.connection.up.isCut) return this.cut();
          this.isOpen = true;
          this.onopen();
        }, world.delay());
      }

      send(text) {
        if (!this.isOpen) throw new Error("The socket is not open.");
        this.connection.up.push(JSON.parse(text), world.delay());
      }

      // What is on its way to the server may still get there.
      close() {
        this.isClosed = true;
        this.forget();
      }

      // The network is gone: nothing arrives, and the tab may be told, or not.
      cut(isSilent = false) {
        this.connection.up.isCut = true;
        this.forget();
        if (!isSilent) setTimeout(() => this.isClosed || this.onclose({ code: 1006 }), 5);
      }

      forget() {
        this.connection.down.isCut = true;
        setTimeout(() => world.connections.delete(this.connection), world.below(200));
        world.sockets.delete(this);
      }
    };
  }
}

// One page in a tab, and what has become of each action that it knows.
export class SimulatedTab {
  open = new Set(); // numbers of actions that are not answered
  settled = new Map(); // numbers to "resolved" or the code of their refusal

  constructor(world, predict, config, storage = new FakeStorage()) {
    this.world = world;
    this.storage = storage;
    for (const text of storage.values()) for (const { args } of JSON.parse(text)) this.open.add(args.n);
    this.recovered = new Set(this.open);
    this.session = connect(config, { WebSocket: world.Socket, storage, predict });
    this.board = this.session.store("board");
    this.session.on("refused", ({ args, error }) => this.settle(args.n, error.code));
  }

  act(n) {
    this.open.add(n);
    this.board.dispatch("add", { n }).then(() => this.settle(n, "resolved"), () => {});
  }

  settle(n, outcome) {
    this.open.delete(n);
    this.settled.set(n, outcome);
  }

  // What the tab's next page, or a copy of the tab, finds.
  get leftover() {
    return new FakeStorage(this.storage);
  }
}
