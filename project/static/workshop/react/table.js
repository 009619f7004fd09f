// The table in React: zones with cards in them. A card is picked up and put down by tap, by key, or by dragging it.

import { draggable } from "../drag.js";
import { React, h } from "./hooks.js";

const { useEffect, useLayoutEffect, useRef, useState } = React;

const keyOf = (zone) => zone.key ?? "pool";

function Card({ id, title, isPicked, isAside, isWaiting, pick, drag }) {
  const node = useRef();
  const latest = useRef();
  useEffect(() => {
    latest.current = drag;
  });
  useEffect(() => {
    draggable(node.current, {
      start: () => latest.current.start(id),
      over: (x, y) => latest.current.over(x, y),
      drop: (x, y) => latest.current.drop(id, x, y),
    });
  }, [id]);
  return h("li", {}, h("button", {
    ref: node,
    type: "button",
    className: "card",
    "data-card": id,
    "data-waiting": isWaiting ? "" : undefined,
    "aria-pressed": isPicked,
    tabIndex: isAside ? -1 : 0, // while a card is picked, the next stop of Tab is a place to put it
    onClick: () => pick(isPicked ? null : id),
  }, title));
}

function Zone({ zone, number, ids, isTarget, canTake, take, children }) {
  const label = number ? gettext("Put into %s") : gettext("Put back: %s");
  return h("section", { className: "zone", "data-zone": keyOf(zone), "data-target": isTarget ? "" : undefined },
    h("h3", {},
      number > 0 && h("kbd", { "aria-hidden": true }, number),
      h("span", {}, zone.title),
      h("span", { className: "number" }, ids.length)),
    zone.note && h("p", { className: "note" }, zone.note),
    h("ul", { "data-none": zone.none ?? "" }, children),
    h("button", {
      type: "button",
      className: "put",
      hidden: !canTake,
      "aria-label": interpolate(label, [zone.title]),
      onClick: take,
    }, h("span", {}, gettext("Put here"))));
}

// After a change, let the card `asked` have the focus, or else the one that had it and has moved to another zone.
function useFocus(root) {
  const asked = useRef(null);
  const had = useRef(null);
  useLayoutEffect(() => {
    const isLost = document.activeElement === document.body;
    const id = asked.current ?? (isLost ? had.current : null);
    asked.current = null;
    if (id) root.current.querySelector(`[data-card="${id}"]`)?.focus({ preventScroll: true });
  });
  const listeners = {
    onFocus: ({ target }) => (had.current = target.dataset.card ?? null),
    onBlur: () => (had.current = null),
  };
  return [asked, listeners];
}

// `put(card, to)` is called when a card shall go somewhere, `say(text)` when a screen reader should know.
export function Table({ step, board, titles, waiting, put, say }) {
  const [picked, setPicked] = useState(null);
  const [target, setTarget] = useState(null); // the zone under a card that is dragged
  const root = useRef();
  const [asked, listeners] = useFocus(root);

  const zones = [step.pool, ...step.zones];
  const layout = step.layout(board);
  const homeOf = (id) => layout.findIndex((ids) => ids.includes(id));
  const held = homeOf(picked) < 0 ? null : picked; // the next step may be without it

  function pick(id) {
    setPicked(id);
    if (!id) return say(gettext("Put down."));
    const places = step.zones.map(({ title }, index) => `${index + 1} ${title}`);
    say(interpolate(gettext("%s picked up. %s, 0 back, Escape to leave it."), [titles[id], places.join(", ")]));
  }

  function place(id, number) {
    const beside = layout[homeOf(id)];
    const at = beside.indexOf(id);
    asked.current = beside[at + 1] ?? beside[at - 1] ?? id;
    setPicked(null);
    put(id, zones[number].to ?? null);
    const left = layout[0].filter((other) => other !== id).length + (number ? 0 : 1);
    say(interpolate(gettext("%s: %s. %s left."), [titles[id], zones[number].title, left]));
  }

  const zoneAt = (x, y) => {
    const key = document.elementFromPoint(x, y)?.closest("[data-zone]")?.dataset.zone;
    return zones.findIndex((zone) => keyOf(zone) === key);
  };
  const drag = {
    start: setPicked,
    over: (x, y) => setTarget(zoneAt(x, y)),
    drop(id, x, y) {
      const [number, home] = [zoneAt(x, y), homeOf(id)];
      setTarget(null);
      // The step it was taken up in may be over.
      if (number >= 0 && home >= 0 && number !== home) place(id, number);
      else pick(null);
    },
  };

  function press(event) {
    const id = event.target.dataset.card ?? held;
    if (!id || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = /^\d$/.test(event.key) ? Number(event.key) : -1;
    if (event.key === "Escape" && held) {
      asked.current = held;
      pick(null);
    } else if (zones[number] && number !== homeOf(id)) {
      event.preventDefault();
      place(id, number);
    }
  }

  const card = (id) => h(Card, {
    key: id,
    id,
    title: titles[id],
    isPicked: id === held,
    isAside: held !== null && id !== held,
    isWaiting: waiting.includes(id),
    pick,
    drag,
  });
  const [pool, ...targets] = zones.map((zone, number) => h(Zone, {
    key: `${step.action}-${keyOf(zone)}`,
    zone,
    number,
    ids: layout[number],
    isTarget: number === target,
    canTake: held !== null && number !== homeOf(held),
    take: () => place(held, number),
  }, layout[number].map(card)));
  return h("div", {
    ref: root,
    id: "table",
    className: "table",
    "data-action": step.action,
    "data-picking": held ? "" : undefined,
    onKeyDown: press,
    ...listeners,
  }, pool, h("div", { className: "targets" }, targets));
}
