// Other participants' states, for a role that may see them.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { CONFIG, Page, patch, rev, snapshot } from "./page.js";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const BOB = { deck: ["ace"], log: [] };

const shown = (id, counter, states, more) =>
  snapshot(counter, states, { doc: `p:${id}`, run: "9c", ...more });
const changed = (id, from, to = from + 1) => patch(from, to, { doc: `p:${id}` });
const watching = (participant, people = {}) => ({
  type: "watching",
  participant,
  states: ["board"],
  people,
});
const named = (...ids) =>
  Object.fromEntries(ids.map((id) => [id, { name: id.toUpperCase(), role: "participant" }]));

function told(store, selector) {
  const seen = [];
  if (selector) store.subscribe(selector, (part) => seen.push(part));
  else store.subscribe((state) => seen.push(state));
  return seen;
}

function watchBob() {
  page.live();
  const bob = page.session.watch("bob");
  page.socket.says(watching("bob"), shown("bob", 5, { board: BOB }));
  return bob;
}

test("one participant is asked for, and then here, with their states", () => {
  page.live();
  const bob = page.session.watch("bob");
  assert.deepEqual(bob.getState(), { id: "bob", status: "asked", states: {} });
  assert.deepEqual(page.socket.of("watch"), [{ type: "watch", participant: "bob" }]);
  const seen = told(bob);
  page.socket.says(watching("bob"), shown("bob", 5, { board: BOB }));
  assert.deepEqual(bob.getState(), { id: "bob", status: "here", states: { board: BOB } });
  assert.deepEqual(seen, [bob.getState()]);
  page.socket.says(changed("bob", 5));
  assert.deepEqual(bob.getState().states.board.log, [6]);
  assert.equal(seen.length, 2);
});

test("what a change leaves alone keeps its identity, and its subscribers hear nothing", () => {
  const bob = watchBob();
  const seen = told(bob, ({ states }) => states.board.deck);
  const { deck } = bob.getState().states.board;
  page.socket.says(changed("bob", 5));
  assert.equal(bob.getState().states.board.deck, deck);
  assert.deepEqual(seen, []);
});

test("a gap in what is watched is closed by a sync of that document alone", () => {
  const bob = watchBob();
  page.socket.says(changed("bob", 6));
  page.tick(300);
  assert.deepEqual(page.socket.of("sync"), [{ type: "sync", doc: "p:bob", rev: rev(5) }]);
  page.socket.says(shown("bob", 7, { board: { ...BOB, log: [6, 7] } }));
  assert.deepEqual(bob.getState().states.board.log, [6, 7]);
});

test("nothing that is watched keeps one's own states waiting", async () => {
  page.connect();
  page.session.watch("bob");
  page.welcome().says(
    snapshot(10, { board: { log: [] } }),
    snapshot(1, { agenda: {} }, { doc: "session" }),
  );
  await page.session.ready;
});

test("who is asked for before there is a connection is asked for once there is one", () => {
  page.connect();
  const bob = page.session.watch("bob");
  page.session.participants();
  assert.equal(bob.getState().status, "asked");
  assert.deepEqual(
    page.welcome().of("watch").map(({ participant }) => participant),
    ["bob", "*"],
  );
});

test("everybody is named by the answer, and shown with their snapshots", () => {
  page.live();
  const everybody = page.session.participants();
  assert.deepEqual(everybody.getState(), { status: "asked", people: {} });
  page.socket.says(watching("*", named("bob", "carol")), shown("bob", 5, { board: BOB }));
  const { status, people } = everybody.getState();
  assert.equal(status, "watching");
  assert.deepEqual(people, {
    bob: { id: "bob", name: "BOB", role: "participant", status: "here", states: { board: BOB } },
    carol: { id: "carol", name: "CAROL", role: "participant", status: "asked", states: {} },
  });
  page.socket.says(watching("*", { bob: { name: "Robert", role: "guest" } }));
  const after = everybody.getState().people;
  assert.deepEqual([after.bob.name, after.bob.role], ["Robert", "guest"]);
  assert.equal(after.carol, people.carol);
  assert.equal(after.bob.states, people.bob.states);
});

test("a change of one participant leaves the others the same objects", () => {
  page.live();
  const everybody = page.session.participants();
  page.socket.says(
    watching("*", named("bob", "carol")),
    shown("bob", 5, { board: BOB }),
    shown("carol", 2, { board: BOB }),
  );
  const before = everybody.getState();
  const seen = told(everybody);
  page.socket.says(changed("bob", 5));
  assert.equal(seen.length, 1);
  assert.equal(everybody.getState().people.carol, before.people.carol);
  assert.notEqual(everybody.getState().people.bob, before.people.bob);
  // The same names again are no news.
  page.socket.says(watching("*", named("bob")));
  assert.equal(seen.length, 1);
});

