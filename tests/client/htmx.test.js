// htmx.js: an event on <body> for each change of a state, over one connection.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { CONFIG, Page, patch, rev, snapshot } from "./page.js";

const MODULE = new URL("../../sessionstores/static/sessionstores/htmx.js", import.meta.url);
const BOARD = { log: [] };

let page;
let pages = 0;
let seen;

beforeEach(() => {
  page = new Page();
  page.document.body = new EventTarget();
  seen = [];
  for (const name of ["board", "notes", "agenda"]) {
    page.document.body.addEventListener(`sessionstores:${name}`, (event) => seen.push(event));
  }
});
afterEach(() => page.leave());

// As a page with this configuration loads the module; each page has a module of its own.
async function load(config = CONFIG) {
  const element = config && { textContent: JSON.stringify(config) };
  page.document.querySelector = (selector) => (selector === "#sessionstores" ? element : null);
  pages += 1;
  return import(`${MODULE}?page=${pages}`);
}

test("each change of a state is one event with what it is and was", async () => {
  const { session } = await load();
  page.welcome().says(snapshot(10, { board: BOARD, notes: {} }));
  assert.deepEqual(seen.map(({ type }) => type).sort(), [
    "sessionstores:board",
    "sessionstores:notes",
  ]);
  seen.length = 0;
  page.socket.says(patch(10), patch(11));
  assert.deepEqual(
    seen.map(({ type, detail }) => [type, detail.previous.log, detail.state.log]),
    [
      ["sessionstores:board", [], [11]],
      ["sessionstores:board", [11], [11, 12]],
    ],
  );
  assert.equal(seen.at(-1).detail.state, session.store("board").getState());
  assert.equal(page.sockets.length, 1);
});

test("what the page brought along is no change, and what came since is", async () => {
  await load({ ...CONFIG, docs: { me: { rev: rev(10), states: { board: BOARD } } } });
  page.welcome().says(snapshot(10, undefined));
  assert.deepEqual(seen, []);
  page.socket.says(patch(10));
  assert.deepEqual(seen.map(({ type }) => type), ["sessionstores:board"]);
});

test("the connection is the page's, for its other scripts", async () => {
  const { session } = await load();
  page.welcome().says(snapshot(10, { board: BOARD }));
  session.store("board").dispatch("move", { card: "ace" }).catch(() => {});
  await new Promise(setImmediate);
  assert.equal(page.socket.of("action").length, 1);
  session.leave();
  assert.equal(page.socket.closed, true);
});

test("a state's name that every object has is no state", async () => {
  await load({ ...CONFIG, states: { board: "me" } });
  page.welcome().says(snapshot(10, { board: BOARD, constructor: {} }));
  assert.deepEqual(seen.map(({ type }) => type), ["sessionstores:board"]);
});

test("a page without a configuration is told so", async () => {
  await assert.rejects(load(null), (error) => {
    assert.equal(error.code, "bad_config");
    assert.match(error.message, /sessionstores_config/);
    return true;
  });
});
