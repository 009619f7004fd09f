// What the network, the storage, the clock and the page itself may do to the client.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { inspect } from "node:util";

import { connect, DispatchError } from "../../sessionstores/static/sessionstores/client.js";
import { ack, CONFIG, failure, groupAck, Page, patch, rev, snapshot, turn, WELCOME } from "./page.js";

const KEY = "sessionstores:K7Q2ZD:alice";
const MINUTE = 60_000;
const EPOCH = 1_700_000_000; // s; when tests begin

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

const board = () => page.session.store("board");
const log = () => board().getState()?.log;
const sent = () => page.socket.of("action");
const stored = () => JSON.parse(page.storage.get(KEY) ?? "[]");
const entry = (more) => ({
  client: "before",
  id: 3,
  at: EPOCH * 1000,
  sent: true,
  state: "board",
  action: "move",
  args: {},
  ...more,
});
const errors = () => {
  const seen = [];
  page.session.on("error", ({ code }) => seen.push(code));
  return seen;
};

function reload(storage = page.storage) {
  page.leave();
  page = new Page();
  for (const [key, value] of storage) page.storage.set(key, value);
}

// Storage

for (const text of ["null", "{}", "5", "[null]", '"x"', "[[]]", "{broken", "[{}]", "true"]) {
  test(`a storage that holds ${text} stops nothing, and is written over`, async () => {
    page.storage.set(KEY, text);
    page.live();
    board().dispatch("move");
    assert.deepEqual(sent().map(({ id }) => id), [1]);
    await turn();
    assert.deepEqual(stored().filter(({ client }) => client).map(({ id }) => id), [1]);
  });
}

for (const [what, wrong] of Object.entries({
  "an id that is no number": { id: "x" },
  "an id that is none": { id: 0 },
  "an id that is no integer": { id: 1.5 },
  "an id beyond all others": { id: Number.MAX_SAFE_INTEGER },
  "no client": { client: undefined },
  "an empty client": { client: "" },
  "a client that is no text": { client: 5 },
  "no time": { at: "yesterday" },
  "no state": { state: null },
  "no action": { action: {} },
  "no arguments": { args: undefined },
  "another format": { format: 2 },
})) {
  test(`an entry with ${what} is left aside, and the others are sent`, () => {
    page.storage.set(KEY, JSON.stringify([entry(wrong), entry()]));
    page.live();
    board().dispatch("move");
    assert.deepEqual(sent().map(({ id, client }) => [id, client]), [[3, "before"], [4, undefined]]);
  });
}

test("entries of a later release stay in the storage, those of an earlier one are sent", async () => {
  const later = entry({ format: 2, id: { new: 1 } });
  page.storage.set(KEY, JSON.stringify([later, entry({ conflicts: 0 })]));
  page.live();
  assert.equal(sent().length, 1);
  page.socket.says(ack(3, 10));
  await turn();
  assert.deepEqual(stored(), [later]);
});

test("an instance leaves what another one of the page has queued alone", async () => {
  page.connect();
  const first = page.session;
  first.pause();
  first.store("board").dispatch("first").catch(() => {});
  await turn();
  page.connect();
  assert.equal(page.session.pending, 0);
  board().dispatch("second", {}, { within: 5 * MINUTE });
  await turn();
  assert.deepEqual(stored().map(({ action }) => action).sort(), ["first", "second"]);
  page.welcome();
  assert.deepEqual(sent().map(({ action }) => action), ["second"]);
  page.tick(10 * MINUTE);
  await turn();
  assert.deepEqual(stored().map(({ action }) => action), ["first"]);
  first.resume();
  page.welcome();
  assert.deepEqual(sent().map(({ action }) => action), ["first"]);
});

test("entries of two clients with one id are answered one after the other", async () => {
  const entries = [entry(), entry({ client: "other" }), entry({ client: "other", id: 4 })];
  page.storage.set(KEY, JSON.stringify(entries));
  page.live();
  const refused = [];
  page.session.on("refused", ({ error }) => refused.push(error.code));
  const wire = () => sent().map(({ client, id }) => `${client} ${id}`);
  assert.deepEqual(wire(), ["before 3"]);
  page.socket.says({ type: "reject", id: 3, code: "first", message: "" });
  assert.deepEqual(wire(), ["before 3", "other 3", "other 4"]);
  page.socket.says(ack(3, 10), { type: "reject", id: 4, code: "last", message: "" });
  assert.deepEqual([refused, page.session.pending], [["first", "last"], 0]);
});

