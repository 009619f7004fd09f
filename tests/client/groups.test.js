// Actions that were committed with those of others, and actions that others came before.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ack, failure, groupAck, Page, patch, rev, snapshot, turn } from "./page.js";

const KEY = "sessionstores:K7Q2ZD:alice";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const board = () => page.session.store("board");
const log = () => board().getState().log;
const sent = () => page.socket.of("action");
const conflict = (id) => ({ type: "reject", id, code: "conflict", message: "Busy." });
const stored = () => JSON.parse(page.storage.get(KEY) ?? "[]");

async function isOpen(promise) {
  const open = Symbol("open");
  return (await Promise.race([promise, turn().then(() => open)])) === open;
}

test("an acknowledged action is held until the patch that carries it is here", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(groupAck(1, 11, { result: "placed" }));
  assert.equal(page.session.pending, 1);
  assert.ok(await isOpen(done));
  const seen = [];
  board().subscribe(() => seen.push(page.session.pending));
  page.socket.says(patch(10));
  assert.equal(await done, "placed");
  assert.deepEqual([log(), seen, page.session.pending], [[11], [0], 0]);
  page.tick(10_000);
  assert.deepEqual(page.socket.of("sync"), []);
});

test("several actions of a group are done with its one patch", async () => {
  page.live();
  const all = Promise.all([1, 2, 3].map(() => board().dispatch("move")));
  page.socket.says(groupAck(1, 11), groupAck(2, 11), groupAck(3, 11));
  assert.equal(page.session.pending, 3);
  page.socket.says(patch(10));
  await all;
  assert.equal(page.session.pending, 0);
});

test("a patch ahead of the ack does no harm", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(patch(10), groupAck(1, 11, { result: 7 }));
  assert.equal(await done, 7);
  assert.equal(page.session.pending, 0);
});

test("a patch that is lost costs a snapshot, and the action is done", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(groupAck(1, 11));
  page.tick(300);
  assert.deepEqual(page.socket.of("sync"), [{ type: "sync", doc: "me", rev: rev(10) }]);
  page.socket.says(snapshot(12, { board: { log: [11, 12] } }));
  await done;
  assert.equal(page.session.pending, 0);
});

test("an acknowledged action is neither sent again nor refused when the connection is lost", async () => {
  page.live();
  const done = board().dispatch("move", { n: 1 });
  board().dispatch("move", { n: 2 });
  page.socket.says(groupAck(1, 11, { result: "first" }));
  await turn();
  assert.deepEqual(stored().map(({ id }) => id), [2]);
  page.socket.breaks();
  page.tick(1000);
  page.welcome();
  assert.deepEqual(sent().map(({ id }) => id), [2]);
  page.socket.says(snapshot(11, { board: { log: [11] } }));
  assert.equal(await done, "first");
});

test("an acknowledged action outlasts five minutes without a connection", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(groupAck(1, 11, { result: "late" }));
  page.session.pause();
  page.tick(301_000);
  page.session.resume();
  page.welcome().says(snapshot(11, { board: { log: [11] } }));
  assert.equal(await done, "late");
});

test("an acknowledged action resolves when the session ends before its patch", async () => {
  page.live();
  const done = board().dispatch("move");
  const open = failure(board().dispatch("move"));
  page.socket.says(groupAck(1, 11, { result: "last" }), {
    type: "end",
    reason: "ended",
    retry: false,
  });
  assert.equal(await done, "last");
  assert.equal((await open).code, "session_ended");
});

test("an action that others came before is sent again as a new one", async () => {
  page.live();
  const done = board().dispatch("move", { card: "ace" });
  page.socket.says(conflict(1));
  assert.equal(page.session.pending, 1);
  page.tick(500);
  const { client } = page.socket.sent[0];
  assert.deepEqual(sent().at(-1), {
    type: "action",
    id: 2,
    state: "board",
    action: "move",
    args: { card: "ace" },
  });
  assert.ok(client);
  page.socket.says(ack(2, 10, 11, { result: "placed" }));
  assert.equal(await done, "placed");
});

test("ids count up in the order of sending, whatever is sent again", () => {
  page.live();
  for (const n of [1, 2]) board().dispatch("move", { n });
  page.socket.says(conflict(1));
  board().dispatch("move", { n: 3 });
  page.tick(500);
  const order = sent().map(({ id, args }) => [id, args.n]);
  assert.deepEqual(order.slice(0, 2), [[1, 1], [2, 2]]);
  assert.deepEqual(order.slice(2).map(([, n]) => n), [1, 3]);
  const numbers = order.map(([id]) => id);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
});

test("what is not yet sent waits for what is sent again, and comes after it", () => {
  page.connect();
  page.welcome({ limits: { rate: [1, 2], frame: 65536 } });
  page.socket.says(snapshot(10, { board: { log: [] } }));
  page.tick(2000);
  for (const n of [1, 2, 3]) board().dispatch("move", { n });
  const first = sent().length;
  page.socket.says(conflict(1));
  page.tick(20_000);
  const order = sent().map(({ id, args }) => [id, args.n]);
  assert.ok(first < 3 && order.length === 4, JSON.stringify(order));
  assert.deepEqual(order.map(([, n]) => n), first === 1 ? [1, 1, 2, 3] : [1, 2, 1, 3]);
});

