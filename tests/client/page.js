// A page for client.js to live in: the few browser globals it touches, a scripted server, a clock.
import { mock } from "node:test";

import { connect } from "../../sessionstores/static/sessionstores/client.js";

export class FakeSocket {
  sent = [];
  closed = false;

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    FakeSocket.all.push(this);
  }

  send(text) {
    if (!this.opened || this.closed) throw new Error("The socket is not open.");
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  // From here on, what the server and the network do.
  open() {
    this.opened = true;
    this.onopen();
  }

  says(...frames) {
    for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
  }

  breaks(code = 1006, reason = "") {
    this.closed = true;
    this.onclose({ code, reason });
  }

  of(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

export class FakeStorage extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    this.set(key, value);
  }
  removeItem(key) {
    this.delete(key);
  }
}

export const rev = (counter, tail = counter, incarnation = "7f3a") =>
  `${incarnation}.${counter}-${String(tail).padStart(8, "0")}`;

export const WELCOME = {
  type: "welcome",
  session: "K7Q2ZD",
  participant: "alice",
  role: "participant",
  ping: 10,
  limits: { rate: null, frame: 65536 },
};

export const CONFIG = {
  url: "/ws/sessionstores/",
  token: "first",
  session: "K7Q2ZD",
  participant: "alice",
  role: "participant",
  states: { board: "me", notes: "me", agenda: "session" },
  lang: "de",
  messages: {
    expired: "Nicht gesendet.",
    outcome_unknown: "Vielleicht geschehen.",
    too_large: "Zu groß.",
    error: "Fehler.",
    offline: "Offline.",
    connecting: "Noch nicht verbunden.",
    reconnecting: "Verbindung verloren.",
    reset: "Zurückgesetzt.",
    ended: "Vorbei.",
    kicked: "Entfernt.",
    left: "Gegangen.",
    closed: "Nicht mehr verbunden.",
  },
};

export const snapshot = (counter, states, more) => ({
  type: "snapshot",
  doc: "me",
  rev: rev(counter),
  states,
  reset: false,
  ...more,
});

// Adds the number `to` to the log of the board, so that a state tells which patches made it.
export const patch = (from, to = from + 1, more = {}) => ({
  type: "patch",
  doc: "me",
  base: rev(from),
  rev: rev(to),
  ops: [{ op: "add", path: "/board/log/-", value: to }],
  ...more,
});

export const ack = (id, from, to = from + 1, more = {}) => ({
  ...patch(from, to),
  type: "ack",
  id,
  result: null,
  ...more,
});

// Of an action that was committed with those of others: the patch to `to` follows for all tabs.
export const groupAck = (id, to, more = {}) => ({
  type: "ack",
  id,
  doc: "me",
  rev: rev(to),
  result: null,
  ...more,
});

// One test's page. Nothing here is kept between tests.
export class Page {
  constructor() {
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_700_000_000_000 });
    FakeSocket.all = [];
    this.reported = [];
    this.storage = new FakeStorage();
    const target = new EventTarget();
    this.document = Object.assign(new EventTarget(), {
      visibilityState: "visible",
      querySelector: () => null,
    });
    this.navigator = { onLine: true };
    this.elapsed = 0;
    const globals = {
      document: this.document,
      performance: { now: () => this.elapsed },
      navigator: this.navigator,
      location: { href: "https://example.org/workshop/" },
      addEventListener: target.addEventListener.bind(target),
      removeEventListener: target.removeEventListener.bind(target),
      reportError: (error) => this.reported.push(error),
      WebSocket: FakeSocket,
      sessionStorage: this.storage,
    };
    for (const [name, value] of Object.entries(globals)) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
    this.window = target;
    this.random = mock.method(Math, "random", () => 0.5);
  }

  leave() {
    mock.timers.reset();
    mock.reset();
  }

  get socket() {
    return FakeSocket.all.at(-1);
  }

  get sockets() {
    return FakeSocket.all;
  }

  // In small steps: the mock runs timers that a timer starts only in a later step.
  tick(ms) {
    for (; ms > 0; ms -= 10) {
      this.elapsed += Math.min(ms, 10);
      mock.timers.tick(Math.min(ms, 10));
    }
  }

  // Somebody sets the wall clock, of which timers know nothing.
  shiftClock(ms) {
    const { now } = Date;
    Date.now = () => now() + ms;
  }

  // What the browser fetches, until the test ends.
  fetch(answer) {
    mock.method(globalThis, "fetch", async (...request) => answer(...request));
  }

  connect(config = {}, options = {}) {
    this.session = connect({ ...CONFIG, ...config }, options);
    return this.session;
  }

  // The server's half of a successful connection.
  welcome(more = {}) {
    this.socket.open();
    this.socket.says({ ...WELCOME, client: this.socket.sent[0].client, ...more });
    return this.socket;
  }

  // Connected, with the board at rev 10.
  live(states = { board: { log: [] } }, options = {}) {
    this.connect({}, options);
    this.welcome().says(snapshot(10, states));
    return this.session;
  }

  show(visibilityState) {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  network(onLine) {
    this.navigator.onLine = onLine;
    this.window.dispatchEvent(new Event(onLine ? "online" : "offline"));
  }

  happens(type, more) {
    this.window.dispatchEvent(Object.assign(new Event(type), more));
  }
}

// Lets promises and the outbox's writer have their turn.
export const turn = () => new Promise(setImmediate);

export const failure = (promise) =>
  promise.then(
    () => {
      throw new Error("It was expected to fail.");
    },
    (error) => error,
  );
