// Continuous input: an unsent action gives way to the newer one with its key.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ack, failure, Page, snapshot, turn } from "./page.js";

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

const board = () => page.session.store("board");
const sent = () => page.socket.of("action");
const drag = (n, key = "card") => board().dispatch("drag", { n }, { replace: key });

test("of unsent actions with one key the newest is sent, and answers for all of them", async () => {
  page.connect();
  const all = [1, 2, 3].map((n) => drag(n));
  assert.equal(page.session.pending, 1);
  page.welcome().says(snapshot(10, { board: { log: [] } }));
  assert.deepEqual(sent().map(({ args }) => args.n), [3]);
  page.socket.says(ack(sent()[0].id, 10, 11, { result: "here" }));
  assert.deepEqual(await Promise.all(all), ["here", "here", "here"]);
});

test("a refusal of the newest is that of those which gave way to it, and told of once", async () => {
  page.connect();
  const refused = [];
  page.session.on("refused", ({ args }) => refused.push(args.n));
  const all = [1, 2].map((n) => failure(drag(n)));
  page.welcome().says({ type: "reject", id: 2, code: "full", message: "Voll." });
  for (const outcome of all) assert.equal((await outcome).code, "full");
  assert.deepEqual(refused, [2]);
});

test("an action that was sent gives way to none, and other keys and states are others", () => {
  page.live();
  drag(1);
  page.session.pause();
  drag(2);
  drag(3, "other");
  page.session.store("notes").dispatch("drag", { n: 4 }, { replace: "card" });
  board().dispatch("drag", { n: 5 });
  drag(6);
  page.session.resume();
  page.welcome();
  assert.deepEqual(sent().map(({ args }) => args.n), [1, 3, 4, 5, 6]);
  const numbers = sent().map(({ id }) => id);
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
});

test("what gave way leaves nothing in the storage, and its id is not used again", async () => {
  page.connect();
  drag(1);
  await turn();
  drag(2);
  await turn();
  const [{ id, args }, ...more] = JSON.parse(page.storage.get("sessionstores:K7Q2ZD:alice"));
  assert.deepEqual([id, args, more], [2, { n: 2 }, []]);
});

test("what a reload finds gives way, too", async () => {
  page.connect();
  drag(1);
  await turn();
  const { storage } = page;
  page.leave();
  page = new Page();
  for (const entry of storage) page.storage.set(...entry);
  page.connect();
  drag(2);
  page.welcome();
  assert.deepEqual(sent().map(({ args }) => args.n), [2]);
});

test("settled waits for the one that took the place of another", async () => {
  page.connect();
  drag(1);
  let isSettled = false;
  page.session.settled().then(() => (isSettled = true));
  drag(2);
  await turn();
  assert.equal(isSettled, false);
  page.welcome().says(snapshot(10, { board: { log: [] } }), ack(2, 10));
  await turn();
  assert.equal(isSettled, true);
});

test("60 changes a second for 5 s leave at most two unsent, and drain within 200 ms of the last", async () => {
  page.connect();
  page.welcome({ limits: { rate: [20, 40], frame: 65536 } }).says(snapshot(10, { board: { log: [] } }));
  let [at, answered] = [10, 0];
  const delayed = [];
  const network = () => {
    for (const { id } of sent().slice(answered)) {
      delayed.push([Date.now() + 100, id]);
      answered += 1;
    }
    while (delayed.length && delayed[0][0] <= Date.now()) {
      page.socket.says(ack(delayed.shift()[1], at, ++at));
    }
  };
  for (let n = 0; n < 300; n += 1) {
    drag(n);
    page.tick(n % 3 ? 20 : 10);
    network();
    assert.ok(page.session.pending - delayed.length <= 2);
  }
  for (let waited = 0; waited < 200; waited += 10) {
    page.tick(10);
    network();
  }
  assert.equal(page.session.pending, 0);
  assert.equal(sent().at(-1).args.n, 299);
});
