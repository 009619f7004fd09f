import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { FakeSocket, failure, Page, turn } from "./page.js";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const presence = (joined, left = []) => ({ type: "presence", joined, left });

// Live, and shown who is present by the first frame.
function meet(joined = { alice: [{}], bob: [{ name: "Bob" }] }) {
  page.live();
  page.socket.says(presence(joined));
  return page.session;
}

function changes() {
  const seen = [];
  page.session.on("presence", (now, change) => seen.push([now, change]));
  return seen;
}

function reconnect(more) {
  page.socket.breaks();
  page.tick(1000);
  return page.welcome(more);
}

test("nobody is known to be present until the server has told", () => {
  page.live();
  assert.deepEqual(page.session.presence, {});
});

test("the first presence frame names everybody, and later ones what has changed", () => {
  page.live();
  const seen = changes();
  const everybody = { alice: [{}], bob: [{ name: "Bob" }] };
  page.socket.says(presence(everybody));
  assert.deepEqual(page.session.presence, everybody);
  page.socket.says(presence({ carol: [{}, {}] }, ["bob"]));
  assert.deepEqual(page.session.presence, { alice: [{}], carol: [{}, {}] });
  assert.deepEqual(seen, [
    [everybody, { joined: everybody, left: [] }],
    [
      { alice: [{}], carol: [{}, {}] },
      { joined: { carol: [{}, {}] }, left: ["bob"] },
    ],
  ]);
});

test("a participant whose metas changed is told of as joined, others keep their identity", () => {
  const session = meet();
  const seen = changes();
  const { alice, bob } = session.presence;
  page.socket.says(presence({ bob: [{ name: "Bob", typing: true }] }));
  const [[now, { joined, left }]] = seen;
  assert.equal(now, session.presence);
  assert.deepEqual(joined, { bob: [{ name: "Bob", typing: true }] });
  assert.deepEqual(left, []);
  assert.equal(now.alice, alice);
  assert.notEqual(now.bob, bob);
});

test("what listeners were given before is not changed by later frames", () => {
  const session = meet();
  const before = session.presence;
  page.socket.says(presence({ carol: [{}] }, ["bob"]));
  assert.deepEqual(before, { alice: [{}], bob: [{ name: "Bob" }] });
});

test("a frame that changes nothing is told to nobody", () => {
  const session = meet();
  const [seen, before] = [changes(), session.presence];
  page.socket.says(presence({ bob: [{ name: "Bob" }] }), presence({}, ["dan"]));
  assert.deepEqual(seen, []);
  assert.equal(session.presence, before);
});

test("people who are named in another order are no news", () => {
  const session = meet({ alice: [{ name: "Ada", tab: 1 }], bob: [{}] });
  const [seen, before] = [changes(), session.presence];
  reconnect().says(presence({ bob: [{}], alice: [{ tab: 1, name: "Ada" }] }));
  assert.deepEqual(seen, []);
  assert.equal(session.presence, before);
});

test("presence stays while there is no connection, and who left meanwhile is told then", () => {
  const session = meet();
  const seen = changes();
  const socket = reconnect();
  assert.deepEqual(Object.keys(session.presence), ["alice", "bob"]);
  socket.says(presence({ alice: [{}], carol: [{}] }));
  assert.deepEqual(session.presence, { alice: [{}], carol: [{}] });
  assert.deepEqual(seen.map(([, change]) => change), [{ joined: { carol: [{}] }, left: ["bob"] }]);
});

test("a reconnect after which the same people are present is told to nobody", () => {
  const session = meet();
  const [seen, before] = [changes(), session.presence];
  reconnect().says(presence({ alice: [{}], bob: [{ name: "Bob" }] }));
  assert.deepEqual(seen, []);
  assert.equal(session.presence, before);
});

test("ids that name parts of every object are ids like others", () => {
  page.live();
  const text = '{"type":"presence","joined":{"__proto__":[{}],"constructor":[{}]},"left":[]}';
  page.socket.onmessage({ data: text });
  assert.deepEqual(Object.keys(page.session.presence), ["__proto__", "constructor"]);
  page.socket.says(presence({ bob: [{}] }, ["constructor"]));
  assert.deepEqual(Object.keys(page.session.presence), ["__proto__", "bob"]);
  const left = [];
  page.session.on("presence", (_, change) => left.push(...change.left));
  page.socket.says(presence({}, ["__proto__"]));
  assert.deepEqual(left, ["__proto__"]);
  assert.equal(Object.getPrototypeOf(page.session.presence), Object.prototype);
});

test("metas are sent while live, and again only when they differ", () => {
  const session = meet();
  for (const meta of [{ name: "Al" }, { name: "Al" }, { name: "Al", typing: true }, { name: undefined, typing: undefined }, {}]) {
    session.setMeta(meta);
    page.tick(100);
  }
  assert.deepEqual(
    page.socket.of("meta").map(({ data }) => data),
    [{ name: "Al" }, { name: "Al", typing: true }, {}],
  );
});