// Frames

const BROKEN = [
  "",
  "null",
  "5",
  "[]",
  "{}",
  '{"type":5}',
  { type: "snapshot" },
  { type: "snapshot", doc: "me", states: { board: {} } },
  { type: "snapshot", doc: "me", rev: "x", states: {} },
  { type: "snapshot", doc: "me", rev: rev(11), states: 5 },
  { type: "patch" },
  { type: "patch", doc: "me" },
  { type: "patch", doc: "me", base: rev(10), ops: [] },
  { type: "patch", doc: "me", base: rev(10), rev: null, ops: [] },
  { type: "patch", doc: "me", base: rev(10), rev: rev(11) },
  { type: "ack", id: 7 },
  { type: "presence", joined: null, left: [] },
  { type: "presence", joined: { bob: 5 }, left: [] },
  { type: "presence", joined: {} },
];

for (const broken of BROKEN) {
  const text = typeof broken === "string" ? broken : JSON.stringify(broken);
  test(`the frame ${text || "without a character"} is an error event, and costs a snapshot`, () => {
    page.live();
    const seen = errors();
    page.socket.onmessage({ data: text });
    assert.deepEqual(seen, ["bad_frame"]);
    page.tick(300);
    assert.ok(page.socket.of("sync").length);
    page.socket.says(snapshot(11, { board: { log: [11] } }), patch(11));
    assert.deepEqual(log(), [11, 12]);
    page.socket.says({ type: "presence", joined: { bob: [{}] }, left: [] });
    assert.deepEqual(page.session.presence, { bob: [{}] });
    assert.equal(page.session.status, "live");
  });
}

test("a first snapshot that cannot be read is asked for again", () => {
  page.connect();
  page.welcome().says({ type: "snapshot", doc: "me", rev: 5, states: {} });
  page.tick(300);
  assert.deepEqual(page.socket.of("sync"), [{ type: "sync", doc: "me" }]);
  page.socket.says(snapshot(10, { board: { log: [] } }));
  assert.deepEqual(log(), []);
});

test("an answer to a sync that cannot be read is asked for again", () => {
  page.live();
  page.socket.says(patch(12));
  page.tick(300);
  page.socket.says({ type: "snapshot", doc: "me", rev: rev(13), states: null });
  page.tick(300);
  assert.equal(page.socket.of("sync").length, 2);
});

for (const more of [{ doc: undefined }, { doc: "nowhere" }, { rev: undefined }, { rev: 5 }]) {
  test(`an ack with ${JSON.stringify(more)} of ours leaves no promise open`, async () => {
    page.live();
    const done = board().dispatch("move");
    page.socket.says(groupAck(1, 11, { result: 5, ...more }));
    page.tick(300);
    page.socket.says(snapshot(11, { board: { log: [11] } }));
    assert.equal(await done, 5);
  });
}

test("a refusal that says nothing refuses, in the page's language", async () => {
  page.live();
  const outcomes = [1, 2].map(() => failure(board().dispatch("move")));
  page.socket.says({ type: "reject", id: 1 }, { type: "error", id: 2, code: 5, message: {} });
  for (const outcome of outcomes) assert.equal((await outcome).code, "internal");
});

test("a welcome full of nonsense is one without limits", () => {
  page.connect();
  const limits = { rate: ["a", -1], frame: {} };
  page.welcome({ ping: "x", limits, client: 5, now: "now", name: {}, role: 7 });
  for (let n = 0; n < 100; n += 1) board().dispatch("move");
  assert.equal(sent().length, 100);
  assert.deepEqual(page.session.self, { id: "alice", name: null, role: "participant" });
  page.tick(24_000);
  assert.equal(page.session.status, "live");
});

// Clocks

test("a wall clock that jumps six minutes ahead expires nothing", async () => {
  page.connect();
  page.welcome({ now: EPOCH }).says(snapshot(10, { board: { log: [] } }));
  const done = board().dispatch("move");
  page.tick(3000);
  page.shiftClock(6 * MINUTE);
  page.socket.breaks();
  page.tick(1000);
  page.welcome({ now: EPOCH + 4 }).says(snapshot(10));
  assert.equal(sent().length, 1);
  page.socket.says(ack(1, 10));
  await done;
});

