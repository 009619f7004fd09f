import { session } from "../../sessionstores/htmx.js";

session.on("presence", () => document.body.dispatchEvent(new CustomEvent("presence")));
session.on("status", (_, message) => {
  document.getElementById("status").textContent = message;
});
