// Type-checked, never run: what states.d.ts must accept, and what it must refuse.
import {
  connect,
  type Register,
  type Session,
} from "../../../sessionstores/static/sessionstores/client.js";
import { createHooks } from "../../../sessionstores/static/sessionstores/react.js";
import { createTestSession } from "../../../sessionstores/static/sessionstores/testing.js";
import type * as client from "sessionstores/client";
import type {
  Board,
  Gallery,
  GeneralCode,
  Json,
  OtherCode,
  States,
  TestsManagementTypedStatesCard as Card,
  TestsManagementTypedStatesCardInput as CardInput,
} from "./states";

declare module "sessionstores/client" {
  interface Register {
    meta: { typing?: boolean };
    message: { notice: string };
  }
}

// No call names a type.
const session = connect("#sessionstores");
const board = session.store("board");
const gallery = session.store("gallery");
const table = session.store("table");

const unregistered = connect<States>("#sessionstores");
unregistered.store("board").dispatch("clear");

type Move = States["board"]["positional"]["move"];
// As a hook of a site's own may do it.
const named: { move: (...args: Move) => States["board"]["actions"]["move"] } = {
  move: (card, pile, at) => (at === undefined ? { card, pile } : { card, pile, at }),
};

export async function accepted(card: Card): Promise<void> {
  const whole: Session = session;
  const same: client.Session = whole;
  const deck: readonly string[] | undefined = board.getState()?.deck;
  const pile: readonly string[] | undefined = board.getState()?.piles["keep"];
  board.subscribe((state: Board) => console.log(state.deck.length, deck, pile, same.code));
  await board.dispatch("move", { card: "ace", pile: "keep" });
  await board.dispatch("move", { card: "ace", pile: "keep", at: null });
  await board.dispatch("move", named.move("ace", "drop", 2));
  await board.dispatch("move", named.move("ace", "drop"));
  await board.dispatch("clear");
  await board.dispatch("clear", {});
  const moved: number | undefined = await board.dispatch("move", { card: "a", pile: "keep" });
  const nothing: null | undefined = await board.dispatch("clear");
  const seats = await table.dispatch("seat", { name: "Ada" });
  console.log(seats?.["3"]?.rank, seats?.[3]?.suit === "hearts", moved, nothing);
  const step: 1 | 2 | 3 | undefined = table.getState()?.step;
  const input: CardInput = { suit: "spades" };
  const mixed: Card | null | undefined = await gallery.dispatch("mixed", { first: 1, third: "" });
  const result: Json | undefined = await gallery.dispatch("unannotated");
  console.log(step, mixed, result);
  await gallery.dispatch("everything", {
    // Parts of a state may be sent back as they are.
    card,
    size: { width: 1, height: 2, parts: [input, card] },
    point: [1, 2],
    choices: {},
    entry: ["entry", 1],
    tree: { name: "root", children: [{ name: "leaf", children: [] }] },
    lean: { must: 1 },
    page: { items: [1] },
    anything: { goes: [1, null] },
    day: "2026-03-01",
    suits: { hearts: 3 },
    several: ["a"],
  });
  const args: States["gallery"]["positional"]["mixed"] = [1, undefined, "three"];
  const scopes: ["participant", "session"] = [scope("board"), scope("table")];
  const roles: States["gallery"]["watch"][] = ["facilitator", "host"];
  const meta: Register["meta"] = { typing: true };
  const message: Register["message"] = { notice: "Lunch" };
  console.log(args, scopes, roles, meta, message);
  gallery.subscribe(({ entry, size, tree }) => {
    // As they are: what is read may hold more than was declared.
    const part: States["gallery"]["actions"]["everything"]["entry"] = entry;
    console.log(part, size, tree);
  });
  const keywords: States["gallery"]["positional"]["keywords"] = [1, 2];
  console.log(keywords);
  const general: GeneralCode = "conflict";
  const own: States["board"]["errors"]["move"][] = ["not_there", general, "of_the_future"];
  const other: OtherCode = own[0] ?? "rejected";
  console.log(other);
}

const predict = {
  board: { clear: (state: Board): Board => ({ ...state, deck: [] }) },
};
const hooks = createHooks({}, connect);

