// Who is here: each tab says a name and whether anybody looks at it, and all are told of all.

// Call once the name is known; what is said goes with the tab. The staff may give them another name.
export function appear(session, name) {
  const say = () => session.setMeta({ name: session.self.name ?? name, away: document.hidden });
  document.addEventListener("visibilitychange", say);
  session.on("self", say);
  say();
}

const element = (tag, className, ...children) => {
  const node = Object.assign(document.createElement(tag), { className });
  node.append(...children);
  return node;
};

// What others say of themselves may be anything.
const nameOf = (id, tabs) => String(tabs.find(({ name }) => name)?.name ?? id).slice(0, 40);

function row([id, tabs]) {
  const name = nameOf(id, tabs);
  const isAway = tabs.every(({ away }) => away === true);
  const avatar = element("span", "avatar", name.slice(0, 1).toUpperCase());
  avatar.ariaHidden = "true";
  const state = isAway ? gettext("Away") : gettext("Online");
  const words = tabs.length > 1 ? `${state} · ${interpolate(gettext("%s tabs"), [tabs.length])}` : state;
  const node = element("li", "", avatar, element("span", "name", name), element("span", "figure", words));
  node.dataset.person = id;
  node.toggleAttribute("data-away", isAway);
  return node;
}

// `list` shows everybody but the one who looks at it.
export function showPresence(session, list) {
  const nobody = list.firstElementChild;

  function draw() {
    const others = Object.entries(session.presence).filter(([id]) => id !== session.participant);
    others.sort((a, b) => nameOf(...a).localeCompare(nameOf(...b)));
    list.replaceChildren(...(others.length ? others.map(row) : [nobody]));
  }

  session.on("presence", draw);
  draw();
}
