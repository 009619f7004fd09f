// A panel for developers: frames, revs, what is pending, and what is predicted beside what is confirmed.

const KEPT = 200; // frames
const SHOWN = 400; // characters of each
const DELAYS = [0, 300, 1000]; // ms there and back

const STYLE = `
  :host { position: fixed; z-index: 2147483000; inset: auto 0 0 auto; inline-size: min(34rem, 100vw); max-block-size: 60vh;
    display: flex; flex-direction: column; overflow: hidden; border: 1px solid #6b7280; border-radius: 8px 0 0 0;
    background: #111827; color: #e5e7eb; font: 12px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
  header { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; padding: 6px 8px; background: #1f2937; }
  header output { flex: 1; }
  button, select { padding: 2px 8px; border: 1px solid #9ca3af; border-radius: 4px; background: none; color: inherit; font: inherit; }
  option { color: #111827; }
  :focus-visible { outline: 2px solid #93c5fd; outline-offset: 1px; }
  main { overflow: auto; padding: 4px 8px; }
  pre { margin: 2px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
  .out { color: #93c5fd; } .differs { color: #fcd34d; } h2 { margin: 6px 0 2px; font: inherit; color: #9ca3af; }
`;

const element = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// A WebSocket whose frames take `network.delay / 2` ms each way, none overtaking another; `network.heard`
// hears each of them: "out" or "in", and its text.
export const slowed = (network, Socket = WebSocket) =>
  class SlowSocket extends Socket {
    #sends = 0; // when the last one is through
    #arrives = 0;

    send(text) {
      network.heard?.("out", text);
      this.#sends = this.#later(this.#sends, () => this.readyState === 1 && super.send(text));
    }

    get onmessage() {
      return super.onmessage;
    }

    set onmessage(listener) {
      super.onmessage = (event) => {
        this.#arrives = this.#later(this.#arrives, () => {
          network.heard?.("in", event.data);
          listener(event);
        });
      };
    }

    #later(last, pass) {
      const now = performance.now();
      const due = Math.max(last, now + (network.delay ?? 0) / 2);
      if (due <= now) pass();
      else setTimeout(pass, due - now);
      return due;
    }
  };

// What the panel shows, and nothing else of the page.
class DebugPanel {
  #session;
  #states;
  #network;
  #frames = [];
  #isDropped = false;
  #frame;
  #root = element("div", { id: "sessionstores-debug" });
  #line = element("output", { role: "status" });
  #documents = element("div", {});
  #log = element("div", {});

  constructor(states, network) {
    this.#states = states;
    this.#network = network;
    network.heard = (way, text) => this.#hear(way, String(text));
    const shadow = this.#root.attachShadow({ mode: "open" });
    // No inline style, which a strict Content-Security-Policy would refuse.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    shadow.adoptedStyleSheets = [sheet];
    shadow.append(this.#header(), element("main", {}, this.#documents, this.#log));
  }

  // Takes the place of the one before: what is closed is of no use, and hot reload opens many.
  show(session) {
    if (this.#session) return;
    this.#session = session;
    document.getElementById(this.#root.id)?.remove();
    for (const type of ["status", "pending", "presence", "reset", "error"]) session.on(type, () => this.#draw());
    for (const name of Object.keys(this.#states)) session.store(name).subscribe(() => this.#draw());
    document.body.append(this.#root);
    this.#draw();
  }

  #header() {
    const drop = element("button", { type: "button", onclick: () => this.#drop(drop) }, "Drop");
    const delay = element("select", { ariaLabel: "Delay there and back" });
    for (const ms of DELAYS) delay.append(element("option", { value: ms }, `${ms} ms`));
    delay.onchange = () => (this.#network.delay = Number(delay.value));
    const clear = element("button", { type: "button" }, "Clear");
    clear.onclick = () => {
      this.#frames = [];
      this.#draw();
    };
    const close = element("button", { type: "button", onclick: () => this.#root.remove() }, "Close");
    return element("header", {}, this.#line, drop, delay, clear, close);
  }

  #drop(button) {
    this.#isDropped = !this.#isDropped;
    if (this.#isDropped) this.#session.pause();
    else this.#session.resume();
    button.textContent = this.#isDropped ? "Reconnect" : "Drop";
  }

  #hear(way, text) {
    // A token lets whoever has it in; it is not for a screen that others may see.
    const shown = text.replace(/("token":")[^"]+/, "$1…");
    this.#frames.push({ way, text: shown, at: new Date().toISOString().slice(11, 23) });
    if (this.#frames.length > KEPT) this.#frames.shift();
    this.#draw();
  }

  // Once for all that happens in one frame of the screen.
  #draw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      if (this.#session) this.#render();
    });
  }

  #render() {
    const { status, pending } = this.#session;
    this.#line.textContent = `${status} · ${pending} pending`;
    const parts = [];
    for (const [name, doc] of Object.entries(this.#states)) {
      const store = this.#session.store(name);
      const [shown, confirmed] = [store.getState(), store.getConfirmedState()];
      parts.push(element("h2", {}, `${name} · ${doc} ${this.#session.rev(doc) ?? "—"}`));
      parts.push(element("pre", {}, JSON.stringify(shown)));
      if (shown === confirmed) continue;
      parts.push(element("pre", { className: "differs" }, `confirmed: ${JSON.stringify(confirmed)}`));
    }
    this.#documents.replaceChildren(...parts);
    const lines = this.#frames.map(({ way, text, at }) =>
      element("pre", { className: way }, `${at} ${way === "out" ? "→" : "←"} ${text.slice(0, SHOWN)}`),
    );
    this.#log.replaceChildren(element("h2", {}, "frames, newest first"), ...lines.reverse());
  }
}

// Shows states, as they change, in the browser's Redux DevTools, if they are installed. To read only: what
// a state is, the server decides. Returns a function that ends it.
export function devtools(session, names, extension = globalThis.__REDUX_DEVTOOLS_EXTENSION__) {
  const tools = extension?.connect({ name: `sessionstores ${session.code}`, features: { export: true } });
  if (!tools) return () => {};
  const shown = () => Object.fromEntries(names.map((name) => [name, session.store(name).getState()]));
  tools.init(shown());
  const offs = names.map((name) => session.store(name).subscribe(() => tools.send({ type: name }, shown())));
  return () => offs.forEach((off) => off());
}

// Connects as `connect` does, with a panel beside the page: `debug(connect, "#sessionstores", options)`.
export function debug(connect, source, options = {}) {
  const network = {};
  const { states } =
    typeof source === "string"
      ? JSON.parse(document.querySelector(source).textContent)
      : source.textContent
        ? JSON.parse(source.textContent)
        : source;
  const panel = new DebugPanel(states, network);
  // What React opens and throws away connects nowhere, and is not shown.
  const show = () => panel.show(session);
  class ShownSocket extends slowed(network, options.WebSocket) {
    constructor(...given) {
      super(...given);
      queueMicrotask(show);
    }
  }
  const session = connect(source, { ...options, WebSocket: ShownSocket });
  if (!options.paused) show();
  return session;
}
