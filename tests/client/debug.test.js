// The panel for developers, and the network that it slows down.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { JSDOM } from "jsdom";

import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { debug, devtools, slowed } from "../../sessionstores/static/sessionstores/debug.js";
import { ack, CONFIG, FakeSocket, Page, patch, snapshot, turn, WELCOME } from "./page.js";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

class Socket extends FakeSocket {
  get readyState() {
    return this.closed ? 3 : 1;
  }

  set onmessage(listener) {
    this.listener = listener;
  }

  get onmessage() {
    return this.listener;
  }
}

test("frames take their time each way, and none overtakes another", async () => {
  const network = { delay: 600 };
  page.connect({}, { WebSocket: slowed(network, Socket) });
  page.socket.open();
  assert.deepEqual(page.socket.sent, []);
  page.tick(300);
  assert.equal(page.socket.sent[0].type, "hello");
  page.socket.says({ ...WELCOME, client: page.socket.sent[0].client });
  // It is faster now, and what comes later still comes later.
  network.delay = 0;
  page.socket.says(snapshot(10, { board: { log: [] } }));
  assert.equal(page.session.status, "connecting");
  page.tick(300);
  assert.equal(page.session.status, "live");
  page.tick(10);
  assert.deepEqual(page.session.store("board").getState(), { log: [] });
});

test("what is sent on a socket that has gone meanwhile is dropped with it, and sent again", async () => {
  const network = { delay: 0 };
  page.connect({}, { WebSocket: slowed(network, Socket) });
  page.welcome().says(snapshot(10, { board: { log: [] } }));
  network.delay = 600;
  const moved = page.session.store("board").dispatch("move");
  await turn();
  const first = page.socket;
  first.breaks();
  page.tick(1000);
  network.delay = 0;
  assert.deepEqual(first.of("action"), []);
  page.welcome();
  page.tick(1000);
  assert.equal(page.socket.of("action").length, 1);
  page.socket.says(ack(1, 10, 11));
  await moved;
});

test("whoever listens to the network hears each frame once, both ways", () => {
  const heard = [];
  const network = { heard: (way, text) => heard.push([way, JSON.parse(text).type]) };
  page.connect({}, { WebSocket: slowed(network, Socket) });
  page.welcome().says({ type: "ping", heads: {} });
  assert.deepEqual(heard, [["out", "hello"], ["in", "welcome"], ["in", "ping"], ["out", "pong"]]);
});

test("without a socket of one's own it is the browser's, and connects as ever", () => {
  mock.method(globalThis, "WebSocket", Socket);
  const session = connect(
    { url: "/", token: "t", session: "K7Q2ZD", participant: "a", role: "r", states: {} },
    { WebSocket: slowed({}) },
  );
  assert.equal(FakeSocket.all.length, 1);
  session.close();
});

test("the panel is that of the session which has connected last", async (t) => {
  const { document, AbortController } = new JSDOM("<!doctype html><body></body>").window;
  const sheet = class {
    replaceSync() {}
  };
  const requestAnimationFrame = (draw) => void draw();
  const globals = { document, AbortController, CSSStyleSheet: sheet, requestAnimationFrame };
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true });
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }
  const open = (paused) => debug(connect, CONFIG, { WebSocket: Socket, storage: null, paused });
  const shown = () => [...document.querySelectorAll("#sessionstores-debug")];
  // As React does under StrictMode: two, of which one is thrown away.
  const first = open(true);
  open(true);
  assert.deepEqual(shown(), []);
  first.resume();
  await turn();
  const [panel] = shown();
  assert.match(panel.shadowRoot.textContent, /connecting · 0 pending/);
  const second = open(true);
  second.resume();
  first.close();
  await turn();
  assert.equal(shown().length, 1);
  assert.notEqual(shown()[0], panel);
  second.close();
  open(false).close();
  assert.equal(shown().length, 1);
});

test("Redux DevTools are shown each state as it changes, until that is ended", () => {
  const told = [];
  const tools = { init: (states) => told.push(["init", states]), send: ({ type }, states) => told.push([type, states]) };
  const session = page.live();
  const end = devtools(session, ["board"], { connect: ({ name }) => (told.push(name), tools) });
  page.socket.says(patch(10));
  end();
  page.socket.says(patch(11));
  assert.deepEqual(told, [
    "sessionstores K7Q2ZD",
    ["init", { board: { log: [] } }],
    ["board", { board: { log: [11] } }],
  ]);
  // Where they are not installed, nothing happens.
  devtools(session, ["board"])();
});
