// The table: zones with cards in them. A card is picked up and put down by tap, by key, or by dragging it.

import { draggable } from "./drag.js";

const element = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// Let the cards glide from where they were before `change` to where they are after it.
function glide(cards, change) {
  const before = new Map(cards.map((card) => [card, card.isConnected && card.getBoundingClientRect()]));
  change();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const [card, old] of before) {
    if (!old || !card.isConnected) continue;
    const now = card.getBoundingClientRect();
    const [x, y] = [old.x - now.x, old.y - now.y];
    if (!x && !y) continue;
    card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], {
      duration: 240,
      easing: "cubic-bezier(.2, .8, .2, 1)",
    });
  }
}

// Make `wanted` the children of `list`. What can stay is not touched: a node that is taken out, even for a moment, loses
// the focus, and the click of a button that is pressed just then.
function arrange(list, wanted) {
  for (const node of [...list.children]) if (!wanted.includes(node)) node.remove();
  wanted.forEach((node, at) => {
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
  });
}

// `put(card, zone)` is called when a card shall go somewhere, `say(text)` when a screen reader should know.
export function createTable(root, titles, put, say) {
  const cards = new Map(Object.keys(titles).map((id) => [id, createCard(id)]));
  const nodes = [...cards.values()];
  let step;
  let zones = []; // the pool first
  let picked = null;

  function createCard(id) {
    const button = element("button", { type: "button", className: "card", textContent: titles[id] });
    button.dataset.card = id;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => pick(picked === id ? null : id));
    draggable(button, {
      start: () => pick(id, { silently: true }),
      over: (x, y) => mark(zoneAt(x, y)),
      drop: (x, y) => {
        const [zone, home] = [zoneAt(x, y), zoneOf(id)];
        mark();
        // The step it was taken up in may be over.
        if (zone && home && zone !== home) place(id, zone);
        else pick(null);
      },
    });
    return element("li", {}, button);
  }

  function createZone({ key, title, note, none = "", to = null }, number) {
    const list = element("ul", {});
    const count = element("span", { className: "number" });
    const here = element("button", { type: "button", className: "put", hidden: true });
    here.append(element("span", { textContent: gettext("Put here") }));
    here.setAttribute("aria-label", interpolate(number ? gettext("Put into %s") : gettext("Put back: %s"), [title]));
    here.addEventListener("click", () => place(picked, zone));
    const heading = element("h3", {});
    if (number) heading.append(element("kbd", { textContent: number, ariaHidden: "true" }));
    heading.append(element("span", { textContent: title }), count);
    const node = element("section", { className: "zone" }, heading, list, here);
    if (note) heading.after(element("p", { className: "note", textContent: note }));
    node.dataset.zone = key ?? "pool";
    list.dataset.none = none;
    const zone = { node, list, count, here, title, to };
    return zone;
  }

  const zoneOf = (id) => zones.find(({ list }) => list.contains(cards.get(id)));
  const zoneAt = (x, y) => {
    const section = document.elementFromPoint(x, y)?.closest(".zone");
    return zones.find(({ node }) => node === section);
  };
  const mark = (target) => {
    for (const zone of zones) zone.node.toggleAttribute("data-target", zone === target);
  };

  function pick(id, { silently = false } = {}) {
    picked = id;
    const home = id && zoneOf(id);
    root.toggleAttribute("data-picking", Boolean(id));
    for (const zone of zones) zone.here.hidden = !id || zone === home;
    for (const [other, node] of cards) {
      const button = node.firstChild;
      button.setAttribute("aria-pressed", String(other === id));
      button.tabIndex = id && other !== id ? -1 : 0; // the next stop of Tab is a place to put it
    }
    if (silently) return;
    if (!id) return say(gettext("Put down."));
    const places = zones.slice(1).map(({ title }, index) => `${index + 1} ${title}`);
    say(interpolate(gettext("%s picked up. %s, 0 back, Escape to leave it."), [titles[id], places.join(", ")]));
  }

  function place(id, zone) {
    const node = cards.get(id);
    const next = node.nextElementSibling ?? node.previousElementSibling;
    pick(null, { silently: true });
    put(id, zone.to);
    (next ?? node).firstChild.focus({ preventScroll: true });
    say(interpolate(gettext("%s: %s. %s left."), [titles[id], zone.title, zones[0].list.childElementCount]));
  }

  root.addEventListener("keydown", (event) => {
    const id = event.target.dataset.card ?? picked;
    if (!id || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && picked) {
      cards.get(picked).firstChild.focus();
      pick(null);
    } else if (/^\d$/.test(event.key) && zones[event.key] && zones[event.key] !== zoneOf(id)) {
      event.preventDefault();
      place(id, zones[event.key]);
    }
  });

  function build(next) {
    step = next;
    zones = [step.pool, ...step.zones].map(createZone);
    const targets = element("div", { className: "targets" }, ...zones.slice(1).map(({ node }) => node));
    root.dataset.action = step.action;
    root.replaceChildren(zones[0].node, targets);
  }

  // Show `board` in `next`, a step; cards in `waiting` have moves that the server has not confirmed.
  return function draw(next, board, waiting) {
    const focused = document.activeElement;
    glide(nodes, () => {
      if (next !== step) build(next);
      step.layout(board).forEach((ids, index) => {
        const { list, count } = zones[index];
        arrange(list, ids.map((id) => cards.get(id)));
        count.textContent = ids.length;
      });
      for (const [id, node] of cards) node.firstChild.toggleAttribute("data-waiting", waiting.has(id));
      if (picked) {
        if (zoneOf(picked)) pick(picked, { silently: true });
        else pick(null, { silently: true });
      }
    });
    if (root.contains(focused) && focused !== document.activeElement) focused.focus({ preventScroll: true });
  };
}
