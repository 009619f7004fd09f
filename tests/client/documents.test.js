import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ack, CONFIG, Page, patch, rev, snapshot, turn } from "./page.js";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const log = () => page.session.store("board").getState()?.log;
const syncs = () => page.socket.of("sync");

test("a store is undefined until the first snapshot, then shows it", () => {
  const session = page.connect();
  const board = session.store("board");
  assert.equal(board.getState(), undefined);
  page.welcome().says(snapshot(10, { board: { log: [1] } }));
  assert.deepEqual(board.getState(), { log: [1] });
  assert.equal(board.getInitialState(), undefined);
});

test("a store is the same object each time, and an unknown one is refused by name", () => {
  const session = page.connect();
  assert.equal(session.store("board"), session.store("board"));
  assert.throws(() => session.store("bord"), /"bord"; there is board, notes, agenda/);
  assert.throws(() => session.store("toString"), { code: "unknown_state" });
});

test("states that the page brought along are there at once and named in hello", () => {
  const docs = { me: { rev: rev(10), states: { board: { log: [1] } } } };
  const session = page.connect({ docs });
  const board = session.store("board");
  const initial = board.getState();
  assert.deepEqual(initial, { log: [1] });
  const socket = page.welcome();
  assert.deepEqual(socket.sent[0].have, { me: rev(10) });
  socket.says(snapshot(10, undefined));
  assert.equal(board.getState(), initial);
  socket.says(patch(10));
  assert.deepEqual(board.getState(), { log: [1, 11] });
  assert.equal(board.getInitialState(), initial);
});

test("a patch that leads on from our rev is applied", () => {
  page.live();
  page.socket.says(patch(10), patch(11));
  assert.deepEqual(log(), [11, 12]);
});

test("the rev of a document can be shown", () => {
  page.live();
  assert.equal(page.session.rev("me"), rev(10));
  page.socket.says(patch(10));
  assert.equal(page.session.rev("me"), rev(11));
  assert.equal(page.session.rev("session"), undefined);
  assert.equal(page.session.rev("nothing"), undefined);
});

test("a patch may join several revs", () => {
  page.live();
  page.socket.says(patch(10, 14), patch(14));
  assert.deepEqual(log(), [14, 15]);
});

test("what we have already is ignored", () => {
  page.live();
  page.socket.says(patch(10), patch(11));
  page.socket.says(patch(11), patch(10), patch(8, 9), patch(9, 12));
  page.tick(10_000);
  assert.deepEqual(log(), [11, 12]);
  assert.deepEqual(syncs(), []);
});

test("an ack that overtakes patches waits for them, without a snapshot", async () => {
  page.live();
  const order = [];
  const done = page.session.store("board").dispatch("move").then(() => order.push([...log()]));
  page.socket.says(ack(1, 12, 13));
  assert.deepEqual(log(), []);
  assert.equal(page.session.pending, 1);
  page.tick(299);
  await turn();
  assert.deepEqual(order, []);
  page.socket.says(patch(11), patch(10));
  await done;
  assert.deepEqual(order, [[11, 12, 13]]);
  page.tick(10_000);
  assert.deepEqual(syncs(), []);
});

test("patches that overtake an ack wait for it", async () => {
  page.live();
  const done = page.session.store("board").dispatch("move");
  page.socket.says(patch(11), patch(12));
  assert.deepEqual(log(), []);
  page.socket.says(ack(1, 10, 11, { result: "ok" }));
  assert.equal(await done, "ok");
  assert.deepEqual(log(), [11, 12, 13]);
  page.tick(10_000);
  assert.deepEqual(syncs(), []);
});

test("a patch repeated by its own ack is applied once", async () => {
  page.live();
  const done = page.session.store("board").dispatch("move");
  page.socket.says(patch(10), ack(1, 10, 11));
  await done;
  assert.deepEqual(log(), [11]);
});

test("an ack without a change resolves, and asks for nothing", async () => {
  page.live();
  const done = page.session.store("board").dispatch("move");
  page.socket.says(ack(1, 10, 10, { ops: [], result: 5 }));
  assert.equal(await done, 5);
  page.tick(10_000);
  assert.deepEqual(syncs(), []);
});

test("an ack without a change does not displace the patch that leads on from there", async () => {
  page.live();
  const done = page.session.store("board").dispatch("move");
  page.socket.says(patch(11, 12), ack(1, 11, 11, { ops: [] }), patch(10, 11));
  await done;
  assert.deepEqual(log(), [11, 12]);
});

