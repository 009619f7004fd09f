// Frames, configurations and storages that are broken in any way: nothing is thrown into the page,
// no promise stays open, and the document is current again within a beat.
//
// FUZZ=200000 tries more of them, SEED=7 others.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, DispatchError } from "../../sessionstores/static/sessionstores/client.js";
import {
  ack, CONFIG, FakeSocket, FakeStorage, groupAck, Page, patch, rev, snapshot, turn, WELCOME,
} from "./page.js";
import { randomOf } from "./world.js";

const COUNT = +(process.env.FUZZ ?? 600);
const SEED = +(process.env.SEED ?? 1);
const KEY = "sessionstores:K7Q2ZD:alice";
const BEAT = 10_000; // ms

const CLIENT = /^[A-Za-z0-9_-]{1,64}$/;
const REVISION = /^[0-9a-f]{4}\.(0|[1-9][0-9]{0,14})-[0-9a-f]{8}$/;

// A server takes no frame that is otherwise; of a hello, that would keep the tab out.
function checkSent(sockets) {
  for (const frame of sockets.flatMap(({ sent }) => sent)) {
    const { type, client, have = {}, runs = {}, id, rev: at } = frame;
    if (type === "hello" || client !== undefined) assert.match(client, CLIENT);
    for (const each of Object.values(have)) assert.match(each, REVISION);
    for (const run of Object.values(runs)) assert.match(run, /^[0-9a-f]{1,16}$/);
    if (type === "action") assert.ok(Number.isSafeInteger(id) && id > 0);
    if (type === "sync" && at !== undefined) assert.match(at, REVISION);
  }
}

const JUNK = [
  null, true, false, 0, -1, 1.5, 2 ** 53, 1e300, "", "x", "me", "session", "__proto__", "\ud800", [], {}, [null],
  [[]], { a: 1 }, { __proto__: null }, "7f3a.10-00000010", "7f3a.999-00000999", "beef.1-00000001", rev(11), "NaN",
  { rate: [0, 0] }, { rate: ["20", {}] }, { me: 5 }, { me: rev(99) }, "constructor", JSON.parse('{"__proto__":{"x":1}}'),
];

// Changes values in a random place, or the text itself.
function mutate(random, value) {
  const below = (limit) => Math.floor(random() * limit);
  const junk = () => structuredClone(JUNK[below(JUNK.length)]);
  const copy = structuredClone(value);
  for (let times = below(3); times >= 0; times -= 1) {
    let [node, place] = [copy, undefined];
    while (typeof node === "object" && node !== null && Object.keys(node).length) {
      place = [node, Object.keys(node)[below(Object.keys(node).length)]];
      if (random() < 0.5) break;
      node = node[place[1]];
    }
    if (!place) break;
    const [parent, key] = place;
    if (random() < 0.25) delete parent[key];
    else if (random() < 0.2) parent[JSON.stringify(junk())] = junk();
    else parent[key] = junk();
  }
  const text = JSON.stringify(copy);
  if (random() < 0.9) return text;
  const at = below(text.length);
  return random() < 0.5 ? text.slice(0, at) : text.slice(0, at) + "[{\"\\0:,}]"[below(9)] + text.slice(at + 1);
}

const FRAMES = (at, id) => [
  { ...WELCOME, client: "c8f2", now: 1_700_000_000 },
  snapshot(at, { board: { log: [] }, notes: {} }, { done: { c8f2: id } }),
  snapshot(at, undefined),
  snapshot(at + 1, { board: { log: [at] } }, { reset: true, run: "9c" }),
  patch(at), patch(at + 1), patch(at, at + 1, { doc: "session" }),
  ack(id, at), ack(id, at, at, { ops: [] }), groupAck(id, at + 1), ack(id, at + 1),
  { type: "reject", id, code: "rejected", message: "No.", hint: "x" },
  { type: "reject", id, code: "conflict", message: "No." },
  { type: "ping", heads: { me: rev(at), session: rev(1) } },
  { type: "presence", joined: { alice: [{}], bob: [{ x: 1 }] }, left: ["carol"], people: { bob: { name: "B", role: "r" } } },
  { type: "self", name: "Ada", role: "facilitator" },
  { type: "watching", participant: "*", states: ["board"], people: { bob: { name: "B", role: "r" } } },
  { type: "watching", participant: "bob", states: ["board"], people: {} },
  snapshot(at, { board: { log: [] } }, { doc: "p:bob", run: "9c" }),
  patch(at, at + 1, { doc: "p:bob" }),
  { type: "gone", participant: "bob", reason: "kicked" },
  { type: "unwatched", participant: "*", reason: "forbidden" },
  { type: "error", code: "forbidden", message: "No.", of: "watch", participant: "bob" },
  { type: "message", data: { a: 1 } },
  { type: "token", token: "t" },
  { type: "error", code: "bad_meta", message: "No.", of: "meta" },
  { type: "error", code: "bad_value", message: "No.", id },
  { type: "end", reason: "ended", retry: true, message: "." },
];

