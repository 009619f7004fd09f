// A page in Node that shows its moves before they are answered, and looks for any that it shows twice
// or not at all. Each line that it reads is a card to move; it writes what it has seen so far.
import { createInterface } from "node:readline";

const [client, configText] = process.argv.slice(2);
const config = JSON.parse(configText);
const page = new EventTarget();
const globals = {
  document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
  navigator: { onLine: true },
  location: { href: config.url },
  addEventListener: page.addEventListener.bind(page),
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

// As the server does it, but for cards that lie in a pile already: these would be there twice.
const move = (state, { card, pile }) => ({
  ...state,
  deck: state.deck.filter((other) => other !== card),
  piles: { ...state.piles, [pile]: [card, ...(state.piles[pile] ?? [])] },
});

const { connect } = await import(client);
const session = connect(config, { storage: null, predict: { board: { move } } });
const board = session.store("board");
const moved = [];
const wrong = [];
let told = 0;

function look(where) {
  const { deck, piles } = board.getState();
  const pile = piles.keep ?? [];
  const isRight = [...pile].sort().join() === [...moved].sort().join();
  if (!isRight || deck.some((card) => pile.includes(card))) wrong.push([where, pile, deck]);
}

board.subscribe(() => {
  told += 1;
  look("notification");
});

let connections = 0;
const report = () => {
  const { pending, status } = session;
  console.log(JSON.stringify({ pending, status, told, wrong, connections }));
};
session.on("pending", report);
session.on("status", (status) => {
  connections += status === "live" ? 1 : 0;
  report();
});

for await (const card of createInterface({ input: process.stdin })) {
  moved.push(card);
  board.dispatch("move", { card, pile: "keep" });
  look("dispatch");
  report();
}
process.exit(0);
