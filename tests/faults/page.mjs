// A page with client.js in Node, for tests that lose what it sends and is sent.
//
// Takes the config as its argument. Each line that it reads is JSON: actions to dispatch at once, as
// [action, arguments]. It writes how many it has sent so far, first times and again, how many are
// unanswered, and what became of the others, in the order of their dispatch.
import { createInterface } from "node:readline";

const Socket = globalThis.WebSocket;
let sent = 0;

class CountingSocket extends Socket {
  constructor(url, protocol) {
    // As a browser does; Node takes options in the place of the protocols.
    super(url, { protocols: [protocol], headers: { origin: new URL(config.url).origin } });
  }

  send(text) {
    if (JSON.parse(text).type === "action") sent += 1;
    super.send(text);
    report();
  }
}

const [client, configText] = process.argv.slice(2);
const config = JSON.parse(configText);
const page = new EventTarget();
Object.assign(globalThis, {
  document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
  location: { href: config.url },
  addEventListener: page.addEventListener.bind(page),
  reportError: (error) => process.stderr.write(`${error.stack}\n`),
});
Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });

const { connect } = await import(client);
const outcomes = [];
const session = connect(config, { WebSocket: CountingSocket, storage: null });

function report() {
  process.stdout.write(`${JSON.stringify({ sent, pending: session?.pending, outcomes })}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  for (const [state, action, args] of JSON.parse(line)) {
    const place = outcomes.push(null) - 1;
    session
      .store(state)
      .dispatch(action, args)
      .then(
        () => (outcomes[place] = "resolved"),
        (error) => (outcomes[place] = error.code),
      )
      .then(report);
  }
  report();
}
process.exit(0);