for (const [what, ops] of [
  ["no operations", undefined],
  ["empty operations", []],
]) {
  test(`the repeated ack with ${what} never moves the rev; it reveals a gap`, async () => {
    page.live();
    const done = page.session.store("board").dispatch("move");
    page.socket.says(ack(1, 10, 12, { ops, result: undefined }));
    assert.deepEqual(log(), []);
    page.tick(300);
    assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(10) }]);
    page.socket.says(snapshot(12, { board: { log: [11, 12] } }));
    assert.equal(await done, undefined);
    assert.deepEqual(log(), [11, 12]);
  });
}

test("a commit that changes nothing visible still moves the rev", () => {
  page.live();
  page.socket.says(patch(10, 11, { ops: [] }), patch(11));
  assert.deepEqual(log(), [12]);
});

test("a gap that stays open for 300 ms costs one sync, and the snapshot closes it", () => {
  page.live();
  page.socket.says(patch(11), patch(13));
  page.tick(299);
  assert.deepEqual(syncs(), []);
  page.tick(1);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(10) }]);
  page.tick(10_000);
  page.socket.says(patch(14));
  page.tick(10_000);
  assert.equal(syncs().length, 1);
  page.socket.says(snapshot(15, { board: { log: [15] } }), patch(15));
  assert.deepEqual(log(), [15, 16]);
  page.tick(10_000);
  assert.equal(syncs().length, 1);
});

test("the wait for a gap ends with the sync that a broken patch has cost", () => {
  page.live();
  page.socket.says(patch(12), patch(10, 11, { ops: [{ op: "remove", path: "/board/none" }] }));
  assert.equal(page.socket.of("sync").length, 1);
  // No socket is open then to ask over, which would throw.
  page.socket.breaks();
  page.tick(400);
  assert.deepEqual(page.sockets.map((socket) => socket.of("sync").length), [1, 0]);
});

test("a list of a rev is no rev, wherever it stands", () => {
  page.live();
  const listed = { rev: [rev(11)] };
  const errors = [];
  page.session.on("error", ({ code }) => errors.push(code));
  page.socket.says(
    snapshot(11, { board: { log: [11] } }, listed),
    patch(10, 11, listed),
    { type: "ack", id: 1, doc: "me", result: null, ...listed },
    { type: "ping", heads: { me: listed.rev } },
  );
  assert.deepEqual(errors, ["bad_frame", "bad_frame", "bad_frame"]);
  assert.equal(page.session.rev("me"), rev(10));
  page.socket.breaks();
  page.tick(500);
  page.socket.open();
  assert.deepEqual(page.socket.of("hello")[0].have, { me: rev(10) });
});

test("a later gap has its own 300 ms", () => {
  page.live();
  page.socket.says(patch(11));
  page.tick(290);
  page.socket.says(patch(10), patch(13));
  page.tick(290);
  assert.deepEqual(syncs(), []);
  page.socket.says(patch(12));
  page.tick(10_000);
  assert.deepEqual(syncs(), []);
  assert.deepEqual(log(), [11, 12, 13, 14]);
});

test("a patch that arrives between sync and snapshot is applied to the snapshot", () => {
  page.live();
  page.socket.says(patch(11));
  page.tick(300);
  page.socket.says(patch(12), patch(13));
  page.socket.says(snapshot(12, { board: { log: ["snapshot"] } }));
  assert.deepEqual(log(), ["snapshot", 13, 14]);
  page.tick(10_000);
  assert.equal(syncs().length, 1);
});

test("a patch newer than the snapshot that answered asks again while it is stuck", () => {
  page.live();
  page.socket.says(patch(11));
  page.tick(300);
  page.socket.says(patch(14), snapshot(12, { board: { log: [] } }));
  page.tick(299);
  assert.equal(syncs().length, 1);
  page.tick(1);
  assert.equal(syncs().length, 2);
});

test("a stray patch of a lost history asks once, not for ever", () => {
  page.live();
  page.socket.says(patch(60));
  page.tick(300);
  page.socket.says(snapshot(10, { board: { log: [] } }));
  page.tick(60_000 / 4);
  assert.equal(syncs().length, 1);
});

test("at most 32 patches are held", () => {
  page.live();
  for (let from = 11; from < 60; from += 1) page.socket.says(patch(from));
  page.socket.says(patch(10));
  assert.equal(log().at(-1), 43);
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(43) }]);
});

test("patches that were overtaken do not take the room of others", () => {
  page.live();
  for (let from = 11; from < 43; from += 1) page.socket.says(patch(from));
  page.socket.says(patch(10, 50), patch(51), patch(50));
  assert.deepEqual(log(), [50, 51, 52]);
});

