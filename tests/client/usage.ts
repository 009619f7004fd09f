// Type-checked, never run: what client.d.ts must accept, and what it must refuse.
import { createTestSession, Rejected } from "../../sessionstores/static/sessionstores/testing.js";
import {
  applyPatch,
  connect,
  DispatchError,
  type Presence,
  type Session,
  type Status,
} from "../../sessionstores/static/sessionstores/client.js";

type Stores = {
  board: {
    state: { deck: string[]; piles: Record<string, string[]> };
    actions: { move: { card: string; pile: string; at?: number }; clear: {} };
  };
  agenda: {
    state: { step: 1 | 2 | 3 };
    actions: { advance: {}; vote: { card: number } };
    results: { vote: number };
  };
};

interface DeclaredAsInterfaces {
  board: { state: { deck: string[] }; actions: { clear: {} } };
}

const session = connect<Stores>("#sessionstores", {
  token: async () => (await fetch("/token/")).text(),
  storage: null,
  warnBeforeUnload: true,
  predict: {
    board: {
      move: (state, { card, pile }, { self, state: other }) => ({
        ...state,
        piles: { ...state.piles, [pile]: [card, self.id, String(other("agenda").step)] },
      }),
    },
    agenda: { vote: () => undefined },
  },
});
const board = session.store("board");

export async function accepted(): Promise<void> {
  const deck: string[] | undefined = board.getState()?.deck;
  const initial: { step: 1 | 2 | 3 } | undefined = session.store("agenda").getInitialState();
  const off: () => void = board.subscribe((state, previous) => {
    console.log(state.piles["keep"]?.length, previous?.deck.length, deck, initial);
  });
  await board.dispatch("move", { card: "ace", pile: "keep" });
  await board.dispatch("move", { card: "ace", pile: "keep", at: 0 });
  await board.dispatch("clear");
  await board.dispatch("clear", {});
  await board.dispatch("move", { card: "ace", pile: "keep" }, { replace: "ace", within: 5000 });
  await board.actions.move({ card: "ace", pile: "keep" });
  await board.actions.move({ card: "ace", pile: "keep" }, { replace: "ace" });
  await board.actions.clear();
  const counted: number = await session.store("agenda").actions.vote({ card: 3 });
  const offPart: () => void = board.subscribe(
    (state) => state.deck.length,
    (length, before) => console.log(length.toFixed(), before?.toFixed(), counted),
    { equalityFn: (a, b) => a === b, fireImmediately: true },
  );
  offPart();
  console.log(board.getConfirmedState()?.deck.length);
  await session.ready;
  await session.settled();
  session.on("refused", ({ state, action, error }) => console.log(state, action, error.code));
  const votes: number = await session.store("agenda").dispatch("vote", { card: 3 });
  const nothing: unknown = await session.store("agenda").dispatch("advance");
  try {
    await board.dispatch("clear");
  } catch (error) {
    if (error instanceof DispatchError) console.log(error.code, error.message, votes, nothing);
    if (error instanceof DispatchError) console.log(error.hint?.length);
  }

  session.on("end", ({ reason, message }) => console.log(reason, message));
  session.on("reset", ({ doc, states, previous }) => console.log(doc, states, previous));
  session.on("reset", ({ message }) => console.log(message.length));
  session.on("status", (status, message) => console.log(status === "live", message.length));
  session.on("error", ({ message, hint }) => console.log(message.length, hint?.length));
  console.log(session.message.length);
  session.on("pending", (count) => console.log(count.toFixed()));
  session.on("message", (data) => console.log(data.anything));
  const offPresence: () => void = session.on("presence", (presence, { joined, left }) => {
    console.log(presence["bob"]?.length, joined["bob"]?.[0]?.name, left.join());
  });
  offPresence();
  const present: Presence = session.presence;
  session.setMeta({ name: Object.keys(present).length, typing: true });
  const offStatus = session.on("status", (status: Status) => console.log(status === "live"));
  offStatus();
  const bob = session.watch("bob");
  const cards: string[] | undefined = bob.getState().states.board?.deck;
  const offBob: () => void = bob.subscribe(
    ({ states }) => states.agenda?.step,
    (step) => console.log(step === 1, cards),
  );
  offBob();
  bob.stop();
  const everybody = session.participants();
  everybody.subscribe(({ status, people }) => {
    for (const { id, name, states } of Object.values(people)) {
      console.log(status === "watching", id, name?.length, states.board?.piles["keep"]?.length);
    }
  });
  const scripted = createTestSession<Stores>({
    states: { board: { deck: ["ace"], piles: {} } },
    shared: { agenda: { step: 1 } },
    actions: {
      board: {
        move(state, { card, pile }) {
          if (card === pile) throw new Rejected("taken", "Somebody has it.");
          state.deck.pop();
          return state;
        },
      },
    },
  });
  scripted.server.change("agenda", () => ({ step: 2 }));
  await scripted.session.store("board").actions.clear();
  // @ts-expect-error: no such step
  scripted.server.change("agenda", () => ({ step: 4 }));
  const rev: string | undefined = session.rev("me");
  console.log(rev);
  off();
  session.pause();
  session.resume();
  session.leave();
  session.close();

  const byInterface: Session<DeclaredAsInterfaces> = connect<DeclaredAsInterfaces>("#x");
  await byInterface.store("board").dispatch("clear");

  const untyped = connect(document.body, {
    predict: { anything: { whatever: (state, { goes }) => ({ ...state, goes }) } },
  });
  await untyped.store("anything").dispatch("whatever", { goes: 1 });
  console.log(untyped.store("anything").getState().piles);

  connect({
    url: "/ws/",
    token: "t",
    session: "K7Q2ZD",
    participant: "alice",
    role: "participant",
    states: { board: "me" },
  });
  const patched: { a: number } = applyPatch({}, [{ op: "add", path: "/a", value: 1 }]);
  console.log(patched);
}

