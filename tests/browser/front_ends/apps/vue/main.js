import { createApp, h, onScopeDispose, shallowRef } from "vue";

import { board, session } from "../session.js";
import { useStore } from "./useStore.js";

function useEvent(type, value, take) {
  const part = shallowRef(value);
  onScopeDispose(session.on(type, (...told) => (part.value = take(...told))));
  return part;
}

// None of these handlers returns a promise: Vue would report that it was rejected.
function move({ detail }, args) {
  if (detail < 2) board.actions.move(args);
}

const Pile = (props) =>
  h(
    "ul",
    { id: props.id },
    props.cards?.map((card) =>
      h("li", { key: card }, [
        h("button", { onClick: (click) => move(click, { card, pile: props.to }) }, card),
      ]),
    ),
  );
Pile.props = ["id", "cards", "to"];

const App = {
  setup() {
    const state = useStore(board);
    const agenda = session.store("agenda");
    const step = useStore(agenda, ({ step }) => step);
    const presence = useEvent("presence", session.presence, (all) => all);
    const status = useEvent("status", session.message, (_, message) => message);
    const refusal = useEvent("refused", "", ({ error }) => error.message);
    const others = () => Object.entries(presence.value).filter(([id]) => id !== session.participant);
    const write = ({ target }) => void board.actions.write({ text: target.value }, { replace: "text" });
    return () => [
      h("h1", session.code),
      h("p", { role: "status" }, status.value),
      h("p", { role: "alert" }, refusal.value),
      h("ul", { id: "others" }, others().map(([id, tabs]) => h("li", { key: id }, tabs.name))),
      h(Pile, { id: "deck", cards: state.value?.deck, to: "keep" }),
      h(Pile, { id: "keep", cards: state.value?.piles.keep, to: "drop" }),
      h(Pile, { id: "drop", cards: state.value?.piles.drop, to: "keep" }),
      h("textarea", { "aria-label": "Notes", value: state.value?.text, onInput: write }),
      h("p", { id: "step" }, step.value),
      h("button", { onClick: () => void agenda.actions.advance() }, "Next step"),
      h("button", { onClick: () => session.leave() }, "Leave"),
    ];
  },
};

createApp(App).mount("#app");
