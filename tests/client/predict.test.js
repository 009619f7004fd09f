// Actions shown before they are answered: over the confirmed state, until it contains them.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Prediction } from "../../sessionstores/static/sessionstores/predict.js";
import { ack, failure, groupAck, Page, patch, rev, snapshot, turn } from "./page.js";

const append = (state, { n }) => ({ ...state, log: [...state.log, n] });
const predict = { board: { add: append, move: append } };

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

const board = () => page.session.store("board");
const log = () => board().getState().log;
const add = (n, options) => board().dispatch("add", { n }, options);
const live = (states = { board: { log: [] }, notes: { text: "" } }) => page.live(states, { predict });

// Everything that listeners of the board were told, and what was confirmed then.
function told() {
  const seen = [];
  board().subscribe((state) => {
    assert.equal(state, board().getState());
    seen.push([state.log, board().getConfirmedState().log].map(String).join(" | "));
  });
  return seen;
}

// A reconnect, whose first snapshot of the document is given.
function reconnect(...frames) {
  page.socket.breaks();
  page.tick(1000);
  page.welcome().says(...frames);
}

test("an action is shown at once, and its listeners hear of it within the dispatch", () => {
  live();
  const seen = told();
  add(1);
  assert.deepEqual([log(), board().getConfirmedState().log], [[1], []]);
  assert.deepEqual(seen, ["1 | "]);
});

test("an answer as it was foretold changes nothing, and is told to nobody", async () => {
  live();
  const done = add(11);
  const shown = board().getState();
  const seen = told();
  page.socket.says(ack(1, 10));
  await done;
  assert.equal(board().getState(), shown);
  assert.equal(board().getConfirmedState(), shown);
  assert.deepEqual(seen, []);
});

test("an answer unlike what was foretold takes its place in one notification", async () => {
  live();
  const seen = told();
  const done = add(7);
  page.socket.says(ack(1, 10));
  await done;
  assert.deepEqual(seen, ["7 | ", "11 | 11"]);
});

test("what others do comes in beneath what is not answered", () => {
  live();
  const seen = told();
  add(1);
  add(2);
  page.socket.says(patch(10));
  page.socket.says(ack(1, 11, 12), patch(12));
  assert.deepEqual(seen, ["1 | ", "1,2 | ", "11,1,2 | 11", "11,12,2 | 11,12", "11,12,13,2 | 11,12,13"]);
});

test("an ack ahead of a gap leaves its action shown until its effect is here", async () => {
  live();
  const seen = told();
  const done = add(13);
  page.socket.says(ack(1, 12, 13));
  assert.deepEqual([log(), page.session.pending], [[13], 1]);
  page.socket.says(patch(10), patch(11));
  await done;
  assert.deepEqual(seen, ["13 | ", "11,13 | 11", "11,12,13 | 11,12,13"]);
});

test("an ack ahead of a gap that a snapshot closes is neither missing nor there twice", async () => {
  live();
  const seen = told();
  const done = add(13);
  page.socket.says(ack(1, 12, 13));
  page.socket.says(snapshot(12, { board: { log: [11, 12] } }, { done: {} }));
  await done;
  assert.deepEqual(seen, ["13 | ", "11,12,13 | 11,12,13"]);
});

test("a shared ack whose patch is missing waits for the snapshot that has it, not for another", async () => {
  live();
  const seen = told();
  const done = add(13);
  page.socket.says(groupAck(1, 13), snapshot(12, { board: { log: [11, 12] } }, { done: {} }));
  assert.deepEqual([seen, page.session.pending], [["13 | ", "11,12,13 | 11,12"], 1]);
  page.tick(300);
  page.socket.says(snapshot(13, { board: { log: [11, 12, 13] } }));
  await done;
  assert.deepEqual(seen, ["13 | ", "11,12,13 | 11,12"]);
  assert.deepEqual(board().getConfirmedState().log, [11, 12, 13]);
});

test("an acknowledged action that the server has lost is shown no longer, and resolves", async () => {
  live();
  const done = add(13);
  page.socket.says(groupAck(1, 13));
  reconnect(snapshot(12, { board: { log: [11, 12] } }, { done: {} }));
  await done;
  assert.deepEqual(log(), [11, 12]);
});

test("acks of a group are shown until the one patch that carries them", async () => {
  live();
  const all = Promise.all([add(1), add(2), add(3)]);
  const seen = told();
  page.socket.says(groupAck(1, 11), groupAck(2, 11), groupAck(3, 11));
  assert.deepEqual(log(), [1, 2, 3]);
  const ops = [1, 2, 3].map((value) => ({ op: "add", path: "/board/log/-", value }));
  page.socket.says(patch(10, 11, { ops }));
  await all;
  assert.deepEqual(seen, []);
  assert.deepEqual(board().getConfirmedState().log, [1, 2, 3]);
});