export function refused(): void {
  // @ts-expect-error: no such state
  session.store("bord");
  // @ts-expect-error: no such action
  board.dispatch("mvoe", { card: "ace", pile: "keep" });
  // @ts-expect-error: an argument is missing
  board.dispatch("move", { card: "ace" });
  // @ts-expect-error: all arguments are missing
  board.dispatch("move");
  // @ts-expect-error: wrong type of an argument
  board.dispatch("move", { card: 1, pile: "keep" });
  // @ts-expect-error: an argument too many
  board.dispatch("move", { card: "ace", pile: "keep", side: "left" });
  // @ts-expect-error: no such action, as a function
  board.actions.mvoe({ card: "ace", pile: "keep" });
  // @ts-expect-error: an argument is missing, to a function
  board.actions.move({ card: "ace" });
  // @ts-expect-error: no such option
  board.dispatch("clear", {}, { replaces: "x" });
  // @ts-expect-error: what a predictor returns is a state
  connect<Stores>("#x", { predict: { board: { move: () => 5 } } });
  // @ts-expect-error: a predictor is synchronous
  connect<Stores>("#x", { predict: { board: { clear: async (state) => state } } });
  // @ts-expect-error: a predictor of no action
  connect<Stores>("#x", { predict: { board: { mvoe: (state) => state } } });
  // @ts-expect-error: an action of another state
  board.dispatch("advance");
  // @ts-expect-error: the state may not be there yet
  board.getState().deck;
  // @ts-expect-error: no such field
  board.subscribe((state) => state.pile);
  // @ts-expect-error: there may be no previous state
  board.subscribe((_, previous) => previous.deck);
  // @ts-expect-error: no such event
  session.on("ended", () => {});
  // @ts-expect-error: another event's data
  session.on("status", (status: number) => status);
  // @ts-expect-error: no such status
  session.status === "online";
  // @ts-expect-error: the status is not ours to set
  session.status = "live";
  // @ts-expect-error: who we are is not ours to set
  session.self.name = "Ada";
  // @ts-expect-error: somebody who is present may have no name
  session.presence["bob"].name.length;
  // @ts-expect-error: who is present is not ours to set
  session.presence = {};
  // @ts-expect-error: nor to change
  session.presence["bob"] = [];
  // @ts-expect-error: a meta is an object
  session.setMeta("typing");
  // @ts-expect-error: a token is fetched asynchronously
  connect("#x", { token: () => "t" });
  // @ts-expect-error: a misspelt option
  connect("#x", { Storage: null });
  // @ts-expect-error: a configuration without states
  connect({ url: "/ws/", session: "K7Q2ZD", participant: "alice", role: "participant" });
  // @ts-expect-error: a state without actions
  connect<{ board: { state: {} } }>("#x");
  // @ts-expect-error: somebody may have used no board yet
  session.watch("bob").getState().states.board.deck;
  // @ts-expect-error: there may be nobody of this id
  session.participants().getState().people["bob"].states;
  // @ts-expect-error: what is watched is not ours to change
  session.watch("bob").dispatch("clear");
  // @ts-expect-error: nor whose it is
  session.watch("bob").getState().status = "here";
  // @ts-expect-error: no such operation
  applyPatch({}, [{ op: "append", path: "/a", value: 1 }]);
}