test("a wall clock that goes back an hour repeats nothing too late", async () => {
  page.connect();
  page.welcome({ now: EPOCH });
  const outcome = failure(board().dispatch("move"));
  page.session.pause();
  page.shiftClock(-60 * MINUTE);
  page.tick(5 * MINUTE);
  assert.equal((await outcome).code, "outcome_unknown");
  await turn();
  assert.equal(page.storage.size, 0);
});

test("a machine that slept, its monotonic clock too, repeats nothing too late", async () => {
  page.connect();
  page.welcome({ now: EPOCH });
  const outcome = failure(board().dispatch("move"));
  page.socket.breaks();
  page.tick(1000);
  page.welcome({ now: EPOCH + 900 });
  assert.equal((await outcome).code, "outcome_unknown");
  assert.deepEqual(sent(), []);
});

for (const [what, shift] of [["ahead", 6 * MINUTE], ["back", -60 * MINUTE]]) {
  test(`what a reload finds is as old as the server says, with a clock set ${what}`, async () => {
    page.connect();
    page.welcome({ now: EPOCH });
    board().dispatch("young");
    await turn();
    reload();
    page.shiftClock(shift);
    page.connect();
    page.tick(1000);
    page.welcome({ now: EPOCH + 240 });
    assert.deepEqual(sent().map(({ action }) => action), ["young"]);
    await turn();
    reload();
    page.shiftClock(shift);
    page.connect();
    const refused = [];
    page.session.on("refused", ({ action, error }) => refused.push([action, error.code]));
    page.welcome({ now: EPOCH + 301 });
    assert.deepEqual([sent(), refused], [[], [["young", "outcome_unknown"]]]);
  });
}

test("a time to be sent in may be months, and nonsense is none", async () => {
  page.live();
  page.session.pause();
  for (const within of [1e12, NaN, -1, "soon", null]) board().dispatch("move", {}, { within });
  const soon = failure(board().dispatch("move", {}, { within: 1000 }));
  page.tick(2000);
  assert.equal((await soon).code, "expired");
  page.tick(10 * MINUTE);
  // `null` is no time at all.
  assert.equal(page.session.pending, 4);
});

test("a rollback is noticed whatever the wall clock does", () => {
  page.live();
  page.socket.says(patch(10));
  page.shiftClock(-60 * MINUTE);
  page.tick(5000);
  page.socket.says({ type: "ping", heads: { me: rev(10) } });
  page.tick(300);
  assert.equal(page.socket.of("sync").length, 1);
});

// Results and refusals

test("a refusal of an action from before a reload is an event", () => {
  page.storage.set(KEY, JSON.stringify([entry({ args: { card: "ace" } })]));
  page.live();
  const seen = [];
  page.session.on("refused", ({ error, ...what }) => seen.push([what, error.code, error.message]));
  page.socket.says({ type: "reject", id: 3, code: "full", message: "Voll." });
  const what = { state: "board", action: "move", args: { card: "ace" } };
  assert.deepEqual(seen, [[what, "full", "Voll."]]);
});

test("a refusal that nobody awaits is no unhandled rejection", async () => {
  const unhandled = [];
  const listen = (reason) => unhandled.push(reason);
  process.on("unhandledRejection", listen);
  page.live();
  board().dispatch("move");
  board().dispatch("move", { big: 1n });
  page.socket.says({ type: "reject", id: 1, code: "full", message: "Voll." });
  page.session.leave();
  board().dispatch("move");
  await turn();
  await turn();
  process.off("unhandledRejection", listen);
  assert.deepEqual(unhandled, []);
});

test("ready resolves when all states are there", async () => {
  page.connect();
  let ready = 0;
  page.session.ready.then(() => (ready += 1));
  page.welcome().says(snapshot(10, { board: { log: [] } }));
  await turn();
  assert.equal(ready, 0);
  page.socket.says(snapshot(3, { agenda: {} }, { doc: "session" }));
  await page.session.ready;
  const docs = { me: { rev: rev(1), states: {} }, session: { rev: rev(1), states: {} } };
  await page.connect({ docs }).ready;
});