test("a snapshot that has an unanswered action takes its place, once, and it stays pending", async () => {
  live();
  const { client } = page.socket.sent[0];
  const done = add(1);
  add(2);
  const seen = told();
  reconnect(snapshot(11, { board: { log: [1] } }, { done: { [client]: 1 } }));
  assert.deepEqual(log(), [1, 2]);
  assert.equal(page.session.pending, 2);
  assert.deepEqual(page.socket.of("action").map(({ id }) => id), [1, 2]);
  page.socket.says({ type: "ack", id: 1, doc: "me", base: rev(11), rev: rev(11), ops: [] });
  await done;
  assert.deepEqual([log(), seen], [[1, 2], []]);
});

test("a snapshot in which the tab is current says what it has, too", () => {
  live();
  const { client } = page.socket.sent[0];
  add(11);
  page.socket.says(patch(10));
  assert.deepEqual(log(), [11, 11]);
  reconnect(snapshot(11, undefined, { done: { [client]: 1 } }));
  assert.deepEqual([log(), page.session.pending], [[11], 1]);
});

test("what a snapshot ahead of us contains is not taken for ours", () => {
  live();
  const { client } = page.socket.sent[0];
  add(1);
  reconnect(snapshot(12, undefined, { done: { [client]: 1 } }));
  assert.deepEqual(log(), [1]);
});

test("of another document's snapshot nothing is concluded", () => {
  live();
  const { client } = page.socket.sent[0];
  add(1);
  const agenda = { doc: "session", done: { [client]: 9 } };
  reconnect(snapshot(10, undefined, { done: {} }), snapshot(3, { agenda: { step: 1 } }, agenda));
  assert.deepEqual(log(), [1]);
});

test("a patch that may carry an action of the last connection waits for its answer", async () => {
  live();
  const done = add(11);
  const seen = told();
  reconnect(snapshot(10, undefined, { done: {} }));
  page.socket.says(patch(10), patch(11));
  assert.deepEqual(log(), [11]);
  page.socket.says({ type: "ack", id: 1, doc: "me", base: rev(12), rev: rev(12), ops: [] });
  await done;
  assert.deepEqual(seen, ["11,12 | 11,12"]);
  page.tick(1000);
  assert.deepEqual(page.socket.of("sync"), []);
});

test("a repeated answer names the newest rev: patches before that wait for all of them", async () => {
  live();
  const done = add(11);
  const seen = told();
  reconnect(snapshot(10, undefined, { done: {} }));
  page.socket.says({ type: "ack", id: 1, doc: "me", base: rev(12), rev: rev(12), ops: [] });
  page.socket.says(patch(10));
  assert.deepEqual([log(), seen], [[11], []]);
  page.socket.says(patch(11));
  await done;
  assert.deepEqual(seen, ["11,12 | 11,12"]);
});

test("patches that go round in circles end", () => {
  live();
  add(1);
  reconnect(snapshot(10, undefined, { done: {} }));
  page.socket.says(patch(11, 12), patch(12, 11), patch(10));
  page.tick(300);
  page.socket.says(snapshot(20, { board: { log: [1] } }, { done: { [page.socket.sent[0].client]: 1 } }));
  assert.deepEqual(log(), [1]);
});

test("a patch waits no longer than a gap, then a snapshot tells", () => {
  live();
  const { client } = page.socket.sent[0];
  add(11);
  add(5);
  const seen = told();
  reconnect(snapshot(10, undefined, { done: {} }));
  page.socket.says(patch(10));
  page.tick(300);
  assert.equal(page.socket.of("sync").length, 1);
  page.socket.says(snapshot(11, { board: { log: [11] } }, { done: { [client]: 1 } }));
  assert.deepEqual(log(), [11, 5]);
  assert.deepEqual(seen, []);
});

test("patches wait for nobody's answer where nothing is foretold, or the server counts nothing", () => {
  page.live();
  add(1);
  reconnect(snapshot(10, undefined, { done: {} }), patch(10));
  assert.deepEqual(log(), [11]);
  live();
  add(1);
  reconnect(snapshot(10, undefined), patch(10));
  assert.deepEqual(log(), [11, 1]);
});

test("a refusal rolls back, then says why", async () => {
  live();
  const seen = told();
  const refused = [];
  page.session.on("refused", ({ state, action, args, error }) =>
    refused.push([state, action, args, error.code, error.message, log()]),
  );
  const [first, second] = [failure(add(1)), add(2)];
  page.socket.says({ type: "reject", id: 1, code: "full", message: "Voll." });
  assert.deepEqual(seen, ["1 | ", "1,2 | ", "2 | "]);
  assert.deepEqual(refused, [["board", "add", { n: 1 }, "full", "Voll.", [2]]]);
  assert.equal((await first).code, "full");
  page.socket.says(ack(2, 10));
  await second;
});

