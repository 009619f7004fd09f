import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { ack, failure, FakeStorage, Page, patch, snapshot, turn } from "./page.js";

const KEY = "sessionstores:K7Q2ZD:alice";
const MINUTE = 60_000;

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const board = () => page.session.store("board");
const sent = () => page.socket.of("action");
const ids = () => sent().map((frame) => frame.id);
const stored = () => JSON.parse(page.storage.get(KEY) ?? "[]");

// The same tab, with its storage, after a reload or a navigation.
function reload() {
  const { storage } = page;
  page.leave();
  page = new Page();
  for (const [key, value] of storage) page.storage.set(key, value);
}

test("an action is sent as agreed, and resolves with its result", async () => {
  page.live();
  const done = board().dispatch("move", { card: "ace", pile: "keep" });
  assert.deepEqual(sent(), [
    { type: "action", id: 1, state: "board", action: "move", args: { card: "ace", pile: "keep" } },
  ]);
  page.socket.says(ack(1, 10, 11, { result: { placed: 3 } }));
  assert.deepEqual(await done, { placed: 3 });
  assert.deepEqual(board().getState().log, [11]);
});

test("arguments default to none, and are those of the moment of the dispatch", () => {
  page.connect();
  const args = { card: "ace" };
  board().dispatch("move", args);
  args.card = "two";
  board().dispatch("clear");
  page.welcome();
  assert.deepEqual(sent().map((frame) => frame.args), [{ card: "ace" }, {}]);
});

test("arguments that are no JSON reject, and nothing is sent", async () => {
  page.live();
  const args = {};
  args.self = args;
  for (const wrong of [args, { big: 1n }]) {
    const error = await failure(board().dispatch("move", wrong));
    assert.deepEqual([error.name, error.code], ["DispatchError", "invalid_arguments"]);
    assert.match(error.hint, /^TypeError/);
  }
  assert.equal(page.session.pending, 0);
  assert.deepEqual(sent(), []);
});

test("a reject becomes an error with its code and message, and changes nothing", async () => {
  page.live();
  const refused = failure(board().dispatch("move"));
  page.socket.says({ type: "reject", id: 1, code: "not_in_deck", message: "Already placed." });
  const error = await refused;
  assert.ok(error instanceof Error);
  assert.equal(error.name, "DispatchError");
  assert.equal(error.code, "not_in_deck");
  assert.equal(error.message, "Already placed.");
  assert.deepEqual(board().getState().log, []);
});

test("a rejected action between two accepted ones leaves those alone", async () => {
  page.live();
  const outcomes = Promise.allSettled([1, 2, 3].map(() => board().dispatch("move")));
  page.socket.says(
    ack(1, 10),
    { type: "reject", id: 2, code: "rejected", message: "No." },
    ack(3, 11),
  );
  const kinds = (await outcomes).map(({ status }) => status);
  assert.deepEqual(kinds, ["fulfilled", "rejected", "fulfilled"]);
  assert.deepEqual(board().getState().log, [11, 12]);
});

test("an answer to an unknown action is ignored, its patch is not", () => {
  page.live();
  page.socket.says(ack(99, 10), { type: "reject", id: 98, code: "rejected", message: "" });
  assert.deepEqual(board().getState().log, [11]);
});

test("nothing is sent between hello and welcome", () => {
  page.connect();
  board().dispatch("move");
  page.socket.open();
  board().dispatch("move");
  assert.deepEqual(page.socket.sent.map((frame) => frame.type), ["hello"]);
  page.socket.says({ type: "welcome", ping: 10, limits: { rate: null } });
  assert.deepEqual(ids(), [1, 2]);
});

test("unanswered actions are resent in order with their client, then the new ones without", () => {
  page.live();
  const { client } = page.socket.sent[0];
  for (let count = 0; count < 3; count += 1) board().dispatch("move", { count });
  page.socket.says(ack(1, 10));
  page.socket.breaks();
  board().dispatch("move", { count: 3 });
  page.tick(1000);
  page.welcome();
  assert.deepEqual(sent(), [
    { type: "action", id: 2, client, state: "board", action: "move", args: { count: 1 } },
    { type: "action", id: 3, client, state: "board", action: "move", args: { count: 2 } },
    { type: "action", id: 4, state: "board", action: "move", args: { count: 3 } },
  ]);
});

