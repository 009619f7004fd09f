// The board of `board.js` in React, with the hooks of `react.js`; written without JSX, so that nothing has to be built.

import { slowed } from "../../sessionstores/debug.js";
import { WORDS, counterOf, endWord, mayReturn } from "../status.js";
import { placed, predictors, steps } from "../steps.js";
import {
  React,
  ReactDOM,
  SessionStoreProvider,
  h,
  useAction,
  useMyMeta,
  useOthers,
  usePending,
  useSelf,
  useSessionEvent,
  useSessionStore,
  useSessionStoreManager,
  useStatus,
} from "./hooks.js";
import { Table } from "./table.js";

const { useCallback, useEffect, useRef, useState } = React;
const NOTICE = 5000; // ms for which a notice is shown that does not stay

const page = JSON.parse(document.getElementById("page").textContent);
const network = {};
const options = { predict: { board: predictors }, WebSocket: slowed(network) };

// What a person is told, until it is old: a text, and the function that sets it.
function useNotice() {
  const [notice, setNotice] = useState(null);
  useEffect(() => {
    if (!notice || notice.stay) return;
    const timer = setTimeout(setNotice, NOTICE, null);
    return () => clearTimeout(timer);
  }, [notice]);
  const notify = useCallback((text, options = {}) => setNotice({ text, ...options }), []);
  return [notice, notify];
}

// The staff may give somebody another name.
const useName = () => useSelf().name ?? page.name;

// Tell the others of this tab who is here, at which step, and whether anybody looks at it.
function useAppearance(step) {
  const [, update] = useMyMeta();
  const name = useName();
  useEffect(() => {
    const say = () => update({ name, step, away: document.hidden });
    document.addEventListener("visibilitychange", say);
    say();
    return () => document.removeEventListener("visibilitychange", say);
  }, [name, step, update]);
}

// What others say of themselves may be anything.
const nameOf = ([id, tabs]) => String(tabs.find(({ name }) => name)?.name ?? id).slice(0, 40);

function Others() {
  const others = useOthers((people) => Object.entries(people).map(nameOf).sort().join(", "));
  return others && h("p", { className: "status", id: "others" }, interpolate(gettext("Here too: %s"), [others]));
}

function Head() {
  const session = useSessionStoreManager();
  const status = useStatus();
  const name = useName();
  const pending = usePending();
  const [isDropped, setDropped] = useState(false);
  const [worker, setWorker] = useState("");
  const [reason, setReason] = useState("");
  useSessionStore("board"); // with it changes the rev
  // Where there are several, the one that serves this connection names itself.
  useSessionEvent("message", (message) => message.worker && setWorker(message.worker));
  useSessionEvent("end", (event) => setReason(event.reason));
  const rev = session.rev("me");
  const drop = () => {
    setDropped(!isDropped);
    if (isDropped) session.resume();
    else session.pause();
  };
  const isWaiting = pending > 0 && status !== "live";
  return h("header", { className: "bar" },
    h("span", { className: "avatar", "aria-hidden": true }, name.slice(0, 1).toUpperCase()),
    h("div", { className: "who" },
      h("h1", {}, name),
      h("p", { className: "status" },
        h("span", { className: "dot", "aria-hidden": true }),
        h("span", { id: "status", role: "status", title: session.message },
          (reason ? endWord(reason) : WORDS[status]) + (isWaiting ? ` · ${interpolate(gettext("%s waiting"), [pending])}` : "")),
        rev && h("code", { id: "rev", title: rev }, `rev ${counterOf(rev)}`),
        worker && status === "live" && h("code", { id: "worker" }, `worker ${worker}`)),
      h(Others)),
    h("button", { className: "button quiet", type: "button", disabled: status === "ended", onClick: drop },
      isDropped ? gettext("Reconnect") : gettext("Drop connection")));
}

function Steps({ current }) {
  const item = (title, index) => h("li", {
    key: index,
    "data-step": index + 1,
    "data-past": index + 1 < current ? "" : undefined,
    "aria-current": index + 1 === current ? "step" : undefined,
  }, h("span", { className: "number" }, index + 1), " ", title);
  return h("ol", { className: "steps", "aria-label": page.texts.steps }, page.steps.map(item));
}

