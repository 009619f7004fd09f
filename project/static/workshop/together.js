// The facilitator's panel, beside the boards of two participants.

import { connect } from "../sessionstores/client.js";
import { showPresence } from "./here.js";
import { showProgress } from "./progress.js";
import { showStatus, showStep } from "./status.js";

const LAST_STEP = 3;
const byId = (id) => document.getElementById(id);

const session = connect("#sessionstores");
const agenda = session.store("agenda");
const drawStatus = showStatus(session, "session");
showPresence(session, byId("here"));
const drawProgress = showProgress(session, byId("progress"));

function draw() {
  if (!agenda.getState()) return; // the first snapshot is still to come
  const { step } = agenda.getState();
  const over = session.status === "ended";
  showStep(step);
  drawProgress(step);
  byId("back").disabled = over || step === 1;
  byId("advance").disabled = over || step === LAST_STEP;
  drawStatus();
}

for (const action of ["advance", "back"]) {
  byId(action).addEventListener("click", async ({ currentTarget: button }) => {
    await agenda.dispatch(action).catch((error) => byId("status").replaceChildren(error.message));
    if (button.disabled) byId(action === "back" ? "advance" : "back").focus();
  });
}

byId("restart").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  await fetch(form.action, { method: "POST", body: new FormData(form, event.submitter) });
});

byId("shared").addEventListener("click", ({ currentTarget: button }) => {
  const row = document.querySelector(".row.bleeding");
  button.setAttribute("aria-checked", String(!row));
  if (row) return row.remove();
  document.querySelector("main").append(byId("shared-row").content.cloneNode(true));
  document.querySelector(".row.bleeding").scrollIntoView({ behavior: "smooth", block: "nearest" });
});

agenda.subscribe(draw);
session.on("status", draw);
session.on("end", draw);
draw();
