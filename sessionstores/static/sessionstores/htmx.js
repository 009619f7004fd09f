// Connects a page with htmx: at each change of a state, and when a lost connection is back, <body>
// gets the event `sessionstores:<state>`.
//
// <div hx-get="/board/" hx-trigger="sessionstores:board from:body"> is then fetched anew.

import { connect } from "./client.js";

export const session = connect("#sessionstores");

const { states } = JSON.parse(document.querySelector("#sessionstores").textContent);

const fire = (name, state, previous) => {
  const detail = { state, previous };
  document.body.dispatchEvent(new CustomEvent(`sessionstores:${name}`, { detail }));
};

for (const name in states) {
  const store = session.store(name);
  store.subscribe((state, previous) => fire(name, state, previous));
  // A fetch may have been lost with the line, and no change need come after it.
  let wasLive = false;
  session.on("status", (status) => {
    if (status !== "live") return;
    const state = store.getState();
    if (wasLive && state) fire(name, state, state);
    wasLive = true;
  });
}
