// The README's board in React, as somebody would write it who has installed the package.
import * as React from "react";
import { createRoot } from "react-dom/client";
import { connect } from "sessionstores";
import { createHooks } from "sessionstores/react";

type Stores = {
  board: {
    state: { readonly deck: readonly string[]; readonly kept: readonly string[] };
    actions: { keep: { card: string } };
  };
};

const { SessionStoreProvider, useAction, useSessionStore, useStatus } = createHooks<Stores>(React, connect<Stores>);

const predict = {
  board: {
    keep: (board: Stores["board"]["state"], { card }: { card: string }) => ({
      deck: board.deck.filter((other) => other !== card),
      kept: [...board.kept, card],
    }),
  },
};

function Deck(): React.ReactNode {
  const deck = useSessionStore("board", (board) => board.deck);
  const [keep, { error }] = useAction("board", "keep");
  return (
    <section data-status={useStatus()}>
      {deck.map((card) => (
        <button key={card} onClick={({ detail }) => void (detail < 2 && keep({ card }))}>
          {card}
        </button>
      ))}
      <p role="alert">{error?.message}</p>
    </section>
  );
}

const root = document.getElementById("deck");
if (root) {
  createRoot(root).render(
    <React.StrictMode>
      <SessionStoreProvider source="#sessionstores" options={{ predict }} fallback="One moment …">
        <Deck />
      </SessionStoreProvider>
    </React.StrictMode>,
  );
}