test("another incarnation is never applied, and asked about", () => {
  page.live();
  const foreign = { base: rev(10, 10, "beef"), rev: rev(11, 11, "beef") };
  page.socket.says(patch(10, 11, foreign));
  assert.deepEqual(log(), []);
  page.tick(300);
  assert.equal(syncs().length, 1);
});

test("another rev at our counter is a fork, and asked about", () => {
  page.live();
  page.socket.says(patch(10), patch(10, 11, { rev: rev(11, 999) }));
  assert.deepEqual(log(), [11]);
  page.tick(300);
  assert.equal(syncs().length, 1);
});

test("a patch that does not fit changes nothing and asks at once", () => {
  page.live();
  const ops = [
    { op: "add", path: "/board/log/-", value: 1 },
    { op: "remove", path: "/board/nothing" },
  ];
  page.socket.says(patch(10, 11, { ops }));
  assert.deepEqual(log(), []);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(10) }]);
  page.socket.says(snapshot(11, { board: { log: [1] } }));
  assert.deepEqual(log(), [1]);
});

test("a patch that pollutes is refused and asked about", () => {
  page.live();
  const ops = [{ op: "add", path: "/__proto__/polluted", value: true }];
  page.socket.says(patch(10, 11, { ops }));
  assert.equal({}.polluted, undefined);
  assert.equal(syncs().length, 1);
});

test("patches that come before the first snapshot wait for it", () => {
  page.connect();
  page.welcome().says(patch(11), patch(10));
  page.tick(5000);
  assert.deepEqual(syncs(), []);
  page.socket.says(snapshot(10, { board: { log: [] } }));
  assert.deepEqual(log(), [11, 12]);
});

test("a snapshot that patches have overtaken is ignored", () => {
  page.live();
  page.socket.says(patch(10), patch(11), snapshot(11, { board: { log: ["old"] } }));
  assert.deepEqual(log(), [11, 12]);
});

test("a server that believes us further than we are is asked", () => {
  page.live();
  page.socket.says(snapshot(12, undefined));
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(10) }]);
});

test("a snapshot at our own rev heals what differs", () => {
  page.live();
  page.socket.says(snapshot(10, { board: { log: ["true"] } }));
  assert.deepEqual(log(), ["true"]);
});

test("documents have chains of their own", () => {
  page.live();
  const agenda = { doc: "session", rev: rev(3) };
  page.socket.says(snapshot(3, { agenda: { step: 1 } }, agenda));
  const ops = [{ op: "replace", path: "/agenda/step", value: 2 }];
  page.socket.says(patch(12), patch(3, 4, { doc: "session", ops }));
  assert.deepEqual(page.session.store("agenda").getState(), { step: 2 });
  assert.deepEqual(log(), []);
});

test("a ping is answered with what the tab shows", () => {
  page.live();
  page.socket.says({ type: "ping", heads: { me: rev(10) } });
  page.document.visibilityState = "hidden";
  page.socket.says({ type: "ping" });
  assert.deepEqual(page.socket.of("pong"), [
    { type: "pong", visible: true },
    { type: "pong", visible: false },
  ]);
  page.tick(5000);
  assert.deepEqual(syncs(), []);
});

test("a head that we lack asks after 300 ms, unless the patch comes", () => {
  page.live();
  page.socket.says(snapshot(1, { agenda: {} }, { doc: "session" }));
  page.socket.says({ type: "ping", heads: { me: rev(11), session: rev(1), other: rev(1) } });
  page.tick(299);
  page.socket.says(patch(10));
  page.tick(5000);
  assert.deepEqual(syncs(), []);
  page.socket.says({ type: "ping", heads: { me: rev(12) } });
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(11) }]);
});

test("a head of a document whose first snapshot was lost asks for it", () => {
  page.connect();
  page.welcome().says({ type: "ping", heads: { me: rev(11) } });
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me" }]);
});

test("a head that we passed just now is no rollback", () => {
  page.live();
  page.tick(5000);
  page.socket.says(patch(10), { type: "ping", heads: { me: rev(10) } });
  page.tick(5000);
  assert.deepEqual(syncs(), []);
});

test("a head that we passed long ago is a rollback", () => {
  page.live();
  page.socket.says(patch(10));
  page.tick(5000);
  page.socket.says({ type: "ping", heads: { me: rev(10) } });
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(11) }]);
});

