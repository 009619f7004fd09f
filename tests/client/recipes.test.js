// The guide's recipes for front ends, pasted as they stand and run with the real libraries.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, mock, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { JSDOM } from "jsdom";
import { compile } from "svelte/compiler";

import { ack, CONFIG, FakeSocket, patch, rev, snapshot, WELCOME } from "./page.js";

const GUIDE = readFileSync(new URL("../../docs/how-to/front-ends.md", import.meta.url), "utf8");
const STATIC = new URL("../../sessionstores/static/sessionstores/", import.meta.url).href;
const HERE = fileURLToPath(new URL(".", import.meta.url));
const BLOCK = /```(?:js|html)\n(?:\/\/|<!--) (\S+)(?: -->)?\n(.*?)```/gs;
const DECK = ["ace", "two", "three"];

const { window } = new JSDOM("<!doctype html><body></body>", { url: "https://example.org/" });
for (const name of Object.getOwnPropertyNames(window)) {
  if (!(name in globalThis) || /^(Event|EventTarget|CustomEvent|AbortController|AbortSignal)$/.test(name)) {
    Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
  }
}
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
  globalThis[name] = window[name].bind(window);
}
globalThis.WebSocket = FakeSocket;
FakeSocket.all = [];

// Beside the tests, so that the libraries are found.
mkdirSync(join(HERE, ".recipes"), { recursive: true });
const folder = mkdtempSync(join(HERE, ".recipes", "run-"));
after(() => rmSync(join(HERE, ".recipes"), { recursive: true }));

// What a bundler for browsers resolves otherwise than Node.js does.
const resolved = (text) =>
  text
    .replaceAll('"../sessionstores/', `"${STATIC}`)
    .replace('import Alpine from "@alpinejs/csp";', 'import csp from "@alpinejs/csp";\nconst Alpine = csp.default;');
const SVELTE = new URL("../../node_modules/svelte/src/index-client.js", import.meta.url);

const files = new Map();
for (const [, name, text] of GUIDE.matchAll(BLOCK)) {
  files.set(name, text);
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  if (name.endsWith(".js")) writeFileSync(join(folder, name), resolved(text));
}
const load = (name) => import(pathToFileURL(join(folder, name)));

const config = document.createElement("script");
Object.assign(config, { id: "sessionstores", type: "application/json" });
const docs = { me: { rev: rev(10), states: { board: { deck: DECK } } } };
config.textContent = JSON.stringify({ ...CONFIG, docs });
document.body.append(config);

// All recipes share the session, as in the guide; each leaves the deck as it was.
const { session } = await load("session.js");
const socket = FakeSocket.all.at(-1);
socket.open();
socket.says({ ...WELCOME, client: socket.sent[0].client });
socket.says(snapshot(10, { board: { deck: DECK } }));
let at = 10;
const settle = () => new Promise((resolve) => setTimeout(resolve));

function show(html = "") {
  const place = document.body.appendChild(document.createElement("main"));
  place.innerHTML = html;
  return place;
}

const labels = (place) => [...place.querySelectorAll("button")].map((each) => each.textContent.trim());

async function plays(place) {
  await settle();
  assert.deepEqual(labels(place), DECK);
  place.querySelector("button").click();
  await settle();
  const { id, args } = socket.of("action").at(-1);
  assert.deepEqual(args, { card: "ace", pile: "keep" });
  socket.says(ack(id, at, (at += 1), { ops: [{ op: "remove", path: "/board/deck/0" }] }));
  await settle();
  assert.deepEqual(labels(place), DECK.slice(1));
  socket.says(patch(at, (at += 1), { ops: [{ op: "add", path: "/board/deck/0", value: "ace" }] }));
  await settle();
  assert.deepEqual(labels(place), DECK);
  await isRefused(place);
  const sent = socket.of("action").length;
  // As browsers number the second click of a double click, which meets what has moved up.
  place.querySelector("button").dispatchEvent(new window.MouseEvent("click", { bubbles: true, detail: 2 }));
  await settle();
  assert.equal(socket.of("action").length, sent);
}

// The library reports nothing of a refusal, which is an event of the session.
async function isRefused(place) {
  const reported = [];
  const note = (error) => reported.push(error);
  const report = (...said) => note(said.join(" "));
  for (const name of ["warn", "error"]) mock.method(console, name, report);
  process.on("uncaughtException", note);
  const refusals = [];
  const off = session.on("refused", ({ error }) => refusals.push(error.code));
  place.querySelector("button").click();
  await settle();
  socket.says({ type: "reject", id: socket.of("action").at(-1).id, code: "taken", message: "Somebody has it." });
  await settle();
  off();
  process.off("uncaughtException", note);
  mock.reset();
  assert.deepEqual(refusals, ["taken"]);
  assert.deepEqual(reported, []);
  assert.deepEqual(labels(place), DECK);
}

test("each file is taken by one of the tests", () => {
  const parts = new Set([...files.keys()].map((name) => name.split("/")[0]));
  assert.deepEqual([...parts].sort(), ["alpine", "element", "lit", "plain", "predict.js", "session.js", "svelte", "vue"]);
  assert.equal(files.size, (GUIDE.match(/```(js|html)\n/g) ?? []).length);
});

for (const name of ["plain", "vue", "lit", "alpine"]) {
  test(`${name}: a card is drawn, moved, and comes back`, async () => {
    const place = show(files.get(`${name}/index.html`));
    await load(`${name}/board.js`);
    await plays(place);
    place.remove();
  });
}

test("svelte: a card is drawn, moved, and comes back, and `get` has the state", async () => {
  const source = files.get("svelte/Board.svelte");
  const { js } = compile(source, { generate: "client", runes: true, filename: "Board.svelte" });
  writeFileSync(join(folder, "svelte", "Board.js"), js.code);
  const { default: Board } = await load("svelte/Board.js");
  const { mount, unmount } = await import(SVELTE);
  const { get } = await import("svelte/store");
  const { live } = await load("svelte/live.js");
  assert.deepEqual(get(live(session.store("board"))).deck, DECK);
  const place = show();
  const mounted = mount(Board, { target: place });
  await plays(place);
  await unmount(mounted);
});

test("a custom element counts, and lets go when it is taken away", async () => {
  const place = show(files.get("element/index.html"));
  await load("element/board.js");
  const element = place.firstElementChild;
  assert.equal(element.textContent, "3 left");
  element.remove();
  socket.says(patch(at, (at += 1), { ops: [{ op: "remove", path: "/board/deck/0" }] }));
  assert.equal(element.textContent, "3 left");
  place.append(element);
  assert.equal(element.textContent, "2 left");
});

test("no listener was broken", () => session.close());