test("who is gone says why, if asked for by name, and is no more among everybody", () => {
  const bob = watchBob();
  const everybody = page.session.participants();
  page.socket.says(watching("*", named("bob", "carol")));
  assert.deepEqual(Object.keys(everybody.getState().people), ["bob", "carol"]);
  page.socket.says({ type: "gone", participant: "bob", reason: "kicked" });
  assert.deepEqual(bob.getState(), { id: "bob", status: "gone", reason: "kicked", states: {} });
  assert.deepEqual(Object.keys(everybody.getState().people), ["carol"]);
  // They are let in again, and begin anew.
  page.socket.says(watching("*", named("bob")), shown("bob", 1, { board: BOB }, { reset: false }));
  assert.equal(bob.getState().status, "here");
  assert.equal(bob.getState().reason, undefined);
  assert.equal(everybody.getState().people.bob, bob.getState());
});

test("who cannot be read stays among everybody, and says so", () => {
  page.live();
  const everybody = page.session.participants();
  page.socket.says(watching("*", named("bob")));
  page.socket.says({ type: "gone", participant: "bob", reason: "unreadable" });
  const { bob } = everybody.getState().people;
  assert.deepEqual([bob.name, bob.status, bob.reason], ["BOB", "gone", "unreadable"]);
});

test("a role that may watch nobody is told so, and asks again with another one", () => {
  page.live();
  const everybody = page.session.participants();
  const errors = [];
  page.session.on("error", (error) => errors.push(error.code));
  const refusal = { type: "error", code: "forbidden", message: "Nein.", of: "watch" };
  page.socket.says({ ...refusal, participant: "*" });
  const refused = { status: "refused", reason: "forbidden", people: {} };
  assert.deepEqual(everybody.getState(), refused);
  assert.deepEqual(errors, ["forbidden"]);
  page.socket.says({ type: "self", name: "Alice", role: "participant" });
  assert.equal(page.socket.of("watch").length, 1);
  page.socket.says({ type: "self", name: "Alice", role: "facilitator" });
  assert.equal(page.socket.of("watch").length, 2);
  page.socket.says(watching("*", named("bob")));
  assert.equal(everybody.getState().status, "watching");
  assert.equal("reason" in everybody.getState(), false);
});

test("what was seen is shown no more when the role that saw it is lost", () => {
  const bob = watchBob();
  const everybody = page.session.participants();
  page.socket.says(watching("*", named("bob", "carol")), shown("carol", 1, { board: BOB }));
  for (const participant of ["*", "bob"]) {
    page.socket.says({ type: "unwatched", participant, reason: "forbidden" });
  }
  assert.deepEqual(bob.getState(), {
    id: "bob",
    status: "refused",
    reason: "forbidden",
    states: {},
  });
  assert.deepEqual(everybody.getState().people, {});
  // What was on its way is of nobody's any more.
  page.socket.says(shown("bob", 9, { board: BOB }), changed("carol", 1));
  assert.deepEqual(bob.getState().states, {});
  assert.deepEqual(page.session.rev("p:bob"), undefined);
});

test("a server of an earlier release, which knows no watch, has refused it", () => {
  page.live();
  const bob = page.session.watch("bob");
  page.socket.says({ type: "error", code: "unknown_type", message: "?", of: "watch" });
  assert.deepEqual([bob.getState().status, bob.getState().reason], ["refused", "unknown_type"]);
});

test("the last who stops ends it, and none before", () => {
  const bob = watchBob();
  const again = page.session.watch("bob");
  assert.equal(again.getState(), bob.getState());
  assert.equal(page.socket.of("watch").length, 1);
  bob.stop();
  bob.stop();
  assert.deepEqual(page.socket.of("unwatch"), []);
  page.socket.says(changed("bob", 5));
  assert.deepEqual(again.getState().states.board.log, [6]);
  again.stop();
  assert.deepEqual(page.socket.of("unwatch"), [{ type: "unwatch", participant: "bob" }]);
  assert.equal(page.session.rev("p:bob"), undefined);
  page.socket.says(changed("bob", 6), shown("bob", 8, { board: BOB }));
  assert.equal(page.session.rev("p:bob"), undefined);
  // From the start.
  assert.equal(page.session.watch("bob").getState().status, "asked");
});

