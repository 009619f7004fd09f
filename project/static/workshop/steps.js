// The three steps as a page shows them: their zones, and the action that puts a card into one.
//
// `foretell` changes a copy of the board as the server will, so that a move is seen at once, however far away that is, and
// while the connection is down. What the server says later replaces it.

const take = (list, card) => list.filter((other) => other !== card);

function forget(board, card) {
  board.top = board.top.map((other) => (other === card ? "" : other));
  delete board.spots[card];
}

const sort = {
  title: gettext("What should we do?"),
  hint: gettext("Sort every idea onto a pile."),
  action: "move",
  argument: "pile",
  pool: { title: gettext("Ideas"), none: gettext("All sorted.") },
  zones: [
    { key: "start", to: "start", title: gettext("Start now") },
    { key: "later", to: "later", title: gettext("Maybe later") },
    { key: "leave", to: "leave", title: gettext("Leave it") },
  ],
  layout: ({ deck, piles }) => [deck, piles.start, piles.later, piles.leave],
  wanted: (board) => board.deck.length + Object.values(board.piles).flat().length,
  foretell(board, { card, pile }) {
    board.deck = take(board.deck, card);
    for (const name in board.piles) board.piles[name] = take(board.piles[name], card);
    (pile ? board.piles[pile] : board.deck).push(card);
    if (!pile || pile === "leave") forget(board, card);
  },
};

const candidates = ({ piles }) => [...piles.start, ...piles.later];

const choose = {
  title: gettext("Which three first?"),
  hint: gettext("Pick your top three, in order."),
  action: "choose",
  argument: "rank",
  pool: { title: gettext("Start now, maybe later"), none: gettext("None left here.") },
  zones: [1, 2, 3].map((rank) => ({ key: `rank-${rank}`, to: rank, title: interpolate(gettext("Number %s"), [rank]) })),
  layout: (board) => [
    candidates(board).filter((card) => !board.top.includes(card)),
    ...board.top.map((card) => (card ? [card] : [])),
  ],
  wanted: (board) => Math.min(3, candidates(board).length),
  foretell(board, { card, rank }) {
    const displaced = rank ? board.top[rank - 1] : "";
    board.top = board.top.map((other) => (other === card ? displaced : other));
    if (rank) board.top[rank - 1] = card;
    for (const placed in board.spots) if (!board.top.includes(placed)) delete board.spots[placed];
  },
};

const notes = {
  "low high": gettext("low effort, high value"),
  "high high": gettext("high effort, high value"),
  "low low": gettext("low effort, low value"),
  "high low": gettext("high effort, low value"),
};

const spot = (effort, value, title) => ({
  key: `${effort}-${value}`,
  to: { effort, value },
  title,
  note: notes[`${effort} ${value}`],
});

const weigh = {
  title: gettext("What is it worth?"),
  hint: gettext("Weigh effort against value."),
  action: "place",
  argument: "spot",
  pool: { title: gettext("Your top three"), none: gettext("None left here.") },
  zones: [
    spot("low", "high", gettext("Quick win")),
    spot("high", "high", gettext("Big bet")),
    spot("low", "low", gettext("On the side")),
    spot("high", "low", gettext("Think again")),
  ],
  layout: ({ top, spots }) => {
    const chosen = top.filter(Boolean);
    const keyOf = (card) => spots[card] && `${spots[card].effort}-${spots[card].value}`;
    const inZone = ({ key }) => chosen.filter((card) => keyOf(card) === key);
    return [chosen.filter((card) => !spots[card]), ...weigh.zones.map(inZone)];
  },
  wanted: ({ top }) => top.filter(Boolean).length,
  foretell(board, { card, spot: to }) {
    if (to) board.spots[card] = to;
    else delete board.spots[card];
  },
};

export const steps = { 1: sort, 2: choose, 3: weigh };

// How many cards lie where the step wants them, and of how many.
export const placed = (step, board) => step.layout(board).slice(1).flat().length;

// For `connect`: what each action makes of a board.
export const predictors = Object.fromEntries(
  Object.entries(steps).map(([number, step]) => [
    step.action,
    (board, args) => {
      const next = structuredClone(board);
      step.foretell(next, args);
      next.done = next.done.filter((done) => done !== Number(number));
      return next;
    },
  ]),
);