test("every connection of a page says hello with the same client", () => {
  page.live();
  const { client } = page.socket.sent[0];
  assert.match(client, /^[0-9a-f]{16}$/);
  page.socket.breaks();
  page.tick(1000);
  page.socket.open();
  assert.equal(page.socket.sent[0].client, client);
});

test("a fresh client in welcome is used for new actions, and never for old ones", () => {
  page.connect();
  const early = board().dispatch("early");
  early.catch(() => {});
  page.socket.open();
  const { client } = page.socket.sent[0];
  page.socket.says({ type: "welcome", client: "fresh", ping: 10, limits: { rate: null } });
  board().dispatch("late");
  assert.deepEqual(
    sent().map(({ id, client: named, action }) => [id, named, action]),
    [[1, client, "early"], [2, undefined, "late"]],
  );
  page.socket.breaks();
  page.tick(1000);
  page.socket.open();
  assert.equal(page.socket.sent[0].client, "fresh");
  page.socket.says({ type: "welcome", client: "fresher", ping: 10, limits: { rate: null } });
  assert.deepEqual(
    sent().map(({ id, client: named }) => [id, named]),
    [[1, client], [2, "fresh"]],
  );
});

test("a hundred lost connections neither lose nor renumber an action", () => {
  page.live();
  const arrived = new Set();
  for (let round = 0; round < 100; round += 1) {
    board().dispatch("move", { round });
    for (const { id, args } of sent()) arrived.add(`${id} ${args.round}`);
    page.socket.breaks();
    page.tick(3000);
    page.welcome();
    if (round % 3 === 0) page.socket.says(ack(sent()[0].id, 10 + round / 3));
  }
  for (const { id, args } of sent()) arrived.add(`${id} ${args.round}`);
  assert.equal(arrived.size, 100);
  assert.equal(page.session.pending, 66);
});

test("a reload resends what was unanswered, under the ids it had", async () => {
  page.live();
  const { client } = page.socket.sent[0];
  board().dispatch("move", { card: "ace" });
  board().dispatch("move", { card: "two" });
  page.socket.says(ack(1, 10));
  page.socket.breaks();
  board().dispatch("move", { card: "three" });
  await turn();
  reload();
  page.connect();
  assert.equal(page.session.pending, 2);
  board().dispatch("move", { card: "four" });
  page.welcome();
  assert.notEqual(page.socket.sent[0].client, client);
  assert.deepEqual(sent(), [
    { type: "action", id: 2, client, state: "board", action: "move", args: { card: "two" } },
    { type: "action", id: 3, client, state: "board", action: "move", args: { card: "three" } },
    { type: "action", id: 4, state: "board", action: "move", args: { card: "four" } },
  ]);
  page.socket.says(snapshot(10, { board: { log: [] } }), ack(2, 10), ack(3, 11));
  assert.equal(page.session.pending, 1);
  assert.deepEqual(board().getState().log, [11, 12]);
  await turn();
  assert.deepEqual(stored().map(({ id }) => id), [4]);
});

test("a duplicated tab repeats the actions it copied and shares no id for new ones", async () => {
  page.live();
  const original = page.session;
  const { client } = page.socket.sent[0];
  page.session.pause();
  original.store("board").dispatch("move", { card: "ace" });
  await turn();
  const copy = new FakeStorage(page.storage);
  page.connect({}, { storage: copy });
  board().dispatch("move", { card: "copy" });
  page.welcome();
  const named = sent().map((frame) => [frame.client ?? page.socket.sent[0].client, frame.id]);
  original.store("board").dispatch("move", { card: "two" });
  original.resume();
  page.welcome();
  const again = sent().map((frame) => [frame.client ?? client, frame.id]);
  assert.deepEqual(named[0], [client, 1]);
  assert.deepEqual(again, [[client, 1], [client, 2]]);
  assert.notEqual(named[1][0], client);
});

