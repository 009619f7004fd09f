// The scripted session, by which pages are tested without a server.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { createTestSession, Rejected } from "../../sessionstores/static/sessionstores/testing.js";
import { failure, Page, turn } from "./page.js";

const BOARD = { deck: ["ace", "two"], piles: { keep: [] } };
const without = (cards, card) => cards.filter((other) => other !== card);

const SCRIPT = {
  states: { board: BOARD },
  shared: { agenda: { step: 1 } },
  actions: {
    board: {
      move(board, { card, pile }) {
        if (!board.deck.includes(card)) throw new Rejected("taken", "Somebody has it.");
        return { deck: without(board.deck, card), piles: { [pile]: [...board.piles[pile], card] } };
      },
    },
  },
};
const predict = {
  board: { move: (board, { card }) => ({ ...board, deck: without(board.deck, card) }) },
};

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

async function live(script = SCRIPT, options = {}) {
  const { session, server } = createTestSession(script, options);
  await session.ready;
  return { session, server, board: session.store("board") };
}

test("it is live with its states before a test has done anything", async () => {
  const { session, board } = await live();
  assert.equal(session.status, "live");
  assert.deepEqual(board.getState(), BOARD);
  assert.deepEqual(session.store("agenda").getState(), { step: 1 });
});

test("an action runs as scripted, and a refusal says why", async () => {
  const { board, server } = await live();
  await board.actions.move({ card: "ace", pile: "keep" });
  assert.deepEqual(board.getState(), { deck: ["two"], piles: { keep: ["ace"] } });
  assert.deepEqual(server.state("board"), board.getState());
  const error = await failure(board.actions.move({ card: "ace", pile: "keep" }));
  assert.deepEqual([error.code, error.message], ["taken", "Somebody has it."]);
  const unknown = await failure(board.dispatch("mvoe"));
  assert.equal(unknown.code, "unknown_action");
});

test("others change states, come and go, and say something", async () => {
  const { session, server } = await live();
  const heard = [];
  session.on("message", (data) => heard.push(data));
  session.on("presence", (present) => heard.push(Object.keys(present).sort().join()));
  server.change("agenda", (agenda) => ({ ...agenda, step: 2, note: "a/b~" }));
  assert.deepEqual(session.store("agenda").getState(), { step: 2, note: "a/b~" });
  server.change("agenda", () => ({ step: 3 }));
  assert.deepEqual(session.store("agenda").getState(), { step: 3 });
  server.present({ bob: { name: "Bob", tabs: [{ typing: true }] } });
  assert.equal(session.presence.bob.name, "Bob");
  assert.equal(session.presence.bob[0].typing, true);
  server.present({});
  server.message({ notice: "Hello" });
  assert.deepEqual(heard, ["bob,me", "me", { notice: "Hello" }]);
});

test("while the network is held, what is predicted is shown, and then confirmed", async () => {
  const { board, server } = await live(SCRIPT, { predict });
  server.hold();
  const moved = board.actions.move({ card: "ace", pile: "keep" });
  await turn();
  assert.deepEqual(board.getState().deck, ["two"]);
  assert.deepEqual(board.getConfirmedState().deck, ["ace", "two"]);
  server.release();
  await moved;
  assert.deepEqual(board.getConfirmedState(), { deck: ["two"], piles: { keep: ["ace"] } });
});

test("a lost connection loses no action and repeats none", async () => {
  const { session, board, server } = await live(SCRIPT, { predict });
  const decks = [];
  board.subscribe(({ deck }) => decks.push(deck.join()));
  server.hold();
  const moved = board.actions.move({ card: "ace", pile: "keep" });
  await turn();
  server.drop();
  assert.equal(session.status, "reconnecting");
  const later = board.actions.move({ card: "two", pile: "keep" });
  server.release();
  server.reconnect();
  await Promise.all([moved, later]);
  assert.deepEqual(server.state("board"), { deck: [], piles: { keep: ["ace", "two"] } });
  assert.deepEqual(board.getState(), server.state("board"));
  assert.ok(!decks.includes("ace,two"), decks.join(" | "));
});

test("it ends as a real one does, and frames that were sent are there to be looked at", async () => {
  const { session, server } = await live();
  session.setMeta({ typing: true });
  assert.deepEqual(server.sent.at(-1), { type: "meta", data: { typing: true } });
  const ends = [];
  session.on("end", (end) => ends.push(end));
  server.end("kicked", "You were removed.");
  assert.deepEqual(ends, [{ reason: "kicked", message: "You were removed." }]);
  assert.equal(session.status, "ended");
});

test("states are copies: what a test or an action does to its own changes nothing", async () => {
  const states = { board: structuredClone(BOARD) };
  const { board, server } = await live({ ...SCRIPT, states });
  states.board.deck.push("king");
  assert.deepEqual(board.getState().deck, ["ace", "two"]);
  assert.throws(() => board.getState().deck.push("king"), TypeError);
  assert.throws(() => server.state("bord"), /no state "bord"/);
});

test("an action tells its caller what the script says", async () => {
  const { board } = await live({
    states: { board: BOARD },
    actions: { board: { count: (state, { more }, returns) => void returns([state.deck.length + more]) } },
  });
  assert.deepEqual(await board.actions.count({ more: 1 }), [3]);
});

test("a state that is lost is an event, and the next one goes on from there", async () => {
  const { session, board, server } = await live();
  const resets = [];
  session.on("reset", ({ states, previous, message }) => resets.push([previous.board, states.board, message]));
  const fresh = { deck: ["ace", "king"], piles: { keep: [] } };
  server.reset("board", fresh, "Start again.");
  assert.deepEqual(resets, [[BOARD, fresh, "Start again."]]);
  await board.actions.move({ card: "king", pile: "keep" });
  assert.deepEqual(board.getState(), { deck: ["ace"], piles: { keep: ["king"] } });
  server.change("board", (before) => ({ ...before, deck: [] }));
  assert.deepEqual(board.getState().deck, []);
});

test("others are watched as far as the test lets them be", async () => {
  const { session, server } = await live();
  const [everybody, bob] = [session.participants(), session.watch("bob")];
  assert.deepEqual([everybody.getState().status, bob.getState().status], ["refused", "refused"]);
  server.become({ name: "Alice", role: "facilitator" });
  assert.deepEqual(session.self, { id: "me", name: "Alice", role: "facilitator" });
  server.watched({ bob: { name: "Bob", states: { board: BOARD } }, carl: {} });
  const { people, status } = everybody.getState();
  assert.deepEqual([status, Object.keys(people)], ["watching", ["bob", "carl"]]);
  assert.deepEqual([people.bob.name, people.bob.states.board], ["Bob", BOARD]);
  assert.equal(bob.getState(), people.bob);
  const moved = { ...BOARD, deck: ["two"] };
  server.watched({ bob: { name: "Robert", states: { board: moved } } });
  assert.deepEqual(Object.keys(everybody.getState().people), ["bob"]);
  assert.deepEqual([bob.getState().name, bob.getState().states.board], ["Robert", moved]);
  server.drop();
  server.reconnect();
  await turn();
  assert.deepEqual(bob.getState().states.board, moved);
  server.watched({});
  assert.deepEqual([bob.getState().status, bob.getState().reason], ["gone", "left"]);
  assert.equal(session.watch("dora").getState().reason, "absent");
  bob.stop();
  server.watched({ bob: { states: { board: BOARD } } });
  assert.equal(everybody.getState().people.bob.status, "here");
});
