// A tab in Node.js: the real client.js on a real socket, told by stdin what to do, step by step.
import { readFileSync } from "node:fs";

const { client, config, steps } = JSON.parse(readFileSync(0, "utf8"));
const page = new EventTarget();
const globals = {
  document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
  navigator: { onLine: true },
  location: { href: config.url },
  addEventListener: page.addEventListener.bind(page),
};
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

let raw;
class Socket extends WebSocket {
  constructor(...given) {
    super(...given);
    raw = this;
  }
}

const { connect } = await import(client);
const session = connect(config, { WebSocket: Socket, storage: null });
const board = session.store("board");
const errors = [];
session.on("error", (error) => errors.push(error));
session.on("end", (event) => errors.push(event));
await new Promise((resolve) => session.on("status", (now) => now === "live" && resolve()));

const nested = (levels) => (levels ? [nested(levels - 1)] : 0);
const broken = {
  surrogate: "a\ud800b",
  huge: 2 ** 60,
  deep: nested(40),
  large: "é".repeat(40_000),
};
const dispatched = [];
const thrown = [];
for (const [kind, value] of steps) {
  if (kind === "dispatch") dispatched.push(board.dispatch("note", { text: value }));
  else if (kind === "broken") dispatched.push(board.dispatch("note", { text: broken[value] }));
  else if (kind === "nameless") dispatched.push(board.dispatch("n".repeat(200)));
  else if (kind === "raw") raw.send(value);
  else if (kind === "meta") {
    try {
      session.setMeta({ name: broken[value] ?? value });
    } catch (error) {
      thrown.push(error.name);
    }
  }
}
const settled = await Promise.allSettled(dispatched);
// Answers come in order: with this one, those to the raw frames have come too.
await board.dispatch("note", { text: "the end" });
const outcomes = settled.map(({ status, reason }) => reason?.code ?? status);
console.log(
  JSON.stringify({ outcomes, errors, thrown, pending: session.pending, status: session.status }),
);
session.leave();
