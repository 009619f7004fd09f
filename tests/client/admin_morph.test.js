import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { JSDOM } from "jsdom";

import { morph } from "../../sessionstores/static/sessionstores/admin-morph.js";

let body;

beforeEach(() => {
  const { window } = new JSDOM("<body></body>");
  globalThis.Node = window.Node;
  globalThis.document = window.document;
  globalThis.matchMedia = () => ({ matches: false });
  ({ body } = window.document);
});

const row = (key) => `<tr data-ss-key="${key}"><td><input type="checkbox"></td><td><a href="/${key}">${key}</a></td></tr>`;
const table = (keys) => `<table><tbody data-ss-rows>${[...keys].map(row).join("")}</tbody></table>`;
const shown = () => [...body.querySelectorAll("tr")].map((each) => each.dataset.ssKey).join("");
const held = () => body.querySelector("tbody").dataset.ssHeld;

/** Let the page show `before`, do something with it, and refresh it to `after`. */
function refresh(before, after, meanwhile = () => {}, sorted = false) {
  body.innerHTML = table(before);
  meanwhile(body);
  const answer = body.ownerDocument.createElement("div");
  answer.innerHTML = table(after);
  morph(body, answer, sorted);
}

test("a new row comes in its place, and the others keep theirs", () => {
  refresh("abc", "nabc");
  assert.equal(shown(), "nabc");
  refresh("abc", "cnba");
  assert.equal(shown(), "abcn");
  refresh("abc", "acn");
  assert.equal(shown(), "acn");
  refresh("abc", "xyz");
  assert.equal(shown(), "xyz");
});

for (const [what, use] of [
  ["has the focus", (page) => page.querySelector("a").focus()],
  ["is ticked", (page) => (page.querySelector("input").checked = true)],
]) {
  test(`while a row ${what}, new ones that would move it wait and are counted`, () => {
    refresh("abc", "nmabcz", use);
    assert.equal(shown(), "abcz");
    assert.equal(held(), "2");
    const answer = body.ownerDocument.createElement("div");
    answer.innerHTML = table("nmabcz");
    morph(body, answer, true);
    assert.equal(shown(), "nmabcz");
    assert.equal(held(), undefined);
  });
}

test("an answer that nobody waits for forgets how many rows are held back", () => {
  refresh("abc", "nabc", (page) => (page.querySelector("input").checked = true));
  assert.equal(held(), "1");
  body.querySelector("input").checked = false;
  const answer = body.ownerDocument.createElement("div");
  answer.innerHTML = table("nabc");
  morph(body, answer);
  assert.equal(shown(), "nabc");
  assert.equal(held(), undefined);
});

test("rows are sorted anew when that was asked for, and stay the nodes that they were", () => {
  let first;
  refresh("abcd", "dbxa", (page) => (first = page.querySelector("tr")), true);
  assert.equal(shown(), "dbxa");
  assert.equal(body.querySelector("tr:last-child"), first);
});

test("a fold stays as it is when something else comes before it or goes", () => {
  const fold = `<details data-ss-key="more"><summary>More</summary></details>`;
  const pages = [`\n${fold}\n`, `\n<nav>Steps</nav>\n${fold}\n`, `<p>One</p>\n<p>Two</p> ${fold}`, `${fold}<p>One</p>`];
  for (const before of pages) {
    for (const after of pages) {
      body.innerHTML = before;
      body.querySelector("details").open = true;
      const answer = body.ownerDocument.createElement("div");
      answer.innerHTML = after;
      morph(body, answer);
      assert.ok(body.querySelector("details").open, `${before} to ${after}`);
      body.querySelector("details").open = false;
      assert.equal(body.innerHTML, after);
    }
  }
});