test("ready rejects when the session ends or is closed before", async () => {
  page.connect();
  page.session.leave();
  assert.equal((await failure(page.session.ready)).code, "session_ended");
  page.connect();
  page.session.close();
  assert.equal((await failure(page.session.ready)).code, "closed");
});

test("settled resolves at once when nothing is pending, else when all is answered", async () => {
  page.live();
  await page.session.settled();
  board().dispatch("move");
  board().dispatch("move");
  let settled = 0;
  page.session.settled().then(() => (settled += 1));
  page.socket.says(ack(1, 10));
  await turn();
  assert.equal(settled, 0);
  page.socket.says({ type: "reject", id: 2, code: "full", message: "Voll." });
  await turn();
  assert.equal(settled, 1);
});

// Closing

// What the client has asked of the page and not given back.
function listening() {
  const live = new Set();
  for (const target of [globalThis, page.document]) {
    const { addEventListener } = target;
    target.addEventListener = (type, listener, options = {}) => {
      live.add(type);
      options.signal?.addEventListener("abort", () => live.delete(type));
      addEventListener.call(target, type, listener, options);
    };
    const { removeEventListener } = target;
    target.removeEventListener = (type, listener) => {
      live.delete(type);
      removeEventListener.call(target, type, listener);
    };
  }
  return live;
}

test("close leaves no socket, timer, listener, goodbye or open promise", async () => {
  const live = listening();
  page.live({ board: { log: [] } }, { warnBeforeUnload: true });
  const [heard, { socket }] = [[], page];
  for (const type of ["end", "status", "pending", "refused"]) {
    page.session.on(type, () => heard.push(type));
  }
  const acked = board().dispatch("move");
  const open = failure(board().dispatch("move"));
  page.session.setMeta({ x: 1 });
  page.socket.says(groupAck(1, 12, { result: 7 }), patch(14));
  await turn();
  heard.length = 0;
  const settled = failure(page.session.settled());
  page.session.close();
  page.session.close();
  assert.equal(await acked, 7);
  for (const outcome of [open, settled]) assert.equal((await outcome).code, "closed");
  assert.equal((await failure(board().dispatch("move"))).code, "session_ended");
  const before = [page.sockets.length, socket.sent.length];
  page.session.resume();
  page.show("visible");
  page.happens("pageshow", { persisted: true });
  page.tick(10 * MINUTE);
  assert.deepEqual([page.sockets.length, socket.sent.length], before);
  assert.deepEqual(socket.of("bye"), []);
  assert.ok(socket.closed);
  assert.equal(page.session.status, "ended");
  assert.deepEqual(heard, []);
  assert.deepEqual([...live], []);
  assert.deepEqual(log(), []);
});

test("what was pending at close is sent by the next connect, once", async () => {
  page.live();
  const { client } = page.socket.sent[0];
  failure(board().dispatch("sent"));
  page.session.close();
  page.connect();
  assert.equal(page.session.pending, 1);
  page.welcome();
  assert.deepEqual(sent().map((frame) => [frame.client, frame.action]), [[client, "sent"]]);
});

test("mounting twice, as under StrictMode, leaves one socket and one queue", async () => {
  page.connect().close();
  page.connect().close();
  page.live();
  assert.deepEqual(page.sockets.map(({ closed }) => closed), [true, true, false]);
  const done = board().dispatch("move");
  page.socket.says(ack(1, 10));
  await done;
});

test("the page is guarded against being left only while something is pending, if asked to", async () => {
  const leaves = () => {
    const event = new Event("beforeunload", { cancelable: true });
    page.window.dispatchEvent(event);
    return !event.defaultPrevented;
  };
  page.live();
  board().dispatch("move");
  await turn();
  assert.equal(leaves(), true);
  page.live({ board: { log: [] } }, { warnBeforeUnload: true });
  assert.equal(leaves(), true);
  const { pending } = page.session;
  board().dispatch("move");
  await turn();
  assert.equal(leaves(), false);
  page.socket.says(ack(sent().at(-1).id, 10));
  await turn();
  assert.deepEqual([leaves(), page.session.pending], [true, pending]);
});

test("a hidden tab keeps its state while it is away, and says so when it comes back", () => {
  page.live({ board: { log: [1] } });
  page.show("hidden");
  page.socket.breaks();
  page.tick(30_000);
  assert.deepEqual(log(), [1]);
  const socket = page.welcome();
  assert.deepEqual(socket.sent[0].have, { me: rev(10) });
});

