// Subscribers of a store: whom a change is told, and what of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Subscribers } from "../../sessionstores/static/sessionstores/subscribers.js";
import { ack, Page, patch, snapshot } from "./page.js";

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

const board = () => page.session.store("board");

// A value with its subscribers, and what they were told.
class Value {
  seen = [];
  audience = new Subscribers(() => this.state);

  set(state) {
    this.state = state;
    this.audience.tell();
  }

  hear = (...given) => this.seen.push(given);
}

test("subscribers hear of the new value and the one before, and of no value twice", () => {
  const value = new Value();
  const off = value.audience.subscribe(value.hear);
  for (const each of [1, 1, 2]) value.set(each);
  off();
  value.set(3);
  assert.deepEqual(value.seen, [[1, undefined], [2, 1]]);
});

test("a listener that changes the value has all of them hear of the newer one last", () => {
  const value = new Value();
  value.audience.subscribe((state) => state === 1 && value.set(2));
  value.audience.subscribe(value.hear);
  value.audience.subscribe((state) => state * 10, value.hear);
  value.set(1);
  assert.deepEqual(value.seen, [[2, 1], [20, undefined]]);
});

test("a selector that throws is reported, and tells again when it can", () => {
  const value = new Value();
  value.set({ list: [1] });
  value.audience.subscribe(({ list }) => list.length, value.hear);
  value.audience.subscribe(() => value.seen.push("others"));
  value.set({});
  value.set({ list: [1, 2] });
  assert.equal(page.reported.length, 1);
  assert.deepEqual(value.seen, ["others", [2, 1], "others"]);
});

test("a selector's listener hears of changes of its part only", () => {
  page.live({ board: { log: [], step: 1 } });
  const seen = [];
  const off = board().subscribe(({ step }) => step, (...given) => seen.push(given));
  page.socket.says(patch(10));
  page.socket.says(patch(11, 12, { ops: [{ op: "replace", path: "/board/step", value: 2 }] }));
  off();
  page.socket.says(patch(12, 13, { ops: [{ op: "replace", path: "/board/step", value: 3 }] }));
  assert.deepEqual(seen, [[2, 1]]);
});

test("a selector may compare as it likes and be told at once, even before there is a state", () => {
  page.connect();
  const seen = [];
  const equalityFn = (a, b) => a?.length === b?.length;
  const tell = (part) => seen.push(part);
  board().subscribe((state) => state.log, tell, { equalityFn, fireImmediately: true });
  page.welcome().says(snapshot(10, { board: { log: [1] } }));
  page.socket.says(patch(10, 11, { ops: [{ op: "replace", path: "/board/log/0", value: 2 }] }));
  page.socket.says(patch(11));
  assert.deepEqual(seen, [undefined, [1], [2, 12]]);
  assert.deepEqual(page.reported, []);
});

test("a listener that throws is reported and does not keep the others from the news", async () => {
  page.live();
  const error = new Error("broken listener");
  const calls = [];
  page.session.store("board").subscribe(() => {
    throw error;
  });
  page.session.store("board").subscribe(() => calls.push("second"));
  const done = page.session.store("board").dispatch("move");
  page.socket.says(ack(1, 10));
  await done;
  assert.deepEqual(calls, ["second"]);
  assert.deepEqual(page.reported, [error]);
});

test("a listener that was removed by another is not called", () => {
  page.live();
  const board = page.session.store("board");
  const calls = [];
  const off = [];
  board.subscribe(() => off[0]());
  off.push(board.subscribe(() => calls.push("removed")));
  page.socket.says(patch(10));
  off[0]();
  assert.deepEqual(calls, []);
});
