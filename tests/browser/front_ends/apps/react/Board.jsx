import { useAction, useSessionStore, useSessionStoreManager } from "./hooks.js";

function Pile({ id, cards, to }) {
  const [move, { error }] = useAction("board", "move");
  return (
    <>
      <ul id={id}>
        {cards.map((card) => (
          <li key={card}>
            <button onClick={({ detail }) => detail < 2 && move({ card, pile: to })}>{card}</button>
          </li>
        ))}
      </ul>
      {error && <p role="alert">{error.message}</p>}
    </>
  );
}

function Step() {
  const step = useSessionStore("agenda", (agenda) => agenda.step);
  const [advance, { error }] = useAction("agenda", "advance");
  return (
    <>
      <p id="step">{step}</p>
      <button onClick={advance}>Next step</button>
      {error && <p role="alert">{error.message}</p>}
    </>
  );
}

export function Board() {
  const deck = useSessionStore("board", (board) => board.deck);
  const piles = useSessionStore("board", (board) => board.piles);
  const session = useSessionStoreManager();
  return (
    <main>
      <h1>{session.code}</h1>
      <Pile id="deck" cards={deck} to="keep" />
      <Pile id="keep" cards={piles.keep} to="drop" />
      <Pile id="drop" cards={piles.drop} to="keep" />
      <Step />
      <button onClick={() => session.leave()}>Leave</button>
    </main>
  );
}
