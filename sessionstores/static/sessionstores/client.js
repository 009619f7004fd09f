// The browser side of sessionstores: live stores over one WebSocket per tab.
//
// The server owns the state. A tab holds copies of documents ("me", "session"), each at a rev, and
// moves them forward by patches that say which rev they lead from. What does not fit is never
// guessed at: the tab asks for a snapshot. Types and API are described in client.d.ts.

import * as connections from "./connection.js";
import * as documents from "./document.js";
import * as outboxes from "./outbox.js";
import * as patches from "./patch.js";
import * as predictions from "./predict.js";
import * as presences from "./presence.js";
import * as subscribers from "./subscribers.js";
import * as watching from "./watch.js";

export { DispatchError } from "./outbox.js";
export { applyPatch, PatchError } from "./patch.js";

export const VERSION = "3831dced";

const PARTS = {
  connection: connections,
  document: documents,
  outbox: outboxes,
  patch: patches,
  predict: predictions,
  presence: presences,
  subscribers,
  watch: watching,
};
const MAX_NAMED = 256; // documents in a hello; the server sends the others whole
const VERSION_KEY = "sessionstores:version"; // the last one that the page was loaded again for
// As the server reads them: it takes no hello with another.
const REV = /^[0-9a-f]{4}\.(0|[1-9]\d{0,14})-[0-9a-f]{8}$/;
const RUN = /^[0-9a-f]{1,16}$/;

const fail = (code, message, hint) => {
  throw new outboxes.DispatchError(code, message, hint);
};

const isText = (value) => typeof value === "string";
// A list of one text looks like that text to a regular expression.
const isRev = (value) => isText(value) && REV.test(value);

const isDocument = (value) =>
  patches.isContainer(value) && isRev(value.rev) && patches.isContainer(value.states);

// By the element that configures it: the tab that was connected last, which knows more than the page.
const connected = new WeakMap();

function readConfig(source) {
  try {
    const element = isText(source) ? document.querySelector(source) : source;
    const config = "textContent" in element ? JSON.parse(element.textContent) : element;
    const { url, session, participant, states } = config;
    if ([url, session, participant, ...Object.values(states)].every(isText)) {
      return [config, config === element ? {} : element];
    }
    throw new TypeError("a part is missing");
  } catch (error) {
    const given = isText(source) ? `"${source}"` : typeof source;
    const hint = "connect() takes what {% sessionstores_config %} writes, or a selector of it";
    return fail("bad_config", `${hint}, not this ${given}: ${error.message}`);
  }
}

// After a deploy, a browser may still have some of the modules in its cache: it fetches all of them
// anew, once, and loads the page again.
function checkVersions(storage) {
  if (Object.values(PARTS).every((part) => part.VERSION === VERSION)) return;
  try {
    if (storage.getItem(VERSION_KEY) !== VERSION) {
      storage.setItem(VERSION_KEY, VERSION);
      const refetch = (name) => fetch(new URL(`${name}.js`, import.meta.url), { cache: "reload" });
      Promise.allSettled(["client", ...Object.keys(PARTS)].map(refetch)).then(() => location.reload());
    }
  } catch {
    // Without a storage, it might load the page for ever.
  }
  fail("mixed_versions", `Not all modules are of version ${VERSION}. Serve one release.`);
}

function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null; // reading the property throws where the site's data is blocked
  }
}

class EventListeners {
  #all = new Set(); // of type and listener