// With a burst of two, one goes out at once, and the others wait.
function withQueue(numbers) {
  page.connect();
  page.welcome({ limits: { rate: [1, 2], frame: 65536 } });
  page.socket.says(snapshot(10, { board: { log: [] } }));
  for (const n of numbers) board().dispatch("move", { n });
  assert.deepEqual(sent().map(({ args }) => args.n), [numbers[0]]);
}

test("what is not yet sent keeps its id, which a copy of the tab has, too", async () => {
  withQueue([1, 2, 3]);
  await turn();
  const before = stored().map(({ client, id, args }) => [client, id, args.n]);
  const { client: own } = page.socket.sent[0];
  page.socket.says(conflict(1));
  page.tick(20_000);
  const frames = sent().map(({ client = own, id, args }) => [client, id, args.n]);
  const [again, ...rest] = frames.slice(1);
  assert.deepEqual(rest, before.slice(1));
  // Ids count up in the order of sending: what goes ahead of these is of another client.
  assert.notEqual(again[0], own);
  assert.equal(again[2], 1);
  assert.equal(new Set(frames.map(([, id]) => id)).size, frames.length);
});

test("however many others came before, two clients are enough where one waits", () => {
  withQueue([1, 2, 3]);
  for (let times = 0; times < 4; times += 1) {
    page.socket.says(conflict(sent().at(-1).id));
    for (let waited = sent().length; sent().length === waited; ) page.tick(10);
  }
  const { client: own } = page.socket.sent[0];
  const again = sent().slice(1).map(({ client = own, args }) => [client, args.n]);
  assert.deepEqual(again.map(([, n]) => n), [1, 1, 1, 1]);
  assert.equal(new Set(again.map(([client]) => client)).size, 1);
});

test("an action of another client is answered, and kept for the page after this one, as any", async () => {
  withQueue([1, 2]);
  page.socket.says(conflict(1));
  page.socket.breaks();
  page.tick(4000);
  page.welcome();
  page.tick(4000);
  await turn();
  const { client: own } = page.socket.sent[0];
  const [again, next] = sent().map((frame) => ({ client: own, ...frame }));
  assert.deepEqual([again.args.n, next.args.n], [1, 2]);
  assert.notEqual(again.client, own);
  assert.deepEqual(stored().map(({ client, id }) => [client, id]), [[again.client, again.id], [next.client, next.id]]);
  page.socket.says(snapshot(10), ack(again.id, 10, 11), ack(next.id, 11, 12));
  await page.session.settled();
  await turn();
  assert.deepEqual([log(), stored()], [[11, 12], []]);
});

test("several that others came before are sent again in the order of their dispatch", () => {
  page.live();
  for (const n of [1, 2, 3]) board().dispatch("move", { n });
  page.socket.says(conflict(1), conflict(2), conflict(3));
  page.tick(10_000);
  assert.deepEqual(sent().slice(3).map(({ args }) => args.n), [1, 2, 3]);
  page.socket.says(conflict(sent()[4].id), conflict(sent()[5].id));
  page.tick(10_000);
  assert.deepEqual(sent().slice(6).map(({ args }) => args.n), [2, 3]);
});

test("an action that never comes first is refused in the end", async () => {
  page.live();
  const outcome = failure(board().dispatch("move"));
  for (let tries = 1; tries <= 6; tries += 1) {
    assert.equal(sent().length, tries);
    page.socket.says(conflict(sent().at(-1).id));
    page.tick(3000);
  }
  assert.equal((await outcome).code, "conflict");
  assert.equal(sent().length, 6);
  assert.equal(page.session.pending, 0);
});

test("a conflict of a lost connection is repeated on the next one, under a new id", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(conflict(1));
  page.socket.breaks();
  page.tick(4000);
  page.welcome();
  page.tick(3000);
  assert.deepEqual(sent().map(({ id, client }) => [id, client]), [[2, undefined]]);
  page.socket.says(ack(2, 10, 11, { result: "ok" }));
  assert.equal(await done, "ok");
});

for (const [kind, answer] of [["its own", ack(1, 2)], ["a group's", groupAck(1, 3)]]) {
  test(`where the server has lost its record and drew our incarnation again, an action is done with the snapshot, not with ${kind} ack`, async () => {
    page.live();
    const done = board().dispatch("move");
    page.socket.says({ ...answer, result: "placed" });
    assert.equal(page.session.pending, 1);
    assert.ok(await isOpen(done));
    assert.deepEqual(page.socket.of("sync"), [{ type: "sync", doc: "me", rev: rev(10) }]);
    page.socket.says(snapshot(3, { board: { log: [3] } }, { reset: true, done: {} }));
    assert.equal(await done, "placed");
    assert.deepEqual([log(), page.session.pending], [[3], 0]);
  });
}

test("an ack that is behind a snapshot which has the action asks for nothing", async () => {
  page.live();
  const done = board().dispatch("move");
  const { client } = page.socket.sent[0];
  page.socket.says(snapshot(12, { board: { log: [11, 12] } }, { done: { [client]: 1 } }));
  page.socket.says(ack(1, 10, 11, { result: "placed" }));
  assert.equal(await done, "placed");
  page.tick(10_000);
  assert.deepEqual(page.socket.of("sync"), []);
});

test("an action without a change is done at once, also where a change has overtaken its ack", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(patch(10), ack(1, 10, 10, { ops: [], result: "as it was" }));
  assert.equal(await done, "as it was");
  page.tick(10_000);
  assert.deepEqual(page.socket.of("sync"), []);
});
