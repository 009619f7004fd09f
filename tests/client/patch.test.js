import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { applyPatch, PatchError } from "../../sessionstores/static/sessionstores/client.js";

function freeze(value) {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(freeze);
    Object.freeze(value);
  }
  return value;
}

for (const file of ["tests.json", "spec_tests.json"]) {
  const text = readFileSync(new URL(`../vectors/json-patch/${file}`, import.meta.url), "utf8");
  for (const [index, vector] of JSON.parse(text).entries()) {
    const { doc, patch, expected, error, comment = error ?? "" } = vector;
    // The disabled ones repeat a member, which JSON.parse cannot see, or are plain successes.
    const skip = vector.disabled && error !== undefined;
    test(`vector ${file} ${index} ${comment}`, { skip }, () => {
      freeze(doc);
      freeze(patch);
      if (error !== undefined) {
        assert.throws(() => applyPatch(doc, patch), PatchError);
      } else {
        const result = applyPatch(doc, patch);
        if (expected !== undefined) assert.deepEqual(result, expected);
      }
    });
  }
}

test("the document stays as it was, also when a later operation fails", () => {
  const document = { piles: { keep: ["ace"], drop: [] }, step: 1 };
  const before = structuredClone(document);
  applyPatch(document, [
    { op: "move", from: "/piles/keep/0", path: "/piles/drop/0" },
    { op: "replace", path: "/step", value: 2 },
  ]);
  assert.throws(
    () =>
      applyPatch(document, [
        { op: "remove", path: "/piles/keep/0" },
        { op: "remove", path: "/piles/keep/0" },
      ]),
    PatchError,
  );
  assert.deepEqual(document, before);
});

test("what no operation reaches keeps its identity", () => {
  const document = { a: { deep: { x: 1 }, other: {} }, b: { y: [] }, list: [{}, {}, {}] };
  const patched = applyPatch(document, [
    { op: "replace", path: "/a/deep/x", value: 2 },
    { op: "replace", path: "/list/1", value: 0 },
  ]);
  assert.notEqual(patched, document);
  assert.notEqual(patched.a, document.a);
  assert.notEqual(patched.a.deep, document.a.deep);
  assert.equal(patched.a.other, document.a.other);
  assert.equal(patched.b, document.b);
  assert.equal(patched.list[0], document.list[0]);
  assert.equal(patched.list[2], document.list[2]);
});

test("a test alone keeps the identity of everything", () => {
  const document = { a: { b: [1, { c: null }] } };
  const test_ = { op: "test", path: "/a", value: { b: [1, { c: null }] } };
  assert.equal(applyPatch(document, [test_]), document);
});

test("an inherited member equals no value of its own", () => {
  const value = JSON.parse('{"__proto__":{}}');
  const other = { other: 1 };
  for (const [a, wanted] of [[other, value], [value, other]]) {
    const operation = { op: "test", path: "/a", value: wanted };
    assert.throws(() => applyPatch({ a }, [operation]), PatchError);
  }
});

test("a copy does not change along with its original", () => {
  const patched = applyPatch({ a: { list: [1] } }, [
    { op: "add", path: "/a/list/-", value: 2 },
    { op: "copy", from: "/a", path: "/b" },
    { op: "add", path: "/a/list/-", value: 3 },
    { op: "add", path: "/b/list/-", value: 4 },
  ]);
  assert.deepEqual(patched, { a: { list: [1, 2, 3] }, b: { list: [1, 2, 4] } });
});

test("a value that a patch brings is not changed by its later operations", () => {
  const value = freeze({ list: [] });
  const patched = applyPatch({}, [
    { op: "add", path: "/a", value },
    { op: "add", path: "/b", value },
    { op: "add", path: "/a/list/-", value: 1 },
  ]);
  assert.deepEqual(patched, { a: { list: [1] }, b: { list: [] } });
});

const refused = [
  ["a move into its own child", { a: { b: {} } }, { op: "move", from: "/a", path: "/a/b/c" }],
  ["a move of the whole into a part", { a: {} }, { op: "move", from: "", path: "/a" }],
  ["a move into what takes its place", [{}, {}], { op: "move", from: "/0", path: "/0/x" }],
  ["an incomplete escape", { "a~": 1 }, { op: "remove", path: "/a~" }],
  ["an unknown escape", { "a~2": 1 }, { op: "remove", path: "/a~2" }],
  ["an index with a sign", [1], { op: "remove", path: "/-0" }],
  ["an exponent as index", [1, 2], { op: "remove", path: "/1e0" }],
  ["a fraction as index", [1, 2], { op: "remove", path: "/1.0" }],
  ["an empty index", [1], { op: "remove", path: "/" }],
  ["a dash that names no item", [1], { op: "remove", path: "/-" }],
  ["a replacement at the dash", [1], { op: "replace", path: "/-", value: 1 }],
  ["the length of an array", [1], { op: "replace", path: "/length", value: 0 }],
  ["a method of an array", [1], { op: "copy", from: "/push", path: "/-" }],
  ["an inherited property", {}, { op: "copy", from: "/toString", path: "/a" }],
  ["a character of a string", { a: "text" }, { op: "copy", from: "/a/0", path: "/b" }],
  ["a part of a string", { a: "text" }, { op: "add", path: "/a/x", value: 1 }],
  ["a part of null", { a: null }, { op: "add", path: "/a/x", value: 1 }],
  ["the whole document's removal", { a: 1 }, { op: "remove", path: "" }],
  ["a missing operation", { a: 1 }, { path: "/a" }],
];
for (const [what, document, operation] of refused) {
  test(`${what} is refused`, () => {
    assert.throws(() => applyPatch(freeze(document), [operation]), PatchError);
  });
}

