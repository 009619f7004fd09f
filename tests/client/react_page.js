// A page for React: a document of jsdom's, a scripted server, and each React that is supported.
import { mock } from "node:test";

import { JSDOM } from "jsdom";

import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { createHooks } from "../../sessionstores/static/sessionstores/react.js";
import { CONFIG, FakeSocket, FakeStorage, WELCOME, snapshot } from "./page.js";

const { window } = new JSDOM("<!doctype html><body></body>", { url: "https://example.org/" });
const names = ["window", "document", "HTMLElement", "HTMLIFrameElement", "Node", "Event", "location", "AbortController", "MutationObserver"];
for (const name of names) {
  Object.defineProperty(globalThis, name, { value: window[name] ?? window, configurable: true, writable: true });
}
for (const name of ["addEventListener", "removeEventListener"]) {
  globalThis[name] = window[name].bind(window);
}
Object.defineProperty(globalThis, "navigator", { value: { onLine: true, userAgent: "node" }, configurable: true });
globalThis.IS_REACT_ACT_ENVIRONMENT = true;

const current = {
  React: (await import("react")).default,
  ...(await import("react-dom/client")),
  ...(await import("react-dom/server")),
};
const older = await import("./react18/index.js");
export const REACTS = { 18: older, 19: current };

export const BOARD = { deck: ["ace", "two"], piles: { keep: [], drop: [] } };

// One test's page, and what it says goes wrong.
export class ReactPage {
  constructor(version) {
    Object.assign(this, REACTS[version]);
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_700_000_000_000 });
    FakeSocket.all = [];
    this.storage = new FakeStorage();
    this.errors = [];
    mock.method(console, "error", (...said) => {
      const text = said.map(String).join(" ");
      if (!text.startsWith("(node:")) this.errors.push(text);
    });
    this.options = { WebSocket: FakeSocket, storage: this.storage };
    this.hooks = createHooks(this.React, connect);
    this.container = document.body.appendChild(document.createElement("div"));
  }

  leave() {
    this.unmount();
    mock.timers.reset();
    mock.reset();
    this.container.remove();
  }

  act(change) {
    return this.React.act(change);
  }

  get socket() {
    return FakeSocket.all.at(-1);
  }

  get open() {
    return FakeSocket.all.filter(({ closed }) => !closed);
  }

  get text() {
    return this.container.textContent;
  }

  find(selector) {
    return this.container.querySelector(selector);
  }

  // A provider around `children`, which connects to `source`.
  provide(children, { strict = true, source = CONFIG, options, ...more } = {}) {
    const { createElement, StrictMode } = this.React;
    const props = { source, options: { ...this.options, ...options }, fallback: "Wait.", ...more };
    const provider = createElement(this.hooks.SessionStoreProvider, props, children);
    return strict ? createElement(StrictMode, null, provider) : provider;
  }

  async render(Component, more) {
    this.root ??= this.createRoot(this.container);
    const tree = Component && this.provide(this.React.createElement(Component), more);
    await this.act(async () => this.root.render(tree));
  }

  async unmount() {
    const { root } = this;
    this.root = undefined;
    if (root) await this.act(async () => root.unmount());
  }

  async tick(ms) {
    await this.act(async () => mock.timers.tick(ms));
  }

  // What the server says, all of it at once.
  async says(...frames) {
    await this.act(async () => this.socket.says(...frames));
  }

  async live(states = { board: BOARD }, ...more) {
    await this.act(async () => {
      this.socket.open();
      this.socket.says({ ...WELCOME, client: this.socket.sent[0].client });
      this.socket.says(snapshot(10, states), ...more);
    });
  }
}
