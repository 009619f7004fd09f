// The guide from global stores to isolated ones: the app before and after, used in the same way.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

// First: React looks for a document when it is loaded.
import { REACTS } from "./react_page.js";

import { cleanup, fireEvent, render, within } from "@testing-library/react";
import ts from "typescript";

import { createTestSession } from "../../sessionstores/static/sessionstores/testing.js";
import { turn } from "./page.js";

const { React } = REACTS[19];
const GUIDE = readFileSync(new URL("../../docs/how-to/react-global-stores.md", import.meta.url), "utf8");
const STATIC = new URL("../../sessionstores/static/sessionstores/", import.meta.url).href;
const HERE = fileURLToPath(new URL(".", import.meta.url));
// As the guide counts: lines of components, those around the app among them, that it changes.
const AIM = 6;

const files = new Map();
for (const [, name, text] of GUIDE.matchAll(/```jsx?\n\/\/ (\S+)\n(.*?)```/gs)) files.set(name, text);
files.set("after/Steps.jsx", files.get("before/Steps.jsx"));

mkdirSync(join(HERE, ".stores"), { recursive: true });
const folder = mkdtempSync(join(HERE, ".stores", "run-"));
after(() => rmSync(join(HERE, ".stores"), { recursive: true }));
for (const [name, source] of files) {
  mkdirSync(join(folder, name, ".."), { recursive: true });
  const compilerOptions = { jsx: "react-jsx", module: "ES2022", target: "ES2022" };
  const { outputText } = ts.transpileModule(source, { compilerOptions });
  const text = outputText.replaceAll('"../sessionstores/', `"${STATIC}`).replaceAll(".jsx", ".js");
  writeFileSync(join(folder, name.replace(".jsx", ".js")), text);
}
const stored = new Map();
globalThis.localStorage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key),
};
const { App: Before } = await import(pathToFileURL(join(folder, "before", "App.js")));
const { App: After } = await import(pathToFileURL(join(folder, "after", "App.js")));
const { predict } = await import(pathToFileURL(join(folder, "after", "stores.js")));

const sessions = [];
afterEach(() => {
  cleanup();
  for (const session of sessions.splice(0)) session.close();
});

function scripted() {
  const made = createTestSession(
    {
      states: {
        step1: { deck: ["ace", "king", "queen"], piles: { keep: [], drop: [] } },
        step2: { top: [] },
        step3: { notes: {} },
      },
      // The server does what is predicted: the Python of the guide is run by a test of its own.
      actions: predict,
    },
    { predict },
  );
  sessions.push(made.session);
  return made;
}

// The same on both apps. Each look is right after the click: nothing may lag.
async function play(view) {
  const part = (name) => within(view.getByRole("region", { name }));
  const click = async (name, button) => {
    await React.act(async () => fireEvent.click(part(name).getByRole("button", { name: button })));
  };
  const buttons = (name) => part(name).getAllByRole("button").map((each) => each.textContent);
  assert.deepEqual(buttons("Sort"), ["ace", "king", "queen"]);
  await click("Sort", "ace");
  assert.deepEqual(buttons("Sort"), ["king", "queen"]);
  assert.ok(part("Sort").getByText("1 kept"));
  await click("Sort", "queen");
  await click("Choose", "queen");
  await click("Choose", "ace");
  assert.deepEqual(part("Explain").getAllByRole("textbox").map((each) => each.ariaLabel ?? each.getAttribute("aria-label")), ["queen", "ace"]);
  for (const text of ["h", "he", "hey"]) {
    const input = part("Explain").getByRole("textbox", { name: "ace" });
    await React.act(async () => fireEvent.change(input, { target: { value: text } }));
    assert.equal(part("Explain").getByRole("textbox", { name: "ace" }).value, text);
  }
  await click("Choose", "Begin again");
  assert.equal(part("Explain").queryAllByRole("textbox").length, 0);
}

test("the app as it is works", async () => {
  await play(render(React.createElement(Before)));
});

test("the app that was moved does the same, and what it does is on the server", async () => {
  const { session, server } = scripted();
  await session.ready;
  await play(render(React.createElement(After, { session })));
  await session.settled();
  assert.deepEqual(server.state("step1"), { deck: ["king"], piles: { keep: ["ace", "queen"], drop: [] } });
  assert.deepEqual(server.state("step2"), { top: [] });
  assert.deepEqual(server.state("step3"), { notes: { ace: "hey" } });
});

test("on a slow network, too", async () => {
  const { session, server } = scripted();
  await session.ready;
  server.hold();
  await play(render(React.createElement(After, { session })));
  await React.act(async () => server.release());
  await React.act(turn);
  assert.equal(session.pending, 0);
  assert.deepEqual(server.state("step3"), { notes: { ace: "hey" } });
});

test("two people have two apps, and neither sees the other's", async () => {
  const people = [scripted(), scripted()];
  await Promise.all(people.map(({ session }) => session.ready));
  const [ada, ben] = people.map(({ session }) => {
    const container = document.body.appendChild(document.createElement("div"));
    return render(React.createElement(After, { session }), { container });
  });
  await React.act(async () => fireEvent.click(within(ada.container).getByRole("button", { name: "ace" })));
  assert.ok(within(ada.container).getByText("1 kept"));
  assert.ok(within(ben.container).getByText("0 kept"));
});

test("few lines of components change", () => {
  const lines = (name) => files.get(name).split("\n").map((line) => line.trim()).filter(Boolean);
  const changed = ["Steps.jsx", "App.jsx"].flatMap((name) => {
    const before = lines(`before/${name}`);
    return lines(`after/${name}`).filter((line) => {
      const at = before.indexOf(line);
      if (at >= 0) before.splice(at, 1);
      return at < 0;
    });
  });
  // Two imports, the signature, and the provider that begins and ends.
  assert.equal(changed.length, 5, changed.join("\n"));
  assert.ok(changed.length <= AIM);
});
