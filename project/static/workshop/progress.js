// Everybody's progress, as it changes: the facilitator's tab watches every board.

import { placed, steps } from "./steps.js";

const element = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

const fill = (text, values) => interpolate(text, values, true);

function row({ id, name, count, wanted, isDone }) {
  const values = { name, placed: count, wanted };
  const avatar = element("span", { className: "avatar", ariaHidden: "true" }, name.slice(0, 1).toUpperCase());
  const figure = isDone
    ? element("span", { className: "done" }, gettext("Done"))
    : fill(gettext("%(placed)s of %(wanted)s"), values);
  const bar = element("progress", { value: count, max: wanted || 1 });
  bar.ariaLabel = fill(gettext("%(name)s: %(placed)s of %(wanted)s cards"), values);
  const button = element("button", { className: "link", name: "participant", value: id }, gettext("Start over"));
  button.setAttribute("form", "restart");
  button.ariaLabel = fill(gettext("Start %(name)s over"), values);
  const node = element(
    "li",
    {},
    avatar,
    element("span", { className: "name" }, name),
    element("span", { className: "figure" }, figure),
    bar,
    button,
  );
  node.dataset.person = id;
  return node;
}

function summary(people, step) {
  const done = people.filter(({ isDone }) => isDone).length;
  const [number, rest] = [String(done), { all: people.length, step }];
  const text = fill(gettext("%(done)s of %(all)s done with step %(step)s"), { done: "\0", ...rest });
  const [before, after] = text.split("\0");
  return element("p", { className: "summary" }, before, element("strong", {}, number), after);
}

// Returns a function that draws everybody's progress in a step.
export function showProgress(session, target) {
  const everybody = session.participants();
  let number;

  function draw() {
    const { status, people } = everybody.getState();
    if (!number || status !== "watching") return; // until then, what the page brought along
    const found = Object.values(people)
      .filter(({ states }) => states.board)
      .map(({ id, states: { board } }) => ({
        id,
        name: board.name || id,
        count: placed(steps[number], board),
        wanted: steps[number].wanted(board),
        isDone: board.done.includes(number),
      }))
      .sort((a, b) => a.name.localeCompare(b.name));
    const nobody = element("li", { className: "nobody" }, gettext("Nobody is here yet."));
    const list = element("ul", { className: "standings" }, ...(found.length ? found.map(row) : [nobody]));
    // Whoever stands on a button must not be thrown off it by somebody's progress.
    const focused = target.contains(document.activeElement) && document.activeElement.value;
    target.replaceChildren(summary(found, number), list);
    if (focused) target.querySelector(`button[value="${CSS.escape(focused)}"]`)?.focus();
  }

  everybody.subscribe(draw);
  return (step) => {
    number = step;
    draw();
  };
}
