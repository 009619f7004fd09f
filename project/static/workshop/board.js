// A participant's board: what is on it comes from the store, what is done with it goes there.

import { connect } from "../sessionstores/client.js";
import { slowed } from "../sessionstores/debug.js";
import { appear } from "./here.js";
import { mayReturn, showStatus, showStep } from "./status.js";
import { placed, predictors, steps } from "./steps.js";
import { createTable } from "./table.js";

const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("page").textContent);
const shared = page.store !== "board";

const network = {};
// Frames of one window have one sessionStorage: a participant's second frame keeps its hands off it.
const session = connect("#sessionstores", {
  predict: { [page.store]: predictors },
  WebSocket: slowed(network),
  ...(shared && { storage: null }),
});
const board = session.store(page.store);
const agenda = session.store("agenda");
const drawStatus = showStatus(session, shared ? "session" : "me");
appear(session, page.name);
const drawTable = createTable(byId("table"), page.cards, put, say);
const moving = []; // cards whose move is not yet answered
let notices = 0;
let shownStep;

function say(text) {
  byId("announcer").textContent = text;
}

async function notify(text, { stay = false, reload = false } = {}) {
  const mine = ++notices;
  Object.assign(byId("notice"), { textContent: text, hidden: false });
  if (reload) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "button" });
    button.textContent = gettext("Reload the page");
    button.addEventListener("click", () => location.reload());
    byId("notice").append(" ", button);
  }
  if (stay) return;
  await new Promise((resolve) => setTimeout(resolve, 5000));
  if (mine === notices) byId("notice").hidden = true;
}

function draw() {
  if (!board.getState() || !agenda.getState()) return; // the first snapshot is still to come
  const { step: number } = agenda.getState();
  const step = steps[number];
  const seen = board.getState();
  const [count, wanted] = [placed(step, seen), step.wanted(seen)];
  const done = seen.done.includes(number);
  drawTable(step, seen, new Set(moving));
  showStep(number);
  byId("task").textContent = step.title;
  byId("hint").textContent = step.hint;
  byId("placed").textContent = count;
  byId("wanted").textContent = wanted;
  byId("finish").disabled = done || count < wanted || session.status === "ended";
  byId("finish").textContent = done ? gettext("Done. Waiting for the others") : gettext("I’m done");
  // For the staff, who see it in the admin.
  if (shownStep !== number) session.setMeta({ step: number });
  if (shownStep && shownStep !== number) say(`${interpolate(gettext("Step %s:"), [number])} ${step.title} ${step.hint}`);
  shownStep = number;
  drawStatus();
}

async function put(card, to) {
  const step = steps[agenda.getState().step];
  moving.push(card);
  try {
    await board.dispatch(step.action, { card, [step.argument]: to });
  } catch (error) {
    notify(error.message);
  }
  moving.splice(moving.indexOf(card), 1);
  draw();
}

byId("finish").addEventListener("click", () => {
  board.dispatch("finish").catch((error) => notify(error.message));
});

let dropped = false;
byId("drop").addEventListener("click", ({ currentTarget: button }) => {
  dropped = !dropped;
  if (dropped) session.pause();
  else session.resume();
  button.textContent = dropped ? gettext("Reconnect") : gettext("Drop connection");
});

byId("slow").addEventListener("change", ({ currentTarget: box }) => {
  network.delay = box.checked ? Number(box.value) : 0;
});

board.subscribe(draw);
agenda.subscribe(draw);
// From the staff, in the admin.
session.on("message", ({ announcement }) => announcement && notify(announcement, { stay: true }));
session.on("reset", ({ message }) => notify(message, { stay: true }));
session.on("self", ({ name }) => {
  byId("name").textContent = name ?? page.name;
  byId("avatar").textContent = byId("name").textContent.slice(0, 1).toUpperCase();
});
session.on("error", ({ code, message }) => code === "limit_reached" && notify(message));
session.on("end", ({ reason, message }) => {
  byId("drop").disabled = true;
  const text = reason === "ended" ? gettext("The workshop has ended. Thank you!") : message;
  notify(text, { stay: true, reload: mayReturn(reason) });
  draw();
});
draw();