export function registered(): void {
  // Predictors of some actions leave the other states and actions there.
  for (const session of [connect("#sessionstores", { predict }), hooks.useSessionStoreManager()]) {
    void session.store("board").dispatch("move", { card: "ace", pile: "keep" });
    console.log(session.store("gallery").getState()?.text);
    session.setMeta({ typing: undefined });
    const typing: boolean | undefined = session.meta.typing;
    session.on("message", ({ notice }) => console.log(notice.length, typing));
    session.on("presence", ({ bob }) => console.log(bob?.some((tab) => tab.typing)));
  }
  connect("#sessionstores", {
    predict: { board: { move: (state, { card }) => ({ ...state, deck: [card] }) } },
  });
  const { session, server } = createTestSession({
    states: { board: { deck: [], piles: {} } },
    actions: {
      board: {
        move(state, { card }, returns) {
          returns(3);
          return { ...state, deck: [card] };
        },
      },
    },
  });
  server.watched({ bob: { name: "Bob", states: { board: { deck: [], piles: {} } } } });
  void session.store("table").dispatch("seat", { name: "Ada" });
  server.change("board", (state) => ({ ...state, deck: [] }));
  server.message({ notice: "Lunch" });
  const given: Session = session;
  console.log(given.code);
  hooks.useSessionEvent("status", (status, message) => console.log(status, message.length));
  hooks.useMyMeta()[1]({ typing: true });
  // A handler, where there need be no arguments.
  const [clear] = hooks.useAction("board", "clear");
  const click: (event: { nativeEvent: Event; detail: number }) => void = clear;
  void clear({}, { within: 1_000 }).then((result: null) => console.log(result, click));
}

export function refusedOnceRegistered(): void {
  // @ts-expect-error: predictors of no state
  connect("#sessionstores", { predict: { bord: {} } });
  // @ts-expect-error: a predictor of no action
  connect("#sessionstores", { predict: { board: { mvoe: (state) => state } } });
  // @ts-expect-error: another meta than is registered
  session.setMeta({ typign: true });
  // @ts-expect-error: another message than is registered
  session.on("message", ({ notcie }) => console.log(notcie));
  // @ts-expect-error: another meta than is registered
  hooks.useMyMeta()[1]({ typing: 1 });
  // @ts-expect-error: a scripted state that is none
  createTestSession({ states: { bord: {} } });
  // @ts-expect-error: a scripted state without its fields
  createTestSession({ states: { board: { deck: [] } } });
  // @ts-expect-error: another result than the action's
  createTestSession({ actions: { board: { move: (_, __, returns) => returns("3") } } });
  // @ts-expect-error: no handler, since it takes arguments
  const click: (event: { nativeEvent: Event }) => void = hooks.useAction("board", "move")[0];
  // @ts-expect-error: no argument of a handler
  void hooks.useAction("board", "clear")[0]({ card: "ace" });
  console.log(click);
}

declare function scope<Name extends keyof States>(name: Name): States[Name]["scope"];

export function shown(state: Gallery): void {
  const post = state.post;
  if (post?.type === "note") console.log(post.text.length);
  if (post?.type === "photo") console.log(post["alt-text"].length);
  console.log(state.tree?.children[0]?.children.length, state["re-named"].length);
  const moment: string | undefined = state.moment?.slice(0, 10);
  const price: string = state.price;
  const [x, , label]: readonly [number, number, string | null] = state.point;
  const [tag, id, title] = state.entry;
  const may: number | undefined = state.lean.may;
  console.log(moment, price, x, label, tag === "entry", id + 1, title.length, may);
  console.log(state.by_suit.hearts?.[0], state.by_suit["spades"], state.by_level[1]);
  console.log(state.by_id[7]?.length, state.by_id["7"]?.length, state.several.includes(3));
  console.log(state.card?.rank.toFixed(), state.page?.next?.toFixed());
  const choice: "a" | "b" | 3 | null = state.choice;
  const level: 1 | 2 = state.level;
  const scale: number = state.size.scale ?? 1;
  console.log(scale, state.slim.width.toFixed());
  console.log(choice, level, state.rights & 2, state.pair[1].length, state.odd?.["a b"]);
  const anything: Json = state.anything;
  console.log(Array.isArray(anything));
}