// A server that has the truth: it answers what the tab asks, and beats.
class Truth {
  at = 10;
  known = new Set();

  commit() {
    this.at += 1;
    this.known.add(rev(this.at, this.at, "cafe"));
  }

  get rev() {
    return rev(this.at, this.at, "cafe");
  }

  get states() {
    return { board: { log: [this.at] }, notes: { text: "" } };
  }

  answered = new Map(); // of how many frames of each socket

  answer(socket) {
    const from = this.answered.get(socket) ?? 0;
    this.answered.set(socket, socket.sent.length);
    for (const frame of socket.sent.slice(from)) {
      if (frame.type !== "sync" || socket.closed) continue;
      const doc = frame.doc;
      const reset = frame.rev !== undefined && !this.known.has(frame.rev);
      const states = doc === "me" ? this.states : { agenda: { step: this.at } };
      socket.says({ type: "snapshot", doc, rev: this.rev, states, reset, done: {} });
    }
  }
}

function isCurrent(session, truth) {
  return session.rev("me") === truth.rev && session.rev("session") === truth.rev;
}

// Until the tab has what the server has: no longer than a beat, and what the beat leads to.
function converge(page, session, truth) {
  const { socket } = page;
  for (let waited = 0; waited < BEAT + 3000 && !isCurrent(session, truth); waited += 100) {
    if (waited % 1000 === 0) {
      socket.onmessage({ data: JSON.stringify({ type: "ping", heads: { me: truth.rev, session: truth.rev } }) });
    }
    page.tick(100);
    truth.answer(socket);
  }
  assert.ok(isCurrent(session, truth), `not current: ${session.rev("me")}, ${session.rev("session")}`);
  assert.deepEqual(session.store("board").getConfirmedState(), truth.states.board);
}

// A connection as it should be, which answers all that is open.
async function settle(page, session, truth, outcomes) {
  page.socket.breaks(1006);
  for (let waited = 0; page.socket.closed && waited < 40_000; waited += 100) page.tick(100);
  page.welcome({ limits: { rate: null, frame: 65536 } });
  for (const doc of ["me", "session"]) {
    const states = doc === "me" ? truth.states : { agenda: {} };
    page.socket.says({ type: "snapshot", doc, rev: truth.rev, states, reset: true, done: {} });
  }
  for (const { participant } of page.socket.of("watch")) {
    page.socket.says({ type: "watching", participant, states: ["board"], people: { bob: { name: "B", role: "r" } } });
  }
  const { board } = truth.states;
  page.socket.says(snapshot(truth.at, { board }, { doc: "p:bob", rev: truth.rev, reset: true }));
  for (let waited = 0; session.pending && waited < 10_000; waited += 100) {
    for (const { id } of page.socket.of("action")) {
      page.socket.says({ type: "ack", id, doc: "me", base: truth.rev, rev: truth.rev, ops: [], result: 1 });
    }
    page.tick(100);
  }
  const open = Symbol("open");
  const all = Promise.race([Promise.allSettled(outcomes), new Promise(setImmediate).then(() => open)]);
  assert.notEqual(await all, open, "a promise is open");
  assert.equal(session.pending, 0);
}

const predict = { board: { move: (state) => ({ ...state, moved: true }) } };