test("a reset replaces what was shown and says so, after listeners heard the new state", () => {
  page.live({ board: { log: [1] } });
  const events = [];
  page.session.store("board").subscribe((state) => events.push(["state", state.log]));
  page.session.on("reset", (event) => events.push(["reset", event]));
  page.socket.says(patch(40));
  page.socket.says(snapshot(5, { board: { log: [] } }, { reset: true }));
  assert.deepEqual(events, [
    ["state", []],
    [
      "reset",
      {
        doc: "me",
        states: { board: { log: [] } },
        previous: { board: { log: [1] } },
        message: "Zurückgesetzt.",
      },
    ],
  ]);
  page.socket.says(patch(5));
  assert.deepEqual(log(), [6]);
  page.tick(5000);
  assert.deepEqual(syncs(), []);
});

test("an action whose effect was lost in a reset is still answered", async () => {
  page.live();
  const done = page.session.store("board").dispatch("move");
  page.socket.says(ack(1, 12), snapshot(5, { board: { log: [] } }, { reset: true }));
  assert.equal(await done, null);
});

test("an ordinary snapshot is no reset, and neither is the first", () => {
  page.connect();
  let resets = 0;
  page.session.on("reset", () => (resets += 1));
  page.welcome().says(snapshot(10, { board: { log: [] } }, { reset: true }));
  page.socket.says(snapshot(12, { board: { log: [12] } }));
  assert.equal(resets, 0);
});

test("a patch keeps the identity of all that it leaves alone", () => {
  page.live({ board: { log: [], piles: { keep: [{ card: "ace" }] } }, notes: { text: "" } });
  const board = page.session.store("board");
  const notes = page.session.store("notes");
  const [before, text] = [board.getState(), notes.getState()];
  page.socket.says(patch(10));
  assert.notEqual(board.getState(), before);
  assert.equal(board.getState().piles, before.piles);
  assert.equal(notes.getState(), text);
});

test("a snapshot keeps the identity of all that is equal", () => {
  const states = () => ({
    board: { log: [{ n: 1 }, { n: 2 }], piles: { keep: ["ace"], drop: [] } },
    notes: { text: "" },
  });
  page.live(states());
  const board = page.session.store("board");
  const notes = page.session.store("notes");
  let calls = 0;
  board.subscribe(() => (calls += 1));
  const [before, text] = [board.getState(), notes.getState()];
  page.socket.says(snapshot(11, states()));
  assert.equal(board.getState(), before);
  assert.equal(calls, 0);

  const next = states();
  next.board.log[1].n = 3;
  delete next.board.piles.drop;
  page.socket.says(snapshot(12, next));
  assert.deepEqual(board.getState(), next.board);
  assert.equal(calls, 1);
  assert.equal(board.getState().log[0], before.log[0]);
  assert.notEqual(board.getState().log[1], before.log[1]);
  assert.equal(board.getState().piles.keep, before.piles.keep);
  assert.equal(notes.getState(), text);
  assert.deepEqual(before.log, [{ n: 1 }, { n: 2 }]);
});

test("a snapshot in which only the order of keys differs is another state", () => {
  const states = { board: { votes: { ada: { n: 1 }, bob: { n: 2 } }, log: [{ a: 1, b: 2 }] } };
  page.live(states);
  const board = page.session.store("board");
  const before = board.getState();
  let calls = 0;
  board.subscribe(() => (calls += 1));
  const next = { votes: { bob: { n: 2 }, ada: { n: 1 } }, log: [{ a: 1, b: 2 }] };
  page.socket.says(snapshot(11, { board: next }));
  assert.deepEqual(Object.keys(board.getState().votes), ["bob", "ada"]);
  assert.equal(board.getState().votes.ada, before.votes.ada);
  assert.equal(board.getState().log, before.log);
  assert.equal(calls, 1);

  page.socket.says(snapshot(12, { board: { ...next, log: [{ b: 2, a: 1 }] } }));
  assert.equal(JSON.stringify(board.getState().log), '[{"b":2,"a":1}]');
  assert.equal(calls, 2);
});

test("a snapshot tells objects, arrays and null apart", () => {
  page.live({ board: { log: [], a: {}, b: null, c: [1], d: "1" } });
  const next = { log: {}, a: null, b: [], c: [1, 2], d: 1 };
  page.socket.says(snapshot(11, { board: next }));
  assert.deepEqual(page.session.store("board").getState(), next);
});

test("a hostile key in a snapshot stays inert", () => {
  page.live({ board: JSON.parse('{"log":[],"__proto__":{"a":1}}') });
  const states = { board: JSON.parse('{"log":[1],"__proto__":{"polluted":true}}') };
  page.socket.onmessage({ data: JSON.stringify(snapshot(11, states)) });
  const state = page.session.store("board").getState();
  assert.equal(Object.getPrototypeOf(state), Object.prototype);
  assert.equal({}.polluted, undefined);
});

