// The browser side of sessionstores: live stores over one WebSocket per tab.
//
// The server owns the state. A tab holds copies of documents ("me", "session"), each at a rev, and
// moves them forward by patches that say which rev they lead from. What does not fit is never
// guessed at: the tab asks for a snapshot. Types and API are described in client.d.ts.

import * as connections from "./connection.js";
import * as documents from "./document.js";
import * as outboxes from "./outbox.js";
import * as patches from "./patch.js";
import * as presences from "./presence.js";

export { DispatchError } from "./outbox.js";
export { applyPatch, PatchError } from "./patch.js";

export const VERSION = "139935b4";

const MODULES = ["client", "connection", "document", "outbox", "patch", "presence"];
const VERSION_KEY = "sessionstores:version"; // the last one that the page was loaded again for

function call(listener, ...args) {
  try {
    listener(...args);
  } catch (error) {
    reportError(error); // one broken listener must not keep the event from the others
  }
}

function readConfig(source) {
  if (typeof source === "string") {
    const element = document.querySelector(source);
    if (!element) {
      throw new Error(`No element matches "${source}"; {% sessionstores_config %} writes one.`);
    }
    source = element;
  }
  return "textContent" in source ? JSON.parse(source.textContent) : source;
}

// After a deploy, a browser may still have some of the modules in its cache: it fetches all of them
// anew, once, and loads the page again.
function checkVersions(storage) {
  const parts = [connections, documents, outboxes, patches, presences];
  if (parts.every((part) => part.VERSION === VERSION)) return;
  try {
    if (storage.getItem(VERSION_KEY) !== VERSION) {
      storage.setItem(VERSION_KEY, VERSION);
      const refetch = (name) => fetch(new URL(`${name}.js`, import.meta.url), { cache: "reload" });
      Promise.allSettled(MODULES.map(refetch)).then(() => location.reload());
    }
  } catch {
    // Without a storage, it might load the page for ever.
  }
  const message = `Not all modules are of version ${VERSION}. Serve one release.`;
  throw new outboxes.DispatchError("mixed_versions", message);
}

function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null; // reading the property throws where the site's data is blocked
  }
}

class EventListeners {
  #byType = new Map();

  emit = (type, ...data) => {
    this.#byType.get(type)?.forEach((listener) => call(listener, ...data));
  };

