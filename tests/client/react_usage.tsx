// Type-checked, never run: what react.d.ts must accept, and what it must refuse.
import * as React from "react";

import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { createHooks } from "../../sessionstores/static/sessionstores/react.js";

type Stores = {
  board: {
    state: { deck: string[]; piles: Record<string, string[]> };
    actions: { move: { card: string; pile: string }; clear: {} };
  };
  agenda: { state: { step: 1 | 2 | 3 }; actions: { advance: {} } };
};

const hooks = createHooks<Stores>(React, connect<Stores>);
const useStep1 = hooks.createStoreHook("board", {
  move: (card: string, pile: string) => ({ card, pile }),
});

export function Accepted(): React.ReactNode {
  const deck: string[] = hooks.useSessionStore("board").deck;
  const count: number = hooks.useSessionStore("board", (board) => board.deck.length);
  const [move, { pending, error, reset }] = hooks.useAction("board", "move");
  const [advance] = hooks.useAction("agenda", "advance");
  const [meta, update] = hooks.useMyMeta();
  const others: number = hooks.useOthers((each) => Object.keys(each).length);
  const top: string | undefined = hooks.useWatched("bob", "board", (board) => board.deck.length.toFixed());
  const people: string[] = hooks.useParticipants(({ people }) => Object.keys(people));
  const run: (card: string, pile: string) => Promise<unknown> = useStep1((state) => state.move);
  const piles: string[] = useStep1((state) => state.deck);
  hooks.useSessionEvent("refused", ({ error }) => console.log(error.code));
  update({ typing: true });
  void move({ card: "ace", pile: "keep" }, { replace: "ace" });
  const words = [deck.join(), count, pending, error?.message, others, top, people.join(), piles.join()];
  return (
    <hooks.SessionStoreProvider source="#sessionstores" fallback={<p />}>
      <button onClick={() => void advance()} onBlur={reset}>
        {words.join()} {hooks.useStatus({ smooth: true })} {hooks.usePending()}
        {String(meta["typing"])} {hooks.useSelf().name} {run.length}
      </button>
    </hooks.SessionStoreProvider>
  );
}

export function Refused(): React.ReactNode {
  // @ts-expect-error: no such state
  hooks.useSessionStore("bord");
  // @ts-expect-error: no such field
  hooks.useSessionStore("board", (board) => board.dek);
  // @ts-expect-error: no such action
  hooks.useAction("board", "mvoe");
  // @ts-expect-error: an argument is missing
  void hooks.useAction("board", "move")[0]({ card: "ace" });
  // @ts-expect-error: a watched state may not be there
  hooks.useWatched("bob", "board").deck;
  // @ts-expect-error: no such status
  hooks.useStatus() === "online";
  // @ts-expect-error: a function for no action
  hooks.createStoreHook("board", { mvoe: () => ({}) });
  // @ts-expect-error: arguments that the action does not take
  hooks.createStoreHook("board", { move: (card: string) => ({ card }) });
  // @ts-expect-error: no function of this state
  useStep1((state) => state.clear);
  // @ts-expect-error: nothing to connect to
  return <hooks.SessionStoreProvider />;
}