test("metas set at the speed of a pointer are sent at a pace, the last one always", () => {
  const session = meet();
  for (let x = 0; x < 1000; x += 1) {
    session.setMeta({ x });
    page.tick(10);
  }
  page.tick(100);
  const sent = page.socket.of("meta").map(({ data }) => data.x);
  assert.equal(sent[0], 0);
  assert.equal(sent.at(-1), 999);
  assert.ok(sent.length > 90 && sent.length <= 102, `${sent.length} in ten seconds`);
});

test("a meta that waits for its turn goes with the next hello, and is not sent twice", () => {
  const session = meet();
  session.setMeta({ x: 1 });
  session.setMeta({ x: 2 });
  const socket = reconnect();
  assert.deepEqual(socket.of("hello")[0].meta, { x: 2 });
  session.setMeta({ x: 3 });
  page.tick(1000);
  assert.deepEqual(socket.of("meta"), [{ type: "meta", data: { x: 3 } }]);
});

const deep = (levels) => (levels ? { deeper: deep(levels - 1) } : 0);

test("a meta that the server would refuse is refused before it is sent, or comes with a hello", () => {
  const session = page.connect();
  const own = JSON.parse('{"__proto__":1}');
  const broken = ["\ud800", "a\udc00b", "\ude00\ud83d"].flatMap((text) => [
    { text },
    { [text]: 1 },
    { deep: [{ text }] },
  ]);
  const inexact = [2 ** 53, -(2 ** 53), 2 ** 60].map((at) => ({ list: [at] }));
  const bad = [...broken, ...inexact, own, { a: own }, { constructor: 1 }, deep(32)];
  for (const meta of bad) {
    assert.throws(() => session.setMeta(meta), RangeError, JSON.stringify(meta));
  }
  assert.equal(page.welcome().of("hello")[0].meta, undefined);
  for (const meta of bad) assert.throws(() => session.setMeta(meta), RangeError);
  page.tick(1000);
  assert.deepEqual(page.socket.of("meta"), []);
  const good = { text: "\ud83d\ude00 \\ud800", at: 2 ** 53 - 1, half: 0.5, none: null, ...deep(31) };
  session.setMeta(good);
  assert.deepEqual(page.socket.of("meta"), [{ type: "meta", data: good }]);
});

test("a meta that is set before there is a connection goes with the hello", () => {
  const session = page.connect();
  session.setMeta({ name: "Alice" });
  const socket = page.welcome();
  assert.deepEqual(socket.of("hello")[0].meta, { name: "Alice" });
  assert.deepEqual(socket.of("meta"), []);
});

test("a meta that is set between hello and welcome is sent after the welcome", () => {
  const session = page.connect();
  page.socket.open();
  session.setMeta({ name: "Alice" });
  assert.deepEqual(page.socket.of("meta"), []);
  page.socket.says({ type: "welcome" });
  assert.deepEqual(page.socket.of("meta"), [{ type: "meta", data: { name: "Alice" } }]);
});

test("the newest meta is said again with each new connection", () => {
  const session = meet();
  session.setMeta({ name: "Alice" });
  assert.deepEqual(reconnect().of("hello")[0].meta, { name: "Alice" });
  session.setMeta({ name: "Alice", typing: true });
  page.socket.breaks();
  session.setMeta({ name: "Al" });
  page.tick(1000);
  assert.deepEqual(page.welcome().of("hello")[0].meta, { name: "Al", typing: true });
  assert.equal(FakeSocket.all.at(-1).of("meta").length, 0);
});

test("what is set is added to the meta, what is undefined is taken out", () => {
  const session = page.connect();
  session.setMeta({ name: "Alice", cursor: { x: 1, y: 2 } });
  session.setMeta({ typing: true });
  session.setMeta({ cursor: { x: 3 }, name: undefined });
  assert.deepEqual(page.welcome().of("hello")[0].meta, { cursor: { x: 3 }, typing: true });
});

test("a meta is a copy of what was given", () => {
  const session = page.connect();
  const data = { name: "Alice" };
  session.setMeta(data);
  data.name = "Mallory";
  assert.deepEqual(page.welcome().of("hello")[0].meta, { name: "Alice" });
});

test("a meta that is no object, or too large, is refused and changes nothing", () => {
  const session = meet();
  session.setMeta({ name: "Alice" });
  const nameOf = (length) => ({ name: "ü".repeat(length) });
  const loop = {};
  loop.loop = loop;
  for (const bad of [nameOf(507), [1], "text", null, undefined, 3, loop, { big: 1n }]) {
    assert.throws(() => session.setMeta(bad), RangeError);
  }
  session.setMeta(nameOf(506));
  page.tick(100);
  assert.deepEqual(page.socket.of("meta").map(({ data }) => data), [
    { name: "Alice" },
    nameOf(506),
  ]);
});