test("who is watched by name, too, is watched on when everybody is not", () => {
  const bob = watchBob();
  const everybody = page.session.participants();
  page.socket.says(watching("*", named("bob", "carol")), shown("carol", 1, { board: BOB }));
  everybody.stop();
  page.socket.says(changed("bob", 5));
  assert.deepEqual(bob.getState().states.board.log, [6]);
  assert.equal(page.session.rev("p:carol"), undefined);
});

test("after a reconnect it asks again and names what it has; what is shown stays", () => {
  const bob = watchBob();
  const seen = told(bob);
  page.socket.breaks();
  page.tick(1000);
  page.socket.open();
  const { have, runs } = page.socket.sent[0];
  assert.deepEqual(have, { me: rev(10), "p:bob": rev(5) });
  assert.deepEqual(runs, { "p:bob": "9c" });
  page.socket.says({ type: "welcome", ping: 10, role: "facilitator", client: "c2" });
  assert.equal(page.socket.of("watch").length, 1);
  page.socket.says(watching("bob"), shown("bob", 5, undefined), changed("bob", 5));
  assert.deepEqual(seen.map(({ states }) => states.board.log), [[6]]);
});

test("who went while there was no connection is among everybody no more", () => {
  page.live();
  const everybody = page.session.participants();
  page.socket.says(
    watching("*", named("bob", "carol")),
    shown("bob", 5, { board: BOB }),
    shown("carol", 5, { board: BOB }),
  );
  page.socket.breaks();
  page.tick(1000);
  page.welcome().says(watching("*", named("carol")));
  assert.deepEqual(Object.keys(everybody.getState().people), ["carol"]);
  assert.equal(page.session.rev("p:bob"), undefined);
});

test("a hello names no more documents than a server takes", () => {
  page.live();
  page.session.participants();
  const ids = Array.from({ length: 300 }, (_, number) => `p${number}`);
  page.socket.says(watching("*", named(...ids)));
  for (const id of ids) page.socket.says(shown(id, 1, { board: BOB }));
  page.socket.breaks();
  page.tick(1000);
  page.socket.open();
  const { have, runs } = page.socket.sent[0];
  assert.equal(Object.keys(have).length, 256 - 1); // the session's was never here
  assert.ok(Object.keys(runs).length <= 256);
  assert.ok("me" in have);
});

test("a reset of another's states is no `reset` of this tab's", () => {
  const bob = watchBob();
  page.session.on("reset", () => assert.fail("reset"));
  page.socket.says(shown("bob", 1, { board: { log: [] } }, { rev: rev(1, 1, "aaaa"), reset: true }));
  assert.deepEqual(bob.getState().states.board, { log: [] });
});

test("states of others are frozen where one's own are", () => {
  page.connect({ debug: true });
  const bob = page.session.watch("bob");
  page.welcome().says(watching("bob"), shown("bob", 5, { board: { deck: ["ace"] } }));
  assert.throws(() => bob.getState().states.board.deck.push("two"), TypeError);
});

test("ids that are names of Object's own are ids", () => {
  page.live();
  const everybody = page.session.participants();
  page.socket.says(watching("*", named("toString", "valueOf")), shown("toString", 1, { board: BOB }));
  assert.deepEqual(Object.keys(everybody.getState().people), ["toString", "valueOf"]);
  page.socket.says({ type: "gone", participant: "hasOwnProperty", reason: "left" });
  assert.equal(page.session.watch("isPrototypeOf").getState().status, "asked");
});

test("frames of nobody who is watched change nothing", () => {
  page.live();
  page.session.on("error", () => assert.fail("error"));
  page.socket.says(
    watching("bob"),
    shown("bob", 1, { board: BOB }),
    changed("bob", 1),
    { type: "gone", participant: "bob", reason: "left" },
    { type: "unwatched", participant: "*", reason: "forbidden" },
  );
  assert.equal(page.session.rev("p:bob"), undefined);
});

test("on a server that renders the page, everybody is asked for and nothing is sent", () => {
  Object.defineProperty(globalThis, "document", { value: undefined, configurable: true });
  page.connect(CONFIG);
  const bob = page.session.watch("bob");
  assert.equal(bob.getState(), bob.getInitialState());
  assert.equal(page.sockets.length, 0);
});

test("after the end nothing is sent, and what was seen may still be shown", () => {
  const bob = watchBob();
  page.socket.says({ type: "end", reason: "ended", retry: false });
  assert.equal(bob.getState().status, "here");
  bob.stop();
  page.session.watch("carol").stop();
  assert.deepEqual(page.socket.of("unwatch"), []);
});
