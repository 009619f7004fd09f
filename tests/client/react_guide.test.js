// The guide to React, pasted as it stands: its files are compiled and run on a page.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import ts from "typescript";

import { ack, CONFIG, FakeSocket, patch, turn } from "./page.js";
import { BOARD, ReactPage } from "./react_page.js";

const GUIDE = readFileSync(new URL("../../docs/how-to/react.md", import.meta.url), "utf8");
const STATIC = new URL("../../sessionstores/static/sessionstores/", import.meta.url).href;
const HERE = fileURLToPath(new URL(".", import.meta.url));

const files = [...GUIDE.matchAll(/```jsx?\n\/\/ workshop\/(\S+)\n(.*?)```/gs)];

// Beside the tests, so that "react" is found.
mkdirSync(join(HERE, ".guide"), { recursive: true });
const folder = mkdtempSync(join(HERE, ".guide", "run-"));
for (const [, name, source] of files) {
  const compilerOptions = { jsx: "react-jsx", module: "ES2022", target: "ES2022" };
  const { outputText } = ts.transpileModule(source, { compilerOptions });
  const text = outputText.replaceAll('"../sessionstores/', `"${STATIC}`).replaceAll(".jsx", ".js");
  writeFileSync(join(folder, name.replace(".jsx", ".js")), text);
}
const { App } = await import(pathToFileURL(join(folder, "App.js")));
after(() => rmSync(join(HERE, ".guide"), { recursive: true }));

// The guide's own test is one of these.
await import(pathToFileURL(join(folder, "Board.test.js")));

describe("the guide's page", () => {
  let page;

  beforeEach(async () => {
    page = new ReactPage("19");
    page.root = page.createRoot(page.container);
    const config = document.createElement("script");
    Object.assign(config, { id: "sessionstores", type: "application/json" });
    config.textContent = JSON.stringify(CONFIG);
    document.body.append(config);
    // The page's own: the guide gives no other.
    Object.assign(globalThis, { WebSocket: FakeSocket, sessionStorage: page.storage });
    const { createElement, StrictMode } = page.React;
    await page.act(async () => page.root.render(createElement(StrictMode, null, createElement(App))));
  });
  afterEach(async () => {
    await page.unmount();
    await page.tick(1000);
    document.getElementById("sessionstores").remove();
    page.leave();
  });

  const live = () => page.live({ board: { ...BOARD, text: "" } });

  const type = (text) =>
    page.act(async () => {
      const area = page.find("textarea");
      const { set } = Object.getOwnPropertyDescriptor(window.HTMLTextAreaElement.prototype, "value");
      set.call(area, text);
      area.dispatchEvent(new window.Event("input", { bubbles: true }));
    });

  const click = (text) =>
    page.act(async () => {
      [...page.container.querySelectorAll("button")].find((each) => each.textContent.includes(text)).click();
    });

  test("all of its files are taken", () => {
    const names = files.map(([, name]) => name);
    assert.deepEqual(names, ["hooks.js", "App.jsx", "predict.js", "Board.jsx", "Notes.jsx", "Room.jsx", "Board.test.jsx"]);
  });

  test("until the states are there, it says so", async () => {
    assert.equal(page.text, "One moment …");
    await live();
    assert.match(page.text, /0 kept/);
    assert.equal(page.open.length, 1);
    assert.deepEqual(page.errors, []);
  });

  test("a card moves at once, and back with the reason if it is refused", async () => {
    await live();
    await click("ace");
    assert.match(page.text, /1 kept/);
    assert.equal(page.find("section").getAttribute("aria-busy"), "true");
    await page.act(turn);
    await page.says({ type: "reject", id: 1, code: "taken", message: "Vergeben." });
    await page.act(turn);
    assert.match(page.text, /0 kept.*Vergeben\./);
    await click("All right");
    assert.doesNotMatch(page.find("section").textContent, /Vergeben/);
  });

  test("a double click moves one card", async () => {
    await live();
    await page.act(async () => {
      const ace = [...page.container.querySelectorAll("button")].find((each) => each.textContent === "ace");
      ace.click();
      ace.click();
    });
    await page.act(turn);
    assert.match(page.text, /1 kept/);
    assert.match(page.text, /two/);
  });

  test("what is typed is there letter by letter, and few frames carry it", async () => {
    await live();
    let typed = "";
    for (const letter of "hello world") {
      typed += letter;
      await type(typed);
      assert.equal(page.find("textarea").value, typed);
    }
    await page.act(turn);
    assert.equal(page.find("textarea").value, "hello world");
    // However late the answers come, what stands there is what was typed.
    const sent = page.socket.of("action");
    let at = 10;
    for (const { id, args } of sent) {
      const ops = [{ op: "replace", path: "/board/text", value: args.text }];
      await page.says(ack(id, at, (at += 1), { ops }));
      assert.equal(page.find("textarea").value, "hello world");
    }
    assert.equal(sent.at(-1).args.text, "hello world");
  });

  test("others are shown, and what they show", async () => {
    await live();
    const people = { bob: { name: "Bob", role: "participant" } };
    await page.says({ type: "presence", joined: { bob: [{ handUp: true }] }, left: [], people });
    assert.match(page.find("ul").textContent, /Bob ✋/);
    await click("Raise my hand");
    assert.equal(page.find("header button").getAttribute("aria-pressed"), "true");
    assert.deepEqual(page.socket.of("meta").at(-1).data, { handUp: true });
    await page.says({ type: "message", data: { notice: "Five minutes left." } });
    assert.match(page.text, /Five minutes left\./);
  });

  test("its hook of a Zustand store has fields and functions", async () => {
    const { createStoreHook } = await import(pathToFileURL(join(folder, "hooks.js")));
    assert.match(GUIDE, /createStoreHook\("board", \{\n {2}move: \(card, pile\) => \(\{ card, pile \}\),\n\}\)/);
    assert.equal(typeof createStoreHook("board", {}), "function");
    await live();
    await page.says(patch(10, 11, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
    assert.doesNotMatch(page.text, /ace/);
  });
});