test("a refused meta fails no action, and is told of as what it is", async () => {
  const session = meet();
  const heard = [];
  session.on("error", (error) => heard.push(error));
  const moved = session.store("board").dispatch("move");
  session.setMeta({ since: 2 });
  const error = { code: "bad_meta", message: "Too large.", of: "meta" };
  page.socket.says({ type: "error", ...error });
  await turn();
  assert.equal(session.pending, 1);
  assert.deepEqual(heard, [error]);
  page.socket.says({ type: "reject", id: 1, code: "rejected", message: "No." });
  assert.equal((await failure(moved)).code, "rejected");
});

test("a tab that the site disconnects is told so and stays away", () => {
  const session = meet();
  const seen = [];
  session.on("end", (event) => seen.push(event));
  page.socket.says({ type: "end", reason: "disconnected", retry: false });
  page.tick(10_000);
  assert.equal(session.status, "ended");
  assert.deepEqual(seen, [{ reason: "disconnected", message: "Nicht mehr verbunden." }]);
  assert.equal(page.sockets.length, 1);
});

// Names and roles

const named = (metas, name, role = "participant") => Object.assign(metas, { name, role });

test("presence entries carry name and role beside the metas", () => {
  const session = meet();
  page.socket.says({
    ...presence({ carol: [{}] }),
    people: { carol: { name: "Carol", role: "facilitator" } },
  });
  const { bob, carol } = session.presence;
  assert.deepEqual(carol, named([{}], "Carol", "facilitator"));
  assert.deepEqual([carol.name, carol.role, carol.length], ["Carol", "facilitator", 1]);
  // Of an earlier release's server.
  assert.deepEqual(bob, [{ name: "Bob" }]);
});

test("a new name is a change, and a new meta keeps the name", () => {
  const session = meet();
  const seen = changes();
  const { alice } = session.presence;
  page.socket.says({ ...presence({}), people: { bob: { name: "Bo", role: "guest" } } });
  assert.deepEqual(session.presence.bob, named([{ name: "Bob" }], "Bo", "guest"));
  assert.equal(session.presence.alice, alice);
  page.socket.says(presence({ bob: [{}] }));
  assert.deepEqual(session.presence.bob, named([{}], "Bo", "guest"));
  page.socket.says({ ...presence({}), people: { bob: { name: "Bo", role: "guest" } } });
  assert.deepEqual(
    seen.map(([, { joined }]) => joined),
    [{ bob: named([{ name: "Bob" }], "Bo", "guest") }, { bob: named([{}], "Bo", "guest") }],
  );
});

test("after a new connection, names are those of its first frame", () => {
  const session = meet();
  page.socket.says({ ...presence({}), people: { bob: { name: "Bo", role: "guest" } } });
  reconnect();
  page.socket.says({
    ...presence({ bob: [{}], toString: [{}] }),
    people: { toString: { name: "To", role: "guest" } },
  });
  assert.deepEqual(session.presence, { bob: [{}], toString: named([{}], "To", "guest") });
  page.socket.says({ ...presence({}), people: { toString: { name: "Str", role: "guest" } } });
  assert.deepEqual(session.presence.toString, named([{}], "Str", "guest"));
});

test("who the tab is comes with the page, and follows the server", () => {
  page.live();
  const { session } = page;
  const first = session.self;
  assert.deepEqual(first, { id: "alice", name: null, role: "participant" });
  const seen = [];
  session.on("self", (self) => seen.push(self));
  page.socket.says({ type: "self", name: "Ada", role: "participant" });
  assert.deepEqual(session.self, { id: "alice", name: "Ada", role: "participant" });
  assert.deepEqual(first.name, null);
  const named = session.self;
  page.socket.says({ type: "self", name: "Ada", role: "participant" });
  assert.equal(session.self, named);
  page.socket.says({ type: "self", name: "Ada", role: "facilitator" });
  assert.equal(session.role, "facilitator");
  assert.equal(session.participant, "alice");
  assert.deepEqual(
    seen.map(({ name, role }) => [name, role]),
    [
      ["Ada", "participant"],
      ["Ada", "facilitator"],
    ],
  );
});

test("a welcome says who the tab is by now, but for servers of an earlier release", () => {
  page.live();
  page.socket.says({ type: "self", name: "Ada", role: "guest" });
  reconnect({ name: "Ada L.", role: "facilitator" });
  assert.deepEqual(page.session.self, { id: "alice", name: "Ada L.", role: "facilitator" });
  reconnect({ role: "guest" });
  assert.deepEqual(page.session.self, { id: "alice", name: "Ada L.", role: "guest" });
});

test("what a tab shows of itself is there to be read, and each change of it is told", () => {
  const session = page.live();
  assert.deepEqual(session.meta, {});
  const seen = [];
  session.on("meta", (meta) => seen.push(meta));
  session.setMeta({ typing: true });
  session.setMeta({ typing: true });
  session.setMeta({ step: 2 });
  assert.deepEqual(seen, [{ typing: true }, { typing: true, step: 2 }]);
  assert.equal(session.meta, seen[1]);
  assert.throws(() => session.setMeta({ step: "\ud800" }), RangeError);
  assert.equal(session.meta, seen[1]);
});