// After each page the event loop has a turn, without which nothing that is held weakly is freed.
test(`${COUNT} broken frames throw nothing, leave no promise open, and cost a beat`, async () => {
  const random = randomOf(SEED);
  for (let tried = 0; tried < COUNT; ) {
    const page = new Page();
    try {
      const [session, truth] = [page.live(undefined, { predict }), new Truth()];
      const outcomes = [];
      const watched = [session.watch("bob"), session.participants()];
      const names = ({ people }) => Object.values(people).map(({ id, states }) => [id, Object.keys(states)]);
      watched[1].subscribe(names, () => {});
      for (let round = 0; round < 15 && session.status !== "ended"; round += 1) {
        outcomes.push(session.store("board").dispatch("move", { round }));
        for (let times = 0; times < 4 && session.status === "live"; times += 1, tried += 1) {
          const frames = FRAMES(truth.at, page.socket.of("action").at(-1)?.id ?? 1);
          const data = mutate(random, frames[Math.floor(random() * frames.length)]);
          page.socket.onmessage({ data });
        }
        truth.commit();
        if (session.status === "live") converge(page, session, truth);
      }
      if (session.status !== "ended") {
        await settle(page, session, truth, outcomes);
        const [bob, everybody] = watched.map((each) => each.getState());
        assert.equal(bob.status, "here");
        assert.deepEqual(bob.states.board, truth.states.board);
        assert.equal(everybody.people.bob, bob);
        assert.deepEqual([bob.name, bob.role], ["B", "r"]);
        for (const each of watched) each.stop();
      }
      assert.deepEqual(page.reported, []);
      checkSent(page.sockets);
      session.close();
    } finally {
      page.leave();
    }
    await turn();
  }
});

test(`${COUNT} broken configurations are refused as such, or work`, async () => {
  const random = randomOf(SEED + 1);
  const docs = { me: { rev: rev(3), states: { board: { log: [1] }, notes: {} } } };
  let worked = 0;
  for (let tried = 0; tried < COUNT; tried += 1) {
    const page = new Page();
    try {
      const textContent = mutate(random, { ...CONFIG, docs });
      const session = connect({ textContent });
      worked += 1;
      const states = Object.keys(JSON.parse(textContent).states);
      for (const state of states) session.store(state).getState();
      session.store(states[0] ?? "x").dispatch("move");
      const name = Object.values(JSON.parse(textContent).states)[0];
      const fresh = { doc: name, rev: rev(12, 12, "cafe"), reset: true };
      page.welcome().says(snapshot(12, { board: { log: [12] } }, fresh));
      assert.equal(session.rev(name), fresh.rev);
      assert.equal(session.status, "live");
      session.close();
    } catch (error) {
      const isOurs = error instanceof DispatchError && /^(bad_config|unknown_state)$/.test(error.code);
      if (!isOurs) throw error;
    } finally {
      assert.deepEqual(page.reported, []);
      page.leave();
    }
    await turn();
  }
  assert.ok(worked > COUNT / 5, `${worked} worked`);
});

test(`${COUNT} broken storages stop nothing, and are cleared of what is answered`, async () => {
  const random = randomOf(SEED + 2);
  const entry = (id) => ({ format: 1, client: "c8f2", id, at: 1_700_000_000_000, sent: true, state: "board", action: "move", args: { n: id } });
  for (let tried = 0; tried < COUNT; tried += 1) {
    const page = new Page();
    try {
      const text = mutate(random, [entry(1), entry(2), { ...entry(3), key: "k", until: 1_700_000_009_000 }]);
      const storage = new FakeStorage([[KEY, text]]);
      const session = page.live(undefined, { storage, predict });
      session.store("board").dispatch("move", {}, { replace: "k" });
      for (let at = 0; at < page.socket.of("action").length; at += 1) {
        page.socket.says(ack(page.socket.of("action")[at].id, 10, 10, { ops: [] }));
      }
      assert.equal(session.pending, 0);
      await null;
      await null;
      const left = JSON.parse(storage.getItem(KEY) ?? "[]");
      assert.ok(left.every(({ client, format }) => client !== "c8f2" || format > 1), JSON.stringify(left));
      session.close();
      checkSent(page.sockets);
      assert.deepEqual(page.reported, []);
    } finally {
      page.leave();
    }
    await turn();
  }
});