test("a conflict stays shown while it is sent again", () => {
  live();
  add(1);
  const seen = told();
  page.socket.says({ type: "reject", id: 1, code: "conflict", message: "Busy." });
  page.tick(1000);
  page.socket.says(patch(10));
  assert.deepEqual(seen, ["11,1 | 11"]);
});

test("a predictor that throws, returns nothing or a promise, is skipped", () => {
  const board_ = {
    throws: () => {
      throw new Error("broken");
    },
    nothing: () => {},
    promise: async (state) => append(state, { n: 0 }),
    add: append,
  };
  page.live(undefined, { predict: { board: board_ } });
  for (const action of ["throws", "nothing", "promise", "unknown", "toString"]) {
    board().dispatch(action, { n: 1 });
  }
  add(2);
  assert.deepEqual(log(), [2]);
  assert.deepEqual(page.reported, []);
});

test("before the first snapshot there is nothing to foretell from, then everything is", () => {
  page.connect({}, { predict });
  add(1);
  assert.equal(board().getState(), undefined);
  page.welcome().says(snapshot(10, { board: { log: [] } }));
  assert.deepEqual(log(), [1]);
});

test("a predictor sees who acts and other confirmed states", () => {
  const contexts = [];
  const add_ = (state, args, { self, state: other }) => {
    contexts.push([self.id, other("notes").text]);
    return state;
  };
  page.live({ board: { log: [] }, notes: { text: "x" } }, { predict: { board: { add: add_ } } });
  add(1);
  assert.deepEqual(contexts, [["alice", "x"]]);
});

test("a reset takes the confirmed states, and what is unanswered is shown over the new ones", () => {
  live();
  const { client } = page.socket.sent[0];
  add(1);
  reconnect(snapshot(11, { board: { log: [1] } }, { done: { [client]: 1 } }));
  assert.deepEqual(log(), [1]);
  page.socket.says(snapshot(2, { board: { log: [] } }, { reset: true, done: {} }));
  assert.deepEqual(log(), [1]);
});

test("what was left by the page before is foretold, and counted by its client", async () => {
  live();
  const { client } = page.socket.sent[0];
  add(1);
  add(2);
  await turn();
  const { storage } = page;
  page.leave();
  page = new Page();
  for (const entry of storage) page.storage.set(...entry);
  page.connect({}, { predict });
  page.welcome().says(snapshot(11, { board: { log: [1] } }, { done: { [client]: 1 } }));
  assert.deepEqual(log(), [1, 2]);
});

test("parts that no action reaches keep their identity through all of it", async () => {
  const pile = [{ card: "ace" }];
  live({ board: { log: [], piles: { keep: pile } }, notes: { text: "" } });
  const { piles } = board().getState();
  const notes = page.session.store("notes").getState();
  const done = add(11);
  page.socket.says(patch(10, 11, { ops: [{ op: "add", path: "/board/step", value: 2 }] }));
  page.socket.says(ack(1, 11, 12));
  await done;
  assert.equal(board().getState().piles, piles);
  assert.equal(page.session.store("notes").getState(), notes);
});

test("a prediction that deep states make is compared, never written to", () => {
  const confirmed = Object.freeze({ log: Object.freeze([Object.freeze({ n: 1 })]), a: 1 });
  const prediction = new Prediction({ set: (state, { a }) => ({ ...state, a }) });
  prediction.update(confirmed, [{ action: "set", args: { a: 2 } }], {});
  const next = Object.freeze({ log: Object.freeze([Object.freeze({ n: 1 })]), a: 2 });
  assert.equal(prediction.update(next, [], {}), true);
  assert.equal(prediction.state.log, confirmed.log);
});

test("when a listener acts, those after it hear of the newest state last", () => {
  live();
  const seen = [];
  const off = board().subscribe(() => {
    off();
    add(2);
  });
  board().subscribe((state) => seen.push(state.log));
  add(1);
  assert.deepEqual(seen.at(-1), [1, 2]);
  assert.equal(seen.at(-1), log());
});

test("an input at 300 ms of network shows every keystroke", () => {
  const type = (state, { text }) => ({ ...state, text });
  page.live({ board: { log: [] }, notes: { text: "" } }, { predict: { notes: { type } } });
  const notes = page.session.store("notes");
  const answers = [];
  let at = 10;
  for (const [index] of [..."hello world"].entries()) {
    const text = "hello world".slice(0, index + 1);
    notes.dispatch("type", { text }, { replace: "text" });
    assert.equal(notes.getState().text, text);
    for (const sent of page.socket.of("action").slice(answers.length)) {
      answers.push([Date.now() + 300, sent]);
    }
    page.tick(80);
    for (const due of answers.filter(([time]) => time && time <= Date.now())) {
      const [, { id, args }] = due;
      const ops = [{ op: "replace", path: "/notes/text", value: args.text }];
      page.socket.says(ack(id, at, ++at, { ops }));
      due[0] = 0;
      assert.equal(notes.getState().text, text);
    }
  }
  assert.equal(notes.getState().text, "hello world");
});
