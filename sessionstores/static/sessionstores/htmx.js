// Connects a page with htmx: at each change of a state, <body> gets the event `sessionstores:<state>`.
//
// <div hx-get="/board/" hx-trigger="sessionstores:board from:body"> is then fetched anew.

import { connect } from "./client.js";

export const session = connect("#sessionstores");

const { states } = JSON.parse(document.querySelector("#sessionstores").textContent);

for (const name in states) {
  session.store(name).subscribe((state, previous) => {
    const detail = { state, previous };
    document.body.dispatchEvent(new CustomEvent(`sessionstores:${name}`, { detail }));
  });
}
