// htmx.js under the real htmx 2: what a page fetches anew when a state changes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { JSDOM } from "jsdom";

import { CONFIG, FakeSocket, FakeStorage, patch, snapshot, WELCOME } from "./page.js";

const MODULE = new URL("../../sessionstores/static/sessionstores/htmx.js", import.meta.url);
const CHANGES = 300;
const LIMIT = { timeout: 60_000 };
const HTMX = createRequire(import.meta.url).resolve("htmx.org/dist/htmx.js");

let server;
let window;
let session;
// What the server has of the board, and which fragments were fetched.
let log = 0;
const fetched = [];
// Whether the line loses what is asked for, and how much it has lost.
let isLosing = false;
let lost = 0;

before(async () => {
  server = createServer((request, response) => {
    if (isLosing) {
      lost += 1;
      request.socket.destroy();
      return;
    }
    fetched.push(request.url);
    response.writeHead(200, { "content-type": "text/html" });
    response.end(`<b>${request.url} ${log}</b>`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const html = `<!doctype html><body>
    <div id="board" hx-get="/board/" hx-trigger="sessionstores:board from:body"></div>
    <div id="notes" hx-get="/notes/" hx-trigger="sessionstores:notes from:body"></div>
    <script id="sessionstores" type="application/json">${JSON.stringify(CONFIG)}</script>
  </body>`;
  ({ window } = new JSDOM(html, { url, runScripts: "outside-only", pretendToBeVisual: true }));
  // htmx looks for hx-on by it, as jsdom cannot; no element has that.
  window.XPathEvaluator = class {
    createExpression = () => ({ evaluate: () => ({ iterateNext: () => null }) });
  };
  window.eval(readFileSync(HTMX, "utf8"));
  const globals = {
    document: window.document,
    location: window.location,
    CustomEvent: window.CustomEvent,
    AbortController: window.AbortController,
    WebSocket: FakeSocket,
    sessionStorage: new FakeStorage(),
    navigator: { onLine: true },
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  FakeSocket.all = [];
  await new Promise((done) => {
    if (window.document.readyState === "complete") done();
    else window.addEventListener("load", done);
  });
  ({ session } = await import(MODULE));
  const socket = FakeSocket.all.at(-1);
  socket.open();
  socket.says({ ...WELCOME, client: socket.sent[0].client });
});
after(async () => {
  session?.close();
  window?.close();
  await new Promise((done) => server.close(done));
});

const shown = (id) => window.document.getElementById(id).textContent;
// Waits for the page, for as long as the test may take.
const until = async (holds) => {
  while (!holds()) await new Promise((done) => setTimeout(done, 5));
};

test("a burst of changes costs two fetches, and the last state is shown", LIMIT, async () => {
  const socket = FakeSocket.all.at(-1);
  socket.says(snapshot(10, { board: { log: [] } }));
  await until(() => shown("board") === "/board/ 0");
  fetched.length = 0;
  for (let at = 10; at < 10 + CHANGES; at += 1) {
    socket.says(patch(at));
    log += 1;
  }
  await until(() => shown("board") === `/board/ ${CHANGES}`);
  // The one that was in the queue, too.
  await until(() => fetched.length === 2);
  socket.says(patch(10 + CHANGES));
  log += 1;
  await until(() => shown("board") === `/board/ ${CHANGES + 1}`);
  assert.deepEqual(fetched, Array(3).fill("/board/"));
  assert.equal(shown("notes"), "");
});

// Goes on where the test before it has ended.
test("a fetch that the line lost is made again once there is a connection", LIMIT, async () => {
  const before = FakeSocket.all.at(-1);
  isLosing = true;
  log += 1;
  before.says(patch(11 + CHANGES));
  await until(() => lost === 1);
  isLosing = false;
  before.breaks();
  session.resume();
  const socket = FakeSocket.all.at(-1);
  socket.open();
  const { client, have } = socket.sent[0];
  socket.says({ ...WELCOME, client }, { type: "snapshot", doc: "me", rev: have.me, reset: false });
  await until(() => shown("board") === `/board/ ${CHANGES + 2}`);
});
