// A tab in Node.js: the real client.js on a real socket, which acts without a pause until it ends.
// Writes a line when it is live, and one when it has ended: why, and what became of its actions.
const [client, configText] = process.argv.slice(2);
const config = JSON.parse(configText);
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

let opened = 0;
let code = null;
class Socket extends WebSocket {
  constructor(...given) {
    super(...given);
    opened += 1;
    this.addEventListener("close", (event) => (code = event.code));
  }
}

const { connect } = await import(client);
const session = connect(config, { WebSocket: Socket, storage: null });
const ends = [];
const over = new Promise((resolve) =>
  session.on("end", (event) => {
    ends.push(event);
    resolve();
  }),
);
session.on("status", (now) => now === "live" && console.log(JSON.stringify({ live: true })));

const outcomes = {};
const count = (outcome) => (outcomes[outcome] = (outcomes[outcome] ?? 0) + 1);
const board = session.store("board");
while (!ends.length) {
  const answer = board.dispatch("note", { text: "still here" }).then(
    () => "done",
    (error) => error.code,
  );
  // One that waits for its answer when the tab ends is refused, not left open.
  count(await answer);
}
await over;
count(
  await board.dispatch("note", { text: "again" }).then(
    () => "done",
    (error) => error.code,
  ),
);
const { status, pending } = session;
console.log(JSON.stringify({ ends, outcomes, opened, code, status, pending }));
process.exit(0);