  on = (type, listener) => {
    if (!this.#byType.has(type)) this.#byType.set(type, new Set());
    this.#byType.get(type).add(listener);
    return () => this.#byType.get(type).delete(listener);
  };
}

// The store of one state, in Zustand's shape, and what tells it of changes of its document.
function openStore(tab, state) {
  const { config, outbox, connection } = tab;
  if (!Object.hasOwn(config.states, state)) {
    const names = Object.keys(config.states).join(", ");
    const message = `Unknown state "${state}"; there is ${names}.`;
    throw new outboxes.DispatchError("unknown_state", message);
  }
  const name = config.states[state];
  const document = tab.documents.get(name);
  const initial = config.docs?.[name]?.states?.[state];
  const subscribers = new Set();
  return {
    update(changed, before, states) {
      const [previous, next] = [before?.[state], states?.[state]];
      if (changed !== name || next === previous) return;
      subscribers.forEach((subscriber) => call(subscriber, next, previous));
    },
    api: {
      getState: () => document.states?.[state],
      getInitialState: () => initial,
      subscribe(listener) {
        subscribers.add(listener);
        return () => subscribers.delete(listener);
      },
      dispatch: (action, args = {}) =>
        new Promise((resolve, reject) => {
          if (connection.status === "ended") {
            throw new outboxes.DispatchError("session_ended", connection.message);
          }
          outbox.add(state, action, args, resolve, reject);
        }),
    },
  };
}

// What each frame of the server does.
const RECEIVERS = {
  welcome(tab, { ping, client, limits, ...frame }) {
    tab.presence.welcome(frame);
    tab.connection.welcome(ping);
    tab.outbox.begin(client, limits);
    tab.connection.setStatus("live");
    tab.presence.sendMeta();
    tab.outbox.flush();
  },
  snapshot({ document, runs, emit, say }, frame) {
    if (frame.run) runs[frame.doc] = frame.run;
    const previous = document.snapshot(frame);
    if (!previous) return;
    emit("reset", { doc: frame.doc, states: document.states, previous, message: say("reset") });
  },
  patch: ({ document }, frame) => document.patch(frame),
  ack({ document, outbox, entry }, frame) {
    if (entry) outbox.acknowledge(entry, document, frame);
    // The answer to a repeated action says where the document is, not how it got there.
    document.patch("result" in frame || frame.ops?.length ? frame : { rev: frame.rev });
  },
  reject({ outbox, entry }, frame) {
    if (entry) outbox.reject(entry, frame);
  },
  ping({ connection, documents }, { heads }) {
    connection.pong();
    for (const name in heads) documents.get(name)?.head(heads[name]);
  },
  presence: ({ presence }, frame) => presence.attend(frame),
  self: ({ presence }, frame) => presence.know(frame),
  token: ({ connection }, { token }) => connection.renewToken(token),
  message: ({ emit }, { data }) => emit("message", data),
  error({ connection, outbox, emit, entry }, { type, ...error }) {
    connection.failed(error);
    // One that names no action refuses none: servers of earlier releases name nothing, and what
    // they leave unanswered ends as `outcome_unknown` in time.
    if (entry) outbox.refuse(entry, error.code, error.hint, error.message);
    emit("error", error);
  },
  end({ connection }, { retry, reason, message }) {
    if (!retry) connection.finish(reason, message);
  },
};

// The parts of a tab, each of which knows the others by what it is handed.
function openTab(config, options, storage) {
  const { emit, on } = new EventListeners();
  // In the page's language; a page of an earlier release brings none along.
  const say = (what) => config.messages?.[what] ?? "Please reload the page.";
  const isLive = () => tab.connection.status === "live";
  const tab = { config, emit, on, say, documents: new Map(), stores: new Map(), runs: {} };
  const openDocument = (name) => {
    const requestSync = (rev) => tab.connection.send({ type: "sync", doc: name, rev });
    const changed = (before, states) => {
      for (const store of tab.stores.values()) store.update(name, before, states);
    };
    const brought = config.docs?.[name];
    tab.documents.set(name, new documents.LiveDocument(brought, requestSync, changed));
  };
  Object.values(config.states).forEach(openDocument);
  tab.outbox = new outboxes.ActionOutbox({
    storage,
    storageKey: `sessionstores:${config.session}:${config.participant}`,
    isLive,
    say,
    send: (text) => tab.connection.send(text),
    counted: (number) => emit("pending", number),
  });
  const self = { id: config.participant, name: config.name ?? null, role: config.role };
  const sendMeta = (text) => isLive() && tab.connection.send(text);
  tab.presence = new presences.TabPresence(self, emit, sendMeta);
  tab.connection = new connections.TabConnection({
    url: new URL(config.url, location.href).href.replace(/^http/, "ws"),
    token: config.token,
    messages: config.messages,
    options,
    say,
    emit,
    hello() {
      const have = {};
      for (const [name, { rev }] of tab.documents) if (rev) have[name] = rev;
      const runs = Object.keys(tab.runs).length ? tab.runs : undefined;
      const { client } = tab.outbox;
      return { client, lang: config.lang, have, runs, ...tab.presence.hello() };
    },
    receive(frame) {
      const document = tab.documents.get(frame.doc);
      const entry = "id" in frame && tab.outbox.find(frame.id);
      if (frame.doc && !document) return;
      if (Object.hasOwn(RECEIVERS, frame.type)) {
        RECEIVERS[frame.type]({ ...tab, document, entry }, frame);
      }
    },
    dropped() {
      tab.presence.disconnect();
      tab.outbox.disconnect();
      for (const each of tab.documents.values()) each.disconnect();
    },
    returned: () => tab.outbox.recover(), // the pages between may have left actions
    finished(reason, message) {
      for (const each of tab.documents.values()) each.close(); // resolves what is acknowledged
      tab.outbox.refuseAll("session_ended", reason, message);
      emit("end", { reason, message });
    },
  });
  return tab;
}

export function connect(source, options = {}) {
  const storage = options.storage === undefined ? tabStorage() : options.storage;
  checkVersions(storage);
  const config = readConfig(source);
  const tab = openTab(config, options, storage);
  const { connection, documents, outbox, presence, stores } = tab;
  outbox.recover();
  connection.start();
  return {
    code: config.session,
    participant: config.participant,
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
    setMeta: (data) => presence.setMeta(data),
    rev: (name) => documents.get(name)?.rev,
    store(state) {
      if (!stores.has(state)) stores.set(state, openStore(tab, state));
      return stores.get(state).api;
    },
    on: tab.on,
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    leave() {
      if (connection.status === "live") connection.send({ type: "bye" });
      connection.finish("left");
    },
  };
}