  emit = (type, ...data) => {
    for (const [each, listener] of this.#all) if (each === type) subscribers.call(listener, ...data);
  };

  on = (type, listener) => {
    const entry = [type, listener];
    this.#all.add(entry);
    return () => this.#all.delete(entry);
  };

  clear = () => this.#all.clear();
}

// A promise with its functions. Refusals are events too: nobody needs to await it.
function deferred() {
  const waiter = {};
  waiter.promise = new Promise((resolve, reject) => Object.assign(waiter, { resolve, reject }));
  waiter.promise.catch(() => {});
  return waiter;
}

function dispatch({ connection, outbox, say, emit }, state, action, args, options = {}) {
  args ??= {};
  const { promise, ...waiter } = deferred();
  const refuse = (...what) => {
    const error = new outboxes.DispatchError(...what);
    waiter.reject(error);
    emit("refused", { state, action, args, error });
  };
  try {
    if (connection.status === "ended") refuse("session_ended", connection.message);
    else outbox.add(state, action, args, options, waiter);
  } catch (error) {
    refuse("invalid_arguments", say("invalid_arguments"), `${error}`);
  }
  return promise;
}

// The store of one state, in Zustand's shape.
function openStore(tab, state) {
  const { config, outbox, options } = tab;
  const name =
    patches.own(config.states, state) ??
    fail("unknown_state", `Unknown state "${state}"; there is ${Object.keys(config.states).join(", ")}.`);
  const document = tab.documents.get(name);
  const prediction = new predictions.Prediction(patches.own(options.predict ?? {}, state) ?? {});
  const confirmed = () => document.states?.[state];
  const context = {
    get self() {
      return tab.presence.self;
    },
    state: (other) => tab.storeOf(other).getConfirmedState(),
  };
  const run = Object.create(null);

  // The predicted state, as of now. Listeners are told when all stores are up to date.
  function update() {
    const isEqual = prediction.update(tab.freeze(confirmed()), outbox.missing(state), context);
    if (isEqual) document.states = { ...document.states, [state]: prediction.state };
    return tab.freeze(prediction.state);
  }
  update();
  const audience = new subscribers.Subscribers(() => prediction.state);

  const store = { document, update, prediction, tell: () => audience.tell() };
  store.api = {
    getState: () => prediction.state,
    getConfirmedState: confirmed,
    getInitialState: () => patches.own(tab.brought(name)?.states ?? {}, state),
    actions: new Proxy(run, {
      get: (_, action) =>
        isText(action) && action !== "then" // it is no promise
          ? (run[action] ??= (...given) => store.api.dispatch(action, ...given))
          : undefined,
    }),
    subscribe: audience.subscribe,
    dispatch: (...given) => dispatch(tab, state, ...given),
  };
  return store;
}

// What each frame of the server does. What throws costs an `error` event and a resync.
const RECEIVERS = {
  welcome(tab, { ping, client, limits, now, ...frame }) {
    tab.presence.welcome(frame);
    tab.connection.welcome(ping);
    tab.outbox.begin(client, limits ?? {}, now);
    tab.connection.setStatus("live");
    tab.presence.sendMeta();
    tab.watches.welcome();
    tab.outbox.flush();
  },
  snapshot({ runs, emit, say, look, isOwn }, frame, document) {
    const { doc, rev, states, run } = frame;
    if (!isDocument({ rev, states: states ?? {} })) throw new TypeError("No states.");
    if (isText(run) && RUN.test(run)) runs[doc] = run;
    const previous = document.snapshot(frame);
    look();
    if (!previous || !isOwn(doc)) return;
    const message = isText(frame.message) ? frame.message : say("reset");
    emit("reset", { doc, states: document.states, previous, message });
  },
  patch(tab, frame, document) {
    if (!isRev(frame.rev) || !frame.ops) throw new TypeError("No patch.");
    document.patch(frame);
  },
  ack({ outbox }, frame, document, entry) {
    if (entry) outbox.acknowledge(entry, document, frame);
    if (!isRev(frame.rev)) throw new TypeError("No rev.");
    // The answer to a repeated action says where the document is, not how it got there.
    document.patch("result" in frame || frame.ops?.length ? frame : { rev: frame.rev });
  },
  reject({ outbox }, frame, document, entry) {
    if (!entry) return;
    outbox.reject(entry, told(frame));
    document?.proceed();
  },
  ping({ connection, documents }, { heads }) {
    connection.pong();
    for (const name in heads) if (isRev(heads[name])) documents.get(name)?.head(heads[name]);
  },
  presence: ({ presence }, frame) => presence.attend(frame),
  self({ presence, watches }, frame) {
    const { role } = presence.self;
    presence.know(frame);
    if (presence.self.role !== role) watches.askAgain();
  },
  watching: ({ watches }, frame) => watches.answered(frame),
  gone: ({ watches }, frame) => watches.left(frame),
  unwatched: ({ watches }, frame) => watches.refused(frame),
  token: ({ connection }, { token }) => isText(token) && connection.renewToken(token),
  message: ({ emit }, { data }) => emit("message", data),
  error({ connection, outbox, watches, emit }, { type, ...frame }, document, entry) {
    const error = { ...frame, ...told(frame) };
    connection.failed(error);
    if (frame.of === "watch") watches.refused({ ...frame, reason: error.code });
    // One that names no action refuses none: servers of earlier releases name nothing, and what
    // they leave unanswered ends as `outcome_unknown` in time.
    if (entry) outbox.refuse(entry, error.code, error.hint, error.message);
    document?.proceed();
    emit("error", error);
  },
  end({ connection }, { retry, reason, message }) {
    if (!retry) connection.finish(`${reason}`, isText(message) ? message : undefined);
  },
};

// What a refusal says, if it can be read.
const told = ({ code, message, hint }) => ({
  code: isText(code) ? code : "internal",
  ...(isText(message) && { message }),
  ...(isText(hint) && { hint }),
});

// Takes a frame apart and hands it to its receiver.
function receive(tab, text) {
  const { documents, outbox, emit, say } = tab;
  let document;
  try {
    const frame = JSON.parse(text);
    if (!isText(frame.type)) throw new TypeError("No type.");
    const receiver = patches.own(RECEIVERS, frame.type);
    const entry = outbox.find(frame.id);
    document = documents.get((entry && patches.own(tab.config.states, entry.state)) ?? frame.doc);
    if (frame.type === "snapshot") document ??= tab.watches.open(`${frame.doc}`);
    if (receiver && (document || !isText(frame.doc))) receiver(tab, frame, document, entry);
  } catch (error) {
    emit("error", { code: "bad_frame", message: say("error"), hint: String(error) });
    for (const each of document ? [document] : documents.values()) each.repair();
  }
}

// What the outbox and the documents of a tab tell its stores.
function openViews(tab) {
  const { config, options } = tab;
  const stores = new Map();
  const refresh = (changed) => {
    for (const store of changed) store.update();
    for (const store of changed) store.tell();
  };
  const storeOf = (state) => {
    if (!stores.has(state)) stores.set(state, openStore(tab, state));
    return stores.get(state);
  };
  const open = (name) => {
    const isHere = ({ state }) => patches.own(config.states, state) === name;
    const foretells = (entry) =>
      isHere(entry) && stores.get(entry.state)?.prediction.foretells(entry.action);
    const document = new documents.LiveDocument(tab.brought(name), {
      requestSync: (rev) => tab.connection.send({ type: "sync", doc: name, rev }),
      changed: () => refresh([...stores.values()].filter((store) => store.document === document)),
      counted: (done, reset) => tab.outbox.count(isHere, done, reset),
      isDoubtful: () => tab.outbox.isDoubtful(foretells),
    });
    tab.documents.set(name, document);
  };
  Object.values(config.states).forEach(open);
  return {
    freeze: (options.freeze ?? config.debug) ? patches.freeze : (value) => value,
    storeOf: (state) => storeOf(state).api,
    changed: (state) => stores.has(state) && refresh([stores.get(state)]),
  };
}

// What the connection of a tab asks of it, and tells it.
function openLine(tab) {
  const { config, documents, outbox, presence, emit } = tab;
  return {
    emit,
    receive: (text) => receive(tab, text),
    appeared: () => outbox.recover(), // pages before may have left actions
    hello() {
      connected.set(tab.element, tab);
      const have = {};
      let runs = tab.connection.status === "reconnecting" ? {} : undefined; // of who comes back
      for (const [name, { rev }] of [...documents].slice(0, MAX_NAMED)) {
        if (rev) have[name] = rev;
        const run = rev && patches.own(tab.runs, name);
        if (run) runs = { ...runs, [name]: run };
      }
      return { client: outbox.client, lang: config.lang, have, runs, ...presence.hello() };
    },
    dropped() {
      presence.disconnect();
      outbox.disconnect();
      for (const each of documents.values()) each.disconnect();
    },
    finished(reason, message) {
      for (const each of documents.values()) each.close(); // resolves what is acknowledged
      outbox.refuseAll("session_ended", reason, message);
      tab.ready.reject(new outboxes.DispatchError("session_ended", message, reason));
      emit("end", { reason, message });
    },
  };
}

// The parts of a tab, each of which knows the others by what it is handed.
function openTab(config, options, storage, element) {
  const { emit, on, clear } = new EventListeners();
  const { messages } = config;
  // In the page's language; a page of an earlier release brings none along.
  const say = (what) => messages?.[what] ?? messages?.error ?? "Reload the page.";
  const isLive = () => tab.connection.status === "live";
  const storageKey = `sessionstores:${config.session}:${config.participant}`;
  const docs = { ...config.docs };
  const last = connected.get(element);
  if (last?.storageKey === storageKey) {
    for (const [name, { rev, states }] of last.documents) docs[name] = { rev, states };
  }
  const brought = (name) => {
    const found = patches.own(docs, name);
    return isDocument(found) ? found : undefined;
  };
  const tab = { config, options, emit, on, clear, say, brought, storageKey, element };
  Object.assign(tab, { documents: new Map(), runs: {}, ready: deferred() });
  const own = Object.values(config.states);
  tab.isOwn = (name) => own.includes(name);
  tab.look = () => {
    if (own.every((name) => tab.documents.get(name)?.rev)) tab.ready.resolve();
  };
  const warn = (event) => event.preventDefault();
  tab.outbox = new outboxes.ActionOutbox({
    storage,
    storageKey,
    isLive,
    say,
    send: (text) => tab.connection.send(text),
    counted(number) {
      emit("pending", number);
      if (!options.warnBeforeUnload) return;
      if (number) addEventListener("beforeunload", warn);
      else removeEventListener("beforeunload", warn);
    },
    changed: (state) => tab.changed(state),
    refused: ({ state, action, args }, error) =>
      emit("refused", { state, action, args, error }),
  });
  const self = { id: config.participant, name: config.name ?? null, role: config.role };
  const sendMeta = (text) => isLive() && tab.connection.send(text);
  tab.presence = new presences.TabPresence(self, emit, sendMeta);
  Object.assign(tab, openViews(tab));
  tab.watches = new watching.Watches({
    documents: tab.documents,
    LiveDocument: documents.LiveDocument,
    freeze: tab.freeze,
    isLive,
    send: (frame) => tab.connection.send(frame),
  });
  tab.connection = new connections.TabConnection(config, options, say, openLine(tab));
  tab.look();
  return tab;
}

export function connect(source, options = {}) {
  const storage = options.storage === undefined ? tabStorage() : options.storage;
  checkVersions(storage);
  const [config, element] = readConfig(source);
  const tab = openTab(config, options, storage, element);
  const { connection, documents, outbox, presence } = tab;
  connection.start();
  return {
    code: config.session,
    participant: config.participant,
    ready: tab.ready.promise,
    get role() {
      return presence.self.role;
    },
    get self() {
      return presence.self;
    },
    get status() {
      return connection.status;
    },
    get message() {
      return connection.message;
    },
    get pending() {
      return outbox.size;
    },
    get presence() {
      return presence.present;
    },
    get meta() {
      return presence.meta;
    },
    setMeta: (data) => presence.setMeta(data),
    rev: (name) => documents.get(name)?.rev,
    store: tab.storeOf,
    watch: (id) => tab.watches.watch(id),
    participants: () => tab.watches.participants(),
    on: tab.on,
    settled: () => outbox.settled(),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    leave() {
      if (connection.status === "live") connection.send({ type: "bye" });
      connection.finish("left");
    },
    close() {
      if (connection.status === "ended") return;
      const error = new outboxes.DispatchError("closed", tab.say("closed"));
      tab.clear();
      connection.close();
      for (const each of documents.values()) each.close();
      outbox.close(error);
      tab.ready.reject(error);
    },
  };
}
