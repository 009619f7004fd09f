// The processes behind the page, and the buttons that break something for real.

import { keepFresh } from "./poll.js";

const byId = (id) => document.getElementById(id);
const refresh = keepFresh(byId("workers"), byId("workers-stale"));

for (const id of ["kill", "flush"]) {
  byId(id)?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { currentTarget: form, submitter } = event;
    // The worker that is asked may be the one that is killed: then nobody answers.
    const body = new FormData(form, submitter);
    const response = await fetch(form.action, { method: "POST", body }).catch(() => null);
    const refused = response && !response.ok;
    byId("said").textContent = refused ? gettext("The server refused.") : submitter.dataset.said;
    refresh();
  });
}