// Stores

test("actions are functions that keep their identity", async () => {
  page.live();
  const { actions } = board();
  const { move } = actions;
  assert.equal(board().actions.move, move);
  const done = move({ card: "ace" });
  assert.deepEqual(sent().map(({ action, args }) => [action, args]), [["move", { card: "ace" }]]);
  page.socket.says(ack(1, 10));
  await done;
  assert.equal(actions.then, undefined);
  assert.equal(await Promise.resolve(actions), actions);
  assert.equal(typeof actions.toString, "function");
  assert.equal(actions[Symbol.toPrimitive], undefined);
});

for (const [what, config, options] of [
  ["the site is under development", { debug: true }, {}],
  ["that is asked for", {}, { freeze: true }],
]) {
  test(`states are frozen where ${what}, and go on changing`, () => {
    const add = (state, { n }) => ({ ...state, log: [...state.log, n] });
    page.connect(config, { ...options, predict: { board: { add } } });
    page.welcome().says(snapshot(10, { board: { log: [{}] } }));
    assert.throws(() => log().push(1), TypeError);
    assert.throws(() => (log()[0].x = 1), TypeError);
    board().dispatch("add", { n: {} });
    assert.throws(() => log().push(1), TypeError);
    page.socket.says(patch(10), snapshot(12, { board: { log: [{}, 2] } }));
    assert.throws(() => board().getConfirmedState().log.push(1), TypeError);
    assert.deepEqual(log(), [{}, 2, {}]);
  });
}

test("states are not frozen in production", () => {
  page.live();
  assert.equal(Object.isFrozen(board().getState()), false);
});

// Configurations

const cyclic = { toString: 1 };
cyclic.cyclic = cyclic;
const odd = [Object.create(null), cyclic, 1n, Symbol("x"), () => {}];
for (const source of [null, undefined, 5, {}, [], "", "#other", "!!!", { states: {} }, { url: 5 }, ...odd]) {
  test(`connect(${inspect(source)}) says what it takes`, () => {
    page.document.querySelector = (selector) => {
      if (selector === "!!!") throw new SyntaxError("no selector");
      return null;
    };
    assert.throws(
      () => connect(source),
      (error) => error instanceof DispatchError && error.code === "bad_config",
    );
  });
}

test("an element that holds no configuration is refused by name", () => {
  for (const textContent of ["", "{", "null", "[]", '{"url":"/ws/"}']) {
    assert.throws(() => connect({ textContent }), { code: "bad_config" });
  }
});

test("states that the page brings along broken come with the first snapshot", () => {
  for (const docs of [5, null, { me: null }, { me: { rev: 5, states: {} } }, { me: { rev: rev(1) } }]) {
    page.connect({ docs });
    assert.equal(board().getState(), undefined);
    assert.equal(board().getInitialState(), undefined);
    page.welcome().says(snapshot(10, { board: { log: [] } }));
    assert.deepEqual(page.socket.sent[0].have, {});
    assert.deepEqual(log(), []);
  }
});

test("a server that renders the page sees the states that it brings along, and connects nowhere", async () => {
  page.leave();
  page = new Page();
  for (const name of ["document", "addEventListener", "location", "WebSocket", "sessionStorage"]) {
    delete globalThis[name];
  }
  delete globalThis.navigator;
  const docs = { me: { rev: rev(1), states: { board: { log: [1] } } } };
  const session = connect({ ...CONFIG, docs });
  assert.deepEqual(session.store("board").getState(), { log: [1] });
  assert.deepEqual(session.store("board").getInitialState(), { log: [1] });
  assert.equal(session.status, "connecting");
  session.store("board").dispatch("move");
  session.setMeta({ x: 1 });
  session.pause();
  session.resume();
  session.leave();
  assert.throws(() => connect("#sessionstores"), { code: "bad_config" });
  await turn();
});

test("welcomes of servers that tell no time go by the clock of the page", async () => {
  assert.equal("now" in WELCOME, false);
  page.storage.set(KEY, JSON.stringify([entry({ at: EPOCH * 1000 - 5 * MINUTE })]));
  page.live();
  assert.deepEqual(sent(), []);
});