export function refused(state: Gallery, shownBoard: Board): void {
  // @ts-expect-error: no such state
  session.store("bord");
  // @ts-expect-error: no such action
  board.dispatch("mvoe", { card: "ace", pile: "keep" });
  // @ts-expect-error: an action of another state
  board.dispatch("seat", { name: "Ada" });
  // @ts-expect-error: an action of a state that has none
  session.store("empty").dispatch("clear");
  // @ts-expect-error: an argument is missing
  board.dispatch("move", { card: "ace" });
  // @ts-expect-error: all arguments are missing
  board.dispatch("move");
  // @ts-expect-error: wrong type of an argument
  board.dispatch("move", { card: 1, pile: "keep" });
  // @ts-expect-error: a text that is not among the choices
  board.dispatch("move", { card: "ace", pile: "kept" });
  // @ts-expect-error: null where there may be none
  board.dispatch("move", { card: "ace", pile: null });
  // @ts-expect-error: an argument too many
  board.dispatch("move", { card: "ace", pile: "keep", side: "left" });
  // @ts-expect-error: what the server fills in
  board.dispatch("move", { card: "ace", pile: "keep", by: "bob" });
  // @ts-expect-error: what the server fills in
  board.dispatch("move", { card: "ace", pile: "keep", table: { step: 1 } });
  // @ts-expect-error: an argument of an action that takes none
  board.dispatch("clear", { card: "ace" });
  // @ts-expect-error: positional arguments in the wrong order
  named.move("keep", "ace");
  // @ts-expect-error: a positional argument is missing
  named.move("ace");
  // @ts-expect-error: a positional argument too many
  named.move("ace", "keep", 1, 2);
  // @ts-expect-error: another type of result
  const text: Promise<string> = board.dispatch("move", { card: "ace", pile: "keep" });
  // @ts-expect-error: no such field
  board.subscribe((each) => each.pile);
  // @ts-expect-error: a field is not ours to set
  shownBoard.deck = [];
  // @ts-expect-error: nor a list to change
  shownBoard.deck.push("ace");
  // @ts-expect-error: nor an item
  shownBoard.deck[0] = "ace";
  // @ts-expect-error: nor a dict
  shownBoard.piles["keep"] = [];
  // @ts-expect-error: nor a list in a dict
  shownBoard.piles["keep"]?.push("ace");
  // @ts-expect-error: nor a struct's field
  state.size.width = 2;
  // @ts-expect-error: nor one of a struct in a list
  state.size.parts.forEach((card) => { card.rank = 2; });
  // @ts-expect-error: nor a tuple
  state.pair[0] = 1;
  // @ts-expect-error: nor one with names
  state.point[0] = 1;
  // @ts-expect-error: nor a dict of known keys
  state.by_suit.hearts = [1];
  // @ts-expect-error: nor what may be anything
  if (Array.isArray(state.anything)) (state.anything as readonly Json[]).push(1);
  // @ts-expect-error: what is there may not be there
  state.card.rank;
  // @ts-expect-error: nor may a dataclass's field that has a default
  state.size.scale.toFixed();
  // @ts-expect-error: a key that is not among the choices
  state.by_place.middle;
  // @ts-expect-error: a place that the tuple has not
  state.pair[2];
  // @ts-expect-error: no such member of an enumeration
  state.suit === "clubs";
  // @ts-expect-error: of two kinds of structs, this one has no text
  state.post?.text;
  // @ts-expect-error: no such scope
  const wrong: "session" = scope("board");
  // @ts-expect-error: no such role
  const role: States["board"]["watch"] = "host";
  // @ts-expect-error: nobody may watch it
  const nobody: States["table"]["watch"] = "facilitator";
  // @ts-expect-error: a state may not lack what arguments may
  const card: Card = { suit: "hearts" };
  // @ts-expect-error: another meta than is registered
  const meta: Register["meta"] = { typing: 1 };
  console.log(text, wrong, role, nobody, card, meta);
}