function Finish({ isDone, isOpen, notify }) {
  const isEnded = useStatus() === "ended";
  const [finish] = useAction("board", "finish");
  const tell = () => finish().catch(({ message }) => notify(message));
  return h("button", {
    className: "button primary",
    id: "finish",
    type: "button",
    disabled: isDone || isOpen || isEnded,
    onClick: tell,
  }, isDone ? gettext("Done. Waiting for the others") : gettext("I’m done"));
}

function Slow() {
  const change = ({ target }) => {
    network.delay = target.checked ? 600 : 0;
  };
  return h("label", { className: "slow" },
    h("input", { type: "checkbox", id: "slow", autoComplete: "off", onChange: change }), " ", page.texts.slow);
}

function Board({ notify, say }) {
  const number = useSessionStore("agenda", (agenda) => agenda.step);
  const board = useSessionStore("board");
  const step = steps[number];
  const [run] = useAction("board", step.action);
  const [moving, setMoving] = useState([]); // cards whose move is not yet answered
  useAppearance(number);

  const shown = useRef(number);
  useEffect(() => {
    if (shown.current === number) return;
    shown.current = number;
    say(`${interpolate(gettext("Step %s:"), [number])} ${step.title} ${step.hint}`);
  }, [number, step, say]);

  async function put(card, to) {
    setMoving((cards) => [...cards, card]);
    await run({ card, [step.argument]: to }).catch(({ message }) => notify(message));
    setMoving((cards) => cards.filter((_, at) => at !== cards.indexOf(card)));
  }

  const [count, wanted] = [placed(step, board), step.wanted(board)];
  const [before, between, after] = gettext("%s of %s").split("%s");
  return h("main", {},
    h(Steps, { current: number }),
    h("div", { className: "task" },
      h("div", {}, h("h2", {}, step.title), h("p", { className: "hint" }, step.hint)),
      h("p", { className: "count" },
        before, h("strong", { id: "placed" }, count), between, h("span", { id: "wanted" }, wanted), after)),
    h(Table, { step, board, titles: page.cards, waiting: moving, put, say }),
    h("div", { className: "finish" },
      h(Finish, { isDone: board.done.includes(number), isOpen: count < wanted, notify }),
      h("p", { className: "hint" }, page.texts.keys),
      h(Slow),
      h("a", { className: "hint", href: page.board }, page.texts.board)));
}

// Without a state there is no board: of a session that ends before it came, for instance.
class Boundary extends React.Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  render() {
    const { error } = this.state;
    return error ? h("main", {}, h("p", { className: "hint" }, error.message)) : this.props.children;
  }
}

function Reload() {
  const reload = () => location.reload();
  return h(React.Fragment, {}, " ", h("button", { className: "button", type: "button", onClick: reload }, gettext("Reload the page")));
}

function App() {
  const status = useStatus();
  const [notice, notify] = useNotice();
  const [said, say] = useState("");
  // From the staff, in the admin.
  useSessionEvent("message", ({ announcement }) => announcement && notify(announcement, { stay: true }));
  useSessionEvent("reset", ({ message }) => notify(message, { stay: true }));
  useSessionEvent("error", ({ code, message }) => code === "limit_reached" && notify(message));
  useSessionEvent("end", ({ reason, message }) => {
    const text = reason === "ended" ? gettext("The workshop has ended. Thank you!") : message;
    notify(text, { stay: true, reload: mayReturn(reason) });
  });
  const waiting = h("p", { className: "hint" }, WORDS.connecting);
  return h("div", { className: "board", "data-status": status, "data-person": page.person },
    h(Boundary, {}, h(React.Suspense, { fallback: waiting }, h(Head), h(Board, { notify, say }))),
    h("p", { className: "notice", id: "notice", role: "alert", hidden: !notice }, notice?.text,
      notice?.reload && h(Reload)),
    h("p", { className: "visually-hidden", id: "announcer", "aria-live": "polite" }, said));
}

ReactDOM.createRoot(document.getElementById("root")).render(
  h(SessionStoreProvider, { source: "#sessionstores", options }, h(App)),
);