test("a snapshot never picks up what an object inherits", () => {
  page.live();
  const states = '{"board":{"log":[],"__proto__":{}}}';
  page.socket.onmessage({ data: JSON.stringify(snapshot(11, 0)).replace("0,", `${states},`) });
  const own = Object.getOwnPropertyDescriptor(page.session.store("board").getState(), "__proto__");
  assert.notEqual(own.value, Object.prototype);
});

test("deep snapshots are shared too", () => {
  const deep = () => {
    let value = {};
    for (let level = 0; level < 1500; level += 1) value = { down: value };
    return { log: [], value };
  };
  page.live({ board: deep() });
  const before = page.session.store("board").getState();
  page.socket.says(snapshot(11, { board: deep() }));
  assert.equal(page.session.store("board").getState(), before);
});

test("only listeners of a changed state are called, once, when all is in place", () => {
  page.live({ board: { log: [] }, notes: { text: "" } });
  const calls = [];
  const before = page.session.store("board").getState();
  page.session.store("notes").subscribe(() => calls.push("notes"));
  page.session.store("board").subscribe((state, previous) => {
    const current = page.session.store("board").getState();
    calls.push([state.log.length, previous === before, state === current]);
  });
  page.socket.says(patch(12), patch(11));
  assert.deepEqual(calls, []);
  page.socket.says(patch(10));
  assert.deepEqual(calls, [[3, true, true]]);
});

test("both states that one patch changes are in place when listeners hear of either", () => {
  page.live({ board: { log: [] }, notes: { text: "" } });
  const seen = [];
  const look = () => seen.push([log().length, page.session.store("notes").getState().text]);
  page.session.store("board").subscribe(look);
  page.session.store("notes").subscribe(look);
  const ops = [
    { op: "add", path: "/board/log/-", value: 1 },
    { op: "replace", path: "/notes/text", value: "x" },
  ];
  page.socket.says(patch(10, 11, { ops }));
  assert.deepEqual(seen, [[1, "x"], [1, "x"]]);
});

test("a state of the same name in another document is another state", () => {
  page.live();
  page.session.store("board").subscribe(() => assert.fail("called"));
  page.socket.says(snapshot(3, { board: { log: ["bob"] } }, { doc: "p:bob" }));
  assert.deepEqual(log(), []);
  assert.deepEqual(page.reported, []);
});

test("store functions work without their object, as Zustand's useStore calls them", () => {
  page.live();
  const { getState, subscribe } = page.session.store("board");
  let calls = 0;
  const off = subscribe(() => (calls += 1));
  page.socket.says(patch(10));
  off();
  page.socket.says(patch(11));
  assert.equal(calls, 1);
  assert.deepEqual(getState().log, [11, 12]);
});

test("unknown frames and fields are ignored", () => {
  page.live();
  page.socket.says({ type: "novelty", doc: "me", id: 1 }, patch(10, 11, { novelty: true }));
  page.socket.says({ type: "ping", novelty: {} }, { type: "presence", joined: {}, left: [] });
  assert.deepEqual(log(), [11]);
  assert.equal(page.session.status, "live");
});

test("two sessions on one page have nothing in common", () => {
  page.live();
  const alice = page.session.store("board");
  const bob = page.connect({ ...CONFIG, participant: "bob" }).store("board");
  page.welcome().says(snapshot(3, { board: { log: ["bob"] } }));
  assert.deepEqual(alice.getState().log, []);
  assert.deepEqual(bob.getState().log, ["bob"]);
});

test("a gap left open by a lost connection is closed by the next hello, without a sync", () => {
  page.live();
  page.socket.says(patch(12));
  page.socket.breaks();
  page.tick(1000);
  const socket = page.welcome();
  assert.deepEqual(socket.sent[0].have, { me: rev(10) });
  socket.says(snapshot(13, { board: { log: [13] } }), patch(13));
  page.tick(5000);
  assert.deepEqual(log(), [13, 14]);
  assert.deepEqual(syncs(), []);
});

test("a sync that the old connection never answered does not block the new one", () => {
  page.live();
  page.socket.says(patch(11));
  page.tick(300);
  page.socket.breaks();
  page.tick(1000);
  page.welcome().says(patch(13));
  page.tick(300);
  assert.deepEqual(syncs(), [{ type: "sync", doc: "me", rev: rev(10) }]);
});