test("answered actions leave nothing in the storage", async () => {
  page.live();
  board().dispatch("move");
  await turn();
  assert.equal(stored().length, 1);
  page.socket.says(ack(1, 10));
  await turn();
  assert.equal(page.storage.size, 0);
});

test("a page that returns from the back/forward cache takes up what later pages left", async () => {
  page.live();
  const { client } = page.socket.sent[0];
  board().dispatch("first");
  await turn();
  page.happens("pagehide");
  const [first] = stored();
  const second = { ...first, client: "later", id: 2, action: "second" };
  page.storage.set(KEY, JSON.stringify([first, second]));
  page.happens("pageshow", { persisted: true });
  page.welcome();
  assert.deepEqual(
    sent().map((frame) => [frame.client, frame.id, frame.action]),
    [[client, 1, "first"], ["later", 2, "second"]],
  );
});

for (const [what, storage] of [
  ["no storage", null],
  ["a full storage", { getItem: () => null, setItem: () => assert.fail("full"), removeItem() {} }],
  ["an unreadable storage", { getItem: () => "{broken", setItem() {}, removeItem() {} }],
]) {
  test(`actions work with ${what}`, async () => {
    page.live({ board: { log: [] } }, { storage });
    const done = board().dispatch("move");
    await turn();
    page.socket.says(ack(1, 10));
    await done;
    assert.deepEqual(page.reported, []);
  });
}

test("a browser that refuses access to its storage does not break the page", () => {
  Object.defineProperty(globalThis, "sessionStorage", {
    get: () => assert.fail("SecurityError"),
    configurable: true,
  });
  page.live();
  board().dispatch("move");
  assert.deepEqual(ids(), [1]);
});

test("an action that was sent is given up after five minutes as outcome_unknown", async () => {
  page.live();
  page.tick(1000);
  const outcome = failure(board().dispatch("move"));
  page.session.pause();
  page.tick(5 * MINUTE - 1);
  assert.equal(page.session.pending, 1);
  page.tick(1);
  assert.equal((await outcome).code, "outcome_unknown");
  assert.equal(page.session.pending, 0);
  page.session.resume();
  page.welcome();
  assert.deepEqual(sent(), []);
});

test("an action that was never sent does not expire", async () => {
  page.live();
  page.session.pause();
  const done = board().dispatch("move");
  page.tick(60 * MINUTE);
  await turn();
  assert.equal(stored().length, 1);
  page.session.resume();
  page.welcome().says(ack(1, 10));
  await done;
});

test("an action that was never sent expires when that was asked for", async () => {
  page.live();
  page.session.pause();
  const outcome = failure(board().dispatch("move", {}, { within: MINUTE }));
  page.tick(MINUTE - 1);
  assert.equal(page.session.pending, 1);
  page.tick(1);
  assert.equal((await outcome).code, "expired");
  await turn();
  assert.equal(page.storage.size, 0);
});

test("what was sent in time does not expire, however long the answer takes", async () => {
  page.live();
  const done = board().dispatch("move", {}, { within: 1000 });
  page.tick(2000);
  page.socket.says(ack(1, 10));
  await done;
});

test("a time to be sent in goes on after a reload", async () => {
  page.live();
  page.session.pause();
  board().dispatch("move", {}, { within: MINUTE });
  page.tick(MINUTE / 2);
  await turn();
  reload();
  mock.timers.setTime(1_700_000_000_000 + MINUTE / 2);
  page.connect();
  const refused = [];
  page.session.on("refused", ({ error }) => refused.push(error.code));
  page.tick(MINUTE / 2 - 1);
  assert.deepEqual(refused, []);
  page.tick(1);
  assert.deepEqual(refused, ["expired"]);
});

