// How the client is divided, and what happens where a browser mixes two releases of it.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { pathToFileURL } from "node:url";

import { MODULES, sourceOf, statedVersion, urlOf, version, withVersion } from "./modules.js";
import { CONFIG, Page, turn } from "./page.js";

const MAX_LINES = 80;
// What pages may import by name; all else is taken by namespace, so that a module of another release
// links, and is found out by its version.
const PUBLIC = /^export \{ (DispatchError|applyPatch, PatchError) \} from "\.\/\w+\.js";$/;

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

for (const name of MODULES) {
  const source = sourceOf(name);

  test(`${name} carries the version of what belongs together`, () => {
    assert.equal(statedVersion(name), version(), "run: node tests/client/version.js");
  });

  test(`${name} takes its siblings by namespace only`, () => {
    for (const line of source.split("\n").filter((each) => /\bfrom "/.test(each))) {
      assert.match(line, line.startsWith("export") ? PUBLIC : /^import \* as \w+ from "\.\/\w+\.js";$/);
    }
  });

  test(`${name} has no function of more than ${MAX_LINES} lines`, () => {
    const lines = source.split("\n");
    lines.forEach((line, start) => {
      if (!/[({]$/.test(line) || /^(export )?class |^const [A-Z]+ = /.test(line)) return;
      const [indent] = /^ */.exec(line);
      const end = lines.findIndex((each, at) => at > start && RegExp(`^${indent}\\S`).test(each));
      assert.ok(end - start < MAX_LINES, `${name}, line ${start + 1}: ${line}`);
    });
  });
}

async function mixed(stale) {
  const folder = mkdtempSync(join(tmpdir(), "client-"));
  try {
    for (const name of MODULES) cpSync(urlOf(name), join(folder, name));
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    for (const name of stale) writeFileSync(join(folder, name), withVersion(name, "older"));
    return await import(pathToFileURL(join(folder, "client.js")));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const name of MODULES) {
  test(`where ${name} is of another release, all are fetched anew and the page is loaded again, once`, async () => {
    const fetched = [];
    let reloads = 0;
    location.reload = () => (reloads += 1);
    page.fetch((url, options) => fetched.push([url.href.split("/").at(-1), options.cache]));
    const { connect, DispatchError } = await mixed([name]);
    for (let tries = 0; tries < 3; tries += 1) {
      assert.throws(() => connect(CONFIG), { name: "DispatchError", code: "mixed_versions" });
      await turn();
    }
    assert.ok(DispatchError);
    assert.equal(reloads, 1);
    assert.deepEqual(fetched.sort(), [...MODULES].sort().map((each) => [each, "reload"]));
    assert.equal(page.sockets.length, 0);
  });
}

test("where modules are of two releases and there is no storage, it says so and loads nothing", async () => {
  location.reload = () => assert.fail("loaded again");
  page.fetch(() => assert.fail("fetched"));
  const { connect } = await mixed(["outbox.js"]);
  assert.throws(() => connect(CONFIG, { storage: null }), /Serve one release/);
  await turn();
});

test("modules of one release connect", async () => {
  const { connect } = await mixed([]);
  assert.equal(connect(CONFIG).status, "connecting");
});