test("a move onto itself changes nothing, but needs its source", () => {
  const document = { a: 1 };
  assert.equal(applyPatch(document, [{ op: "move", from: "/a", path: "/a" }]), document);
  assert.throws(() => applyPatch(document, [{ op: "move", from: "/b", path: "/b" }]), PatchError);
});

test("a sibling whose name begins alike is no child", () => {
  const patched = applyPatch({ a: 1 }, [{ op: "move", from: "/a", path: "/ab" }]);
  assert.deepEqual(patched, { ab: 1 });
});

test("a thousand pollution attempts leave every prototype alone", () => {
  const prototypes = [Object.prototype, Array.prototype, Function.prototype];
  const look = () => prototypes.map((each) => Reflect.ownKeys(each).map(String).sort().join());
  const before = look();
  const names = ["__proto__", "constructor", "prototype"];
  const ends = ["polluted", "toString", "0", "-", ""];
  const prefixes = ["", "/plain", "/list", "/list/0", "/plain/deep", "/text", "/evil"];
  let seed = 7;
  const pick = (list) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return list[Math.floor((seed / 2147483648) * list.length)];
  };
  let denied = 0;
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    // JSON.parse makes an own property of that name, as a hostile frame would.
    const document = JSON.parse(
      '{"plain":{"deep":{}},"list":[{}],"text":"x","evil":{"__proto__":{"constructor":{}}}}',
    );
    const chain = Array.from({ length: 1 + (attempt % 3) }, () => pick(names)).join("/");
    const path = `${pick(prefixes)}/${chain}${pick(["", `/${pick(ends)}`])}`;
    const value = JSON.parse('{"__proto__":{"polluted":true},"constructor":{"polluted":true}}');
    const operation = pick([
      { op: "add", path, value },
      { op: "replace", path, value },
      { op: "remove", path },
      { op: "copy", from: path, path: "/plain/x" },
      { op: "copy", from: "/plain", path },
      { op: "move", from: path, path: "/plain/x" },
      { op: "move", from: "/plain", path },
      { op: "test", path, value },
    ]);
    try {
      applyPatch(document, [operation]);
    } catch (error) {
      assert.ok(error instanceof PatchError, `${JSON.stringify(operation)}: ${error}`);
      denied += 1;
    }
    assert.deepEqual(look(), before);
    assert.equal({}.polluted, undefined);
  }
  assert.equal(denied, 1000);
});

test("an odd key inside a value stays an inert key of its own", () => {
  const value = JSON.parse('{"__proto__":{"polluted":true},"n":1}');
  const patched = applyPatch({ a: {} }, [
    { op: "add", path: "/a/b", value },
    { op: "replace", path: "/a/b/n", value: 2 },
  ]);
  assert.equal(Object.getPrototypeOf(patched.a.b), Object.prototype);
  assert.ok(Object.hasOwn(patched.a.b, "__proto__"));
  assert.equal(patched.a.b.polluted, undefined);
  assert.equal({}.polluted, undefined);
});

test("deep values can be added, compared and reached", () => {
  const deep = () => {
    let value = 1;
    for (let level = 0; level < 2000; level += 1) value = { down: value };
    return value;
  };
  const document = applyPatch({}, [{ op: "add", path: "/deep", value: deep() }]);
  const path = `/deep${"/down".repeat(2000)}`;
  const patched = applyPatch(document, [
    { op: "test", path: "/deep", value: deep() },
    { op: "replace", path, value: 2 },
    { op: "test", path, value: 2 },
  ]);
  assert.notEqual(patched.deep, document.deep);
});

test("many operations on one large array copy it once", () => {
  const document = { list: Array.from({ length: 20_000 }, (_, index) => index) };
  const operations = Array.from({ length: 2000 }, (_, index) => ({
    op: "replace",
    path: `/list/${index}`,
    value: -index,
  }));
  const copies = [];
  const iterate = Array.prototype[Symbol.iterator];
  Object.defineProperty(document.list, Symbol.iterator, {
    value() {
      copies.push(this);
      return iterate.call(this);
    },
  });
  assert.equal(applyPatch(document, operations).list[1999], -1999);
  assert.equal(copies.length, 1);
});