test("five minutes count from the first sending, not from the last", async () => {
  page.live();
  page.session.pause();
  const outcome = failure(board().dispatch("move"));
  page.tick(4 * MINUTE);
  page.session.resume();
  page.welcome();
  page.session.pause();
  page.tick(4 * MINUTE);
  page.session.resume();
  page.welcome();
  assert.equal(sent().length, 1);
  page.session.pause();
  page.tick(MINUTE - 1);
  assert.equal(page.session.pending, 1);
  page.tick(1);
  assert.equal((await outcome).code, "outcome_unknown");
});

test("what a reload finds after five minutes is not resent", async () => {
  page.live();
  board().dispatch("move");
  await turn();
  const [entry] = stored();
  reload();
  page.storage.set(KEY, JSON.stringify([{ ...entry, at: Date.now() - 5 * MINUTE }]));
  page.connect();
  page.welcome();
  assert.deepEqual(sent(), []);
  await turn();
  assert.equal(page.storage.size, 0);
});

test("a burst is paced below the server's rate", () => {
  page.connect();
  page.welcome({ limits: { rate: [20, 40] } });
  // The server's bucket, as it would count frames that arrive when they are sent.
  let tokens = 40;
  let last = Date.now();
  let counted = 0;
  const count = () => {
    const now = Date.now();
    tokens = Math.min(40, tokens + ((now - last) / 1000) * 20);
    last = now;
    tokens -= sent().length - counted;
    counted = sent().length;
    assert.ok(tokens >= 0);
  };
  for (let index = 0; index < 200; index += 1) board().dispatch("move", { index });
  count();
  assert.ok(counted >= 20);
  for (let index = 0; index < 9100; index += 10) {
    page.tick(10);
    count();
    if (index % 5000 === 0) page.socket.says({ type: "ping" });
  }
  assert.equal(counted, 200);
  assert.deepEqual(ids(), Array.from({ length: 200 }, (_, index) => index + 1));
});

test("pacing survives delayed frames that arrive together", () => {
  page.connect();
  page.welcome({ limits: { rate: [20, 40] } });
  for (let index = 0; index < 100; index += 1) board().dispatch("move");
  page.tick(3000);
  // All that was sent within the last second arrives at one moment; the bucket was not empty.
  const before = sent().length;
  page.tick(1000);
  assert.ok(sent().length - before <= 40 - 20);
});

test("resent actions are paced too, in order and each once for a connection", () => {
  page.live();
  for (let index = 0; index < 10; index += 1) board().dispatch("move");
  page.socket.breaks();
  page.tick(1000);
  page.welcome({ limits: { rate: [2, 4] } });
  assert.deepEqual(ids(), [1, 2]);
  board().dispatch("move");
  page.tick(500);
  assert.deepEqual(ids(), [1, 2, 3]);
  page.tick(5000);
  assert.deepEqual(ids(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test("a rate below one a second still lets actions through", () => {
  page.connect();
  page.welcome({ limits: { rate: [0.5, 1] } });
  board().dispatch("move");
  board().dispatch("move");
  assert.deepEqual(ids(), [1]);
  page.tick(2000);
  assert.deepEqual(ids(), [1, 2]);
});

test("an action too large for a frame is refused here, and the next one is sent", async () => {
  page.connect();
  const large = failure(board().dispatch("write", { text: "x".repeat(2000) }));
  board().dispatch("write", { text: "x" });
  page.welcome({ limits: { rate: null, frame: 1000 } });
  assert.equal((await large).code, "too_large");
  assert.deepEqual(ids(), [2]);
});

test("what is refused before it is sent is an event, as any other refusal", async () => {
  const refused = [];
  page.live().on("refused", ({ error, ...what }) => refused.push([what, error.code]));
  const args = { count: 1n };
  assert.equal((await failure(board().dispatch("write", args))).code, "invalid_arguments");
  page.socket.says({ type: "end", reason: "kicked", retry: false });
  assert.equal((await failure(board().dispatch("move"))).code, "session_ended");
  assert.deepEqual(refused, [
    [{ state: "board", action: "write", args }, "invalid_arguments"],
    [{ state: "board", action: "move", args: {} }, "session_ended"],
  ]);
});

test("what fits into a frame still does when it is sent again", async () => {
  const room = { limits: { rate: null, frame: 1000 } };
  page.connect();
  page.welcome(room);
  // In bytes: that is what the server counts.
  for (const text of ["é".repeat(600), "x".repeat(920)]) {
    assert.equal((await failure(board().dispatch("note", { text }))).code, "too_large");
  }
  board().dispatch("note", { text: "x".repeat(870) });
  assert.deepEqual(ids(), [3]);
  page.socket.breaks();
  page.tick(1000);
  page.welcome(room);
  const [again] = page.socket.of("action");
  assert.equal(again.id, 3);
  assert.ok(JSON.stringify(again).length < 1000);
});

test("an action that was sent and no longer fits is of unknown outcome", async () => {
  page.connect();
  page.welcome();
  const sent = failure(board().dispatch("note", { text: "x".repeat(2000) }));
  page.socket.breaks();
  page.tick(1000);
  page.welcome({ limits: { rate: null, frame: 1000 } });
  assert.equal((await sent).code, "outcome_unknown");
});

test("an error refuses the action that it names, and no other", async () => {
  page.live();
  const first = board().dispatch("move", { n: 1 });
  const second = failure(board().dispatch("move", { n: 1e300 }));
  page.socket.says({ type: "error", code: "bad_value", message: "Out of range.", id: 2 });
  assert.equal((await second).code, "bad_value");
  assert.equal(page.session.pending, 1);
  page.socket.says(ack(1, 10));
  await first;
});

const UNNAMED = ["bad_json", "bad_frame", "bad_value", "too_large", "too_deep", "unknown_type"];
const CODES = [...UNNAMED, "bad_meta", "limit_reached", "store_unavailable", "internal"];
const NAMES = [{}, { of: "meta" }, { of: "sync" }, { of: "token" }, { of: "action" }, { id: 99 }];

test("an error that names no open action refuses none, whatever its code", async () => {
  page.live();
  const heard = [];
  page.session.on("error", (error) => heard.push(error));
  const moved = board().dispatch("move");
  const errors = CODES.flatMap((code) => NAMES.map((name) => ({ code, message: "No.", ...name })));
  page.socket.says(...errors.map((error) => ({ type: "error", ...error })));
  await turn();
  assert.equal(page.session.pending, 1);
  assert.deepEqual(heard, errors);
  page.socket.says(ack(1, 10));
  await moved;
});

test("what a server leaves unanswered that names nothing ends as unknown in time", async () => {
  page.live();
  const lost = failure(board().dispatch("move"));
  const next = board().dispatch("move");
  page.socket.says({ type: "error", code: "bad_value", message: "Out of range." }, ack(2, 10));
  await next;
  for (let minute = 0; minute < 5; minute += 1) {
    assert.equal(page.session.pending, 1);
    for (let second = 0; second < 60; second += 10) {
      page.tick(10_000);
      page.socket.says({ type: "ping", heads: {} });
    }
  }
  assert.equal((await lost).code, "outcome_unknown");
  assert.equal(page.session.pending, 0);
});

test("pending counts unanswered actions and is told once in a turn", async () => {
  page.live();
  const told = [];
  page.session.on("pending", (count) => told.push(count));
  for (let index = 0; index < 3; index += 1) board().dispatch("move");
  assert.equal(page.session.pending, 3);
  await turn();
  page.socket.says(ack(1, 10), ack(2, 11));
  await turn();
  page.socket.says(ack(3, 12));
  await turn();
  assert.deepEqual(told, [3, 1, 0]);
});

test("a dispatch from within a listener is sent after those before it", async () => {
  page.live();
  const off = board().subscribe(() => {
    off();
    board().dispatch("second");
  });
  board().dispatch("first");
  page.socket.says(patch(10));
  assert.deepEqual(sent().map(({ action }) => action), ["first", "second"]);
});
