// The browser side of sessionstores: live stores over one WebSocket per tab.
//
// The server owns the state. A tab holds copies of documents ("me", "session"), each at a rev, and
// moves them forward by patches that say which rev they lead from. What does not fit is never
// guessed at: the tab asks for a snapshot. Types and API are described in client.d.ts.

const SUBPROTOCOL = "sessionstores.v1";
const GAP_PATIENCE = 300; // ms to wait for a frame that a later one has overtaken
const HEAD_PATIENCE = 2000; // ms in which a ping may report a head that we have already passed
const MAX_HELD = 32;
const RESEND_WITHIN = 300_000; // ms; the server remembers answers for twice as long
const WELCOME_WITHIN = 10_000; // ms
const BACKOFF_BASE = 250; // ms
const BACKOFF_CAP = 3000; // ms
const MAX_META = 1024; // bytes of JSON
const MAX_DEPTH = 31; // levels of a meta; its frame is one more
const META_PAUSE = 100; // ms between two metas; of those set meanwhile, the last is sent
const REFUSED_KEY = /^(__proto__|constructor|prototype)$/;
const ROOM_FOR_CLIENT = 12; // bytes of the field beside the id
const MAX_CONFLICTS = 5; // how often an action is sent again because others came first

export class PatchError extends Error {
  name = "PatchError";
  code = "patch_error";
}

// The message is for the person, the hint for developers, if there is one.
export class DispatchError extends Error {
  name = "DispatchError";
  constructor(code, message, hint) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}

const bytes = (text) => new TextEncoder().encode(text).length;

const isContainer = (value) => typeof value === "object" && value !== null;

const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);

const sameKind = (a, b) =>
  isContainer(a) && isContainer(b) && Array.isArray(a) === Array.isArray(b);

function equal(a, b) {
  if (a === b) return true;
  if (!sameKind(a, b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]))
  );
}

// `next` with each part that equals its counterpart in `old`, the order of keys included, replaced
// by that counterpart, so that what did not change keeps its identity. Writes to `next`, which was
// just parsed and is ours.
function share(old, next) {
  if (!sameKind(old, next)) return next;
  const keys = Object.keys(next);
  const before = Object.keys(old);
  let same = keys.length === before.length;
  keys.forEach((key, place) => {
    if (Object.hasOwn(old, key)) next[key] = share(old[key], next[key]);
    same &&= key === before[place] && next[key] === old[key];
  });
  return same ? old : next;
}

// The first token is always "", the key under which applyPatch keeps the document itself.
function parsePointer(pointer) {
  if (typeof pointer !== "string" || /^[^/]|~(?![01])/.test(pointer)) {
    throw new PatchError(`${JSON.stringify(pointer)} is not a JSON pointer.`);
  }
  const tokens = pointer
    .split("/")
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  const refused = tokens.find((token) => REFUSED_KEY.test(token));
  if (refused) throw new PatchError(`"${pointer}" names ${refused}, which is refused.`);
  return tokens;
}

// The key of an existing child; `spare` allows for one that is about to be inserted in an array.
function keyIn(node, token, spare = 0) {
  if (Array.isArray(node)) {
    if (/^(0|[1-9]\d*)$/.test(token) && +token < node.length + spare) return +token;
  } else if (isContainer(node) && Object.hasOwn(node, token)) {
    return token;
  }
  throw new PatchError(`There is no "${token}" where the patch expects one.`);
}

// RFC 6902. The given document is never changed, and what no operation reaches is shared with the
// result. Values enter by reference, never merged key by key, so an odd key inside one stays inert.
export function applyPatch(document, operations) {
  const top = { "": document };
  const copies = new Set(); // made by this call, so the next operation may change them in place

  const read = (tokens) => tokens.reduce((node, token) => node[keyIn(node, token)], top);

  const parentOf = (tokens) =>
    tokens.slice(0, -1).reduce((node, token) => {
      const key = keyIn(node, token);
      const child = node[key];
      if (!isContainer(child) || copies.has(child)) return child;
      node[key] = Array.isArray(child) ? [...child] : { ...child };
      copies.add(node[key]);
      return node[key];
    }, top);

  const remove = (tokens) => {
    const parent = parentOf(tokens);
    const key = keyIn(parent, tokens.at(-1));
    if (Array.isArray(parent)) parent.splice(key, 1);
    else delete parent[key];
  };

  const add = (tokens, value) => {
    const parent = parentOf(tokens);
    const token = tokens.at(-1);
    if (Array.isArray(parent)) {
      parent.splice(token === "-" ? parent.length : keyIn(parent, token, 1), 0, value);
    } else if (isContainer(parent)) {
      parent[token] = value;
    } else {
      throw new PatchError(`"${token}" has no object or array to go into.`);
    }
  };

  for (const { op, path, from, value } of operations) {
    const tokens = parsePointer(path);
    if (/^(add|replace|test)$/.test(op) && value === undefined) {
      throw new PatchError(`"${op}" at "${path}" has no value.`);
    }
    if (op === "add") {
      add(tokens, value);
    } else if (op === "remove") {
      remove(tokens);
    } else if (op === "replace") {
      const parent = parentOf(tokens);
      parent[keyIn(parent, tokens.at(-1))] = value;
    } else if (op === "test") {
      if (!equal(read(tokens), value)) throw new PatchError(`The test at "${path}" failed.`);
    } else if (op === "copy") {
      const copied = read(parsePointer(from));
      copies.clear(); // now in two places, so no longer to be changed in place
      add(tokens, copied);
    } else if (op === "move") {
      const source = parsePointer(from);
      const moved = read(source);
      if (path === from) continue;
      if (path.startsWith(`${from}/`)) throw new PatchError(`"${from}" cannot go into itself.`);
      remove(source);
      add(tokens, moved);
    } else {
      throw new PatchError(`"${op}" is not a patch operation.`);
    }
  }
  return read([""]);
}

// Whether a document at `ours` has nothing to learn from `rev`: it is there, or beyond it.
function isPast(ours, rev) {
  if (ours === rev) return true;
  const [a, b] = [ours, rev].map((text) => String(text).split(/[.-]/));
  return a[0] === b[0] && +b[1] < +a[1];
}

// One chain of revs. `requestSync(rev)` asks the server for a snapshot; `changed(before, states)`
// is called for each new state, once everything that could be applied is in place.
function openDocument({ rev, states } = {}, requestSync, changed) {
  const held = new Map(); // patches that came too early, by the rev that they lead from
  let waiting = []; // [rev, callback] of answers whose state is not here yet
  let expected; // the furthest rev that we know of and lack
  let asked = false;
  let movedAt = 0;
  let timer;

  function forgetGap() {
    held.clear();
    clearTimeout(timer);
    expected = timer = undefined;
  }

  // Held patches are dropped: the snapshot will be newer, and one of a history that the server
  // has lost must not make us ask again and again.
  function sync() {
    timer = undefined;
    if (asked || !rev) return; // without a rev, the first snapshot is still on its way
    forgetGap();
    asked = true;
    requestSync(rev);
  }

  function expect(target) {
    if (isPast(rev, target)) return;
    if (!expected || !isPast(expected, target)) expected = target;
    timer ??= setTimeout(sync, GAP_PATIENCE);
  }

  // After progress, whatever is still missing gets its full time again.
  function settle() {
    for (const [base, frame] of held) if (isPast(rev, frame.rev)) held.delete(base);
    clearTimeout(timer);
    const target = expected;
    expected = timer = undefined;
    if (target) expect(target);
  }

  function advance(before, frame = held.get(rev)) {
    for (; frame; frame = held.get(rev)) {
      held.delete(frame.base);
      try {
        states = applyPatch(states, frame.ops);
      } catch {
        sync();
        break;
      }
      rev = frame.rev;
    }
    movedAt = Date.now();
    settle();
    release(); // first, so that no listener finds an action pending whose effect it sees
    if (states !== before) changed(before, states);
  }

  function release(all) {
    const due = waiting.filter(([target]) => all || isPast(rev, target));
    waiting = waiting.filter((entry) => !due.includes(entry));
    for (const [, callback] of due) callback();
  }

  return {
    rev: () => rev,
    states: () => states,

    // Takes acks too: they carry the patch that their action caused, or the rev that it saw.
    patch(frame) {
      if (frame.base === frame.rev || !frame.ops) {
        expect(frame.rev);
      } else if (frame.base === rev) {
        advance(states, frame);
      } else if (!isPast(rev, frame.rev)) {
        if (held.size < MAX_HELD) held.set(frame.base, frame);
        expect(frame.rev);
      }
      release();
    },

    // Returns the states that a reset took away, if it did.
    snapshot(frame) {
      const before = states;
      const overtaken = !frame.reset && frame.rev !== rev && isPast(rev, frame.rev);
      asked = false;
      if (frame.states && !overtaken) {
        if (frame.reset) forgetGap();
        states = share(before, frame.states);
        rev = frame.rev;
        advance(before);
      } else {
        expect(frame.rev);
        settle();
      }
      release(!overtaken);
      return frame.reset ? before : undefined;
    },

    // A head behind ours means that the server was rolled back, unless we passed it just now.
    head(head) {
      expect(head);
      if (head !== rev && isPast(rev, head) && Date.now() - movedAt > HEAD_PATIENCE) {
        timer ??= setTimeout(sync, GAP_PATIENCE);
      }
    },

    // Calls back when the state of `target` is in place: who awaits an action can read its effect.
    when(target, callback) {
      waiting.push([target, callback]);
      release();
    },

    // The next hello names our rev, and its answer closes every gap.
    disconnect() {
      forgetGap();
      asked = false;
    },

    close() {
      forgetGap();
      release(true);
    },
  };
}

// Whether the server takes it, and others read it as it is here: no lone surrogate, no integer that
// is no longer exact. What it refused would come back with each hello, and keep the tab out.
function isPortable(value, depth = 0) {
  if (typeof value === "string") return !/\p{Surrogate}/u.test(value);
  if (!isContainer(value)) return !Number.isInteger(value) || Number.isSafeInteger(value);
  if (depth === MAX_DEPTH) return false;
  const refused = ([key, part]) =>
    REFUSED_KEY.test(key) || !isPortable(key) || !isPortable(part, depth + 1);
  return !Object.entries(value).some(refused);
}

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

function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null; // reading the property throws where the site's data is blocked
  }
}

const randomId = () =>
  [...crypto.getRandomValues(new Uint8Array(8))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

export function connect(source, options = {}) {
  const config = readConfig(source);
  const url = new URL(config.url, location.href).href.replace(/^http/, "ws");
  const Socket = options.WebSocket ?? WebSocket;
  const storage = options.storage === undefined ? tabStorage() : options.storage;
  const storageKey = `sessionstores:${config.session}:${config.participant}`;
  const pageEvents = new AbortController();
  const documents = new Map();
  const stores = new Map();
  const listeners = new Map();
  const outbox = []; // unanswered actions, in the order of their dispatch
  const onWire = new Set(); // those of them that went out on this socket

  // A client id lives as long as the page. Actions that the previous page left unanswered keep the
  // id that they got there: a reload and a duplicated tab repeat them, and nothing runs twice.
  let client = randomId();
  let lastId = 0;
  let token = config.token;
  let tokenIsNew = false;
  let renewing = false;
  let socket = null;
  let status = "connecting";
  let ending; // what to tell of the end, once there is one
  let trouble; // what the server said of why it closes
  let wasLive = false;
  let liveAt = 0;
  let heardAt = 0;
  let silence = WELCOME_WITHIN; // ms without a frame after which a connection counts as dead
  let paused = false;
  let onLineLies = false;
  let attempts = 0;
  let limit; // [actions a second, burst], if any
  let maxFrame;
  let allowance = 0;
  let allowedAt = 0;
  let saving = false;
  let self = { id: config.participant, name: config.name ?? null, role: config.role };
  let present = {}; // participants by id, each with the metas of its tabs, name and role
  let roll = false; // the next presence frame names everybody
  let meta = "{}"; // our own, as JSON
  let sentMeta; // what was sent of it on this socket
  let reported = 0; // the last number of pending actions that listeners heard
  let lastError = null;
  let runs; // by document, the server's run that its last snapshot is from
  let retryTimer, silenceTimer, paceTimer, metaTimer, expiryTimer;

  const isHidden = () => document.visibilityState === "hidden";
  const isOffline = () => navigator.onLine === false && !onLineLies;

  function emit(type, ...data) {
    listeners.get(type)?.forEach((listener) => call(listener, ...data));
  }

  // In the page's language; a page of an earlier release brings none along.
  const say = (what) => config.messages?.[what] ?? "Please reload the page.";

  function told() {
    if (status === "live") return "";
    if (status === "offline") return say(status);
    return ending ?? trouble ?? (wasLive ? say("reconnecting") : "");
  }

  function setStatus(next) {
    if (next === status) return;
    status = next;
    emit("status", status, told());
  }

  function setAway() {
    setStatus(isOffline() ? "offline" : wasLive ? "reconnecting" : "connecting");
  }

  function transmit(frame) {
    socket.send(JSON.stringify(frame));
  }

  function documentOf(name) {
    if (!documents.has(name)) {
      const requestSync = (rev) => transmit({ type: "sync", doc: name, rev });
      const changed = (before, states) => {
        for (const store of stores.values()) store.update(name, before, states);
      };
      documents.set(name, openDocument(config.docs?.[name], requestSync, changed));
    }
    return documents.get(name);
  }

  const unanswered = () => outbox.filter((entry) => !entry.acked);

  // Called after each change of the outbox. Writing once in a turn is enough, since no page is
  // unloaded in the middle of one; and listeners that dispatch cannot disturb a loop over it.
  function save() {
    clearTimeout(expiryTimer);
    const open = unanswered();
    if (open.length) {
      const oldest = Math.min(...open.map((entry) => entry.at));
      expiryTimer = setTimeout(expire, oldest + RESEND_WITHIN - Date.now());
    }
    if (saving) return;
    saving = true;
    queueMicrotask(() => {
      saving = false;
      if (reported !== outbox.length) emit("pending", (reported = outbox.length));
      try {
        const open = unanswered();
        if (open.length) storage?.setItem(storageKey, JSON.stringify(open));
        else storage?.removeItem(storageKey);
      } catch {
        // A full storage costs the resend after a reload, nothing else.
      }
    });
  }

  function recover() {
    let left = [];
    try {
      left = JSON.parse(storage?.getItem(storageKey) ?? "[]");
    } catch {
      // As above.
    }
    const isNew = ({ client, id }) => !outbox.some((has) => has.client === client && has.id === id);
    outbox.push(...left.filter(isNew));
    lastId = Math.max(lastId, ...outbox.map(({ id }) => id)); // an ack names nothing but the id
    if (outbox.length) save();
  }

  function take(entry) {
    outbox.splice(outbox.indexOf(entry), 1);
    onWire.delete(entry);
    save();
  }

  function refuse(entry, code, hint, message = say(code)) {
    take(entry);
    entry.reject?.(new DispatchError(code, message, hint));
  }

  // It keeps its place until its effect is here: a patch that it shares with others follows.
  function acknowledge(entry, doc, frame) {
    entry.acked = true;
    onWire.delete(entry);
    save();
    doc.when(frame.rev, () => {
      take(entry);
      entry.resolve?.(frame.result);
    });
  }

  // A conflict did not run, and goes out again as a new action. Ids count up in the order of
  // sending: it follows what was sent already, and what was not is numbered anew.
  function sendAgain(entry) {
    entry.conflicts = (entry.conflicts ?? 0) + 1;
    const longest = Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** entry.conflicts);
    entry.notBefore = Date.now() + Math.random() * longest;
    entry.sent = false;
    entry.client = client;
    onWire.delete(entry);
    outbox.splice(outbox.indexOf(entry), 1);
    const place = outbox.findLastIndex((each) => each.sent || each.client !== client) + 1;
    outbox.splice(place, 0, entry);
    for (const each of outbox.slice(place)) each.id = ++lastId;
    flush();
  }

  // Later than this, the server may have forgotten its answer and would run the action again.
  function expire() {
    const now = Date.now();
    for (const entry of unanswered().filter(({ at }) => now - at >= RESEND_WITHIN)) {
      const [code, what] = entry.sent
        ? ["outcome_unknown", "was sent but not answered"]
        : ["expired", "could not be sent"];
      refuse(entry, code, `"${entry.action}" ${what} within five minutes.`);
    }
    if (unanswered().length) save(); // timers may fire a little early
  }

  // Half of the server's burst is left for frames that the network delays and delivers at once.
  function mayAct() {
    if (!limit) return true;
    const [rate, burst] = limit;
    const now = Date.now();
    const earned = (Math.max(0, now - allowedAt) / 1000) * rate;
    allowance = Math.min(Math.max(1, burst / 2), allowance + earned);
    allowedAt = now;
    if (allowance < 1) {
      paceTimer = setTimeout(flush, Math.ceil(((1 - allowance) / rate) * 1000));
      return false;
    }
    allowance -= 1;
    return true;
  }

  function flush() {
    if (status !== "live") return;
    clearTimeout(paceTimer);
    const now = Date.now();
    for (const entry of [...outbox]) {
      if (onWire.has(entry) || entry.acked) continue;
      const wait = entry.notBefore - now;
      if (wait > 0 && wait <= BACKOFF_CAP) {
        paceTimer = setTimeout(flush, wait);
        break;
      }
      const { id, state, action, args } = entry;
      const origin = entry.sent || entry.client !== client ? { client: entry.client } : {};
      const frame = JSON.stringify({ type: "action", id, ...origin, state, action, args });
      // Sent again, it names its client, and has to fit then, too.
      const size = bytes(frame) + (origin.client ? 0 : entry.client.length + ROOM_FOR_CLIENT);
      if (size >= maxFrame) {
        const code = entry.sent ? "outcome_unknown" : "too_large";
        refuse(entry, code, `"${action}" takes more than the ${maxFrame} bytes of a frame.`);
        continue;
      }
      if (!mayAct()) break;
      if (!entry.sent) entry.at = Date.now();
      entry.sent = true;
      onWire.add(entry);
      socket.send(frame);
    }
    save();
  }

  function sendMeta() {
    if (status !== "live" || meta === sentMeta || metaTimer) return;
    sentMeta = meta;
    socket.send(`{"type":"meta","data":${meta}}`);
    metaTimer = setTimeout(() => {
      metaTimer = undefined;
      sendMeta();
    }, META_PAUSE);
  }

  function attend(frame) {
    const before = present;
    const { joined: metas, people = {} } = frame;
    // Servers of earlier releases say nothing of names and roles.
    const entries = Object.keys({ ...people, ...metas }).map((id) => {
      const known = (!roll && own(before, id)) || [];
      const { name, role } = own(people, id) ?? known;
      return [id, Object.assign([...(own(metas, id) ?? known)], role && { name, role })];
    });
    const after = { ...(roll ? {} : before), ...Object.fromEntries(entries) };
    for (const id of frame.left) delete after[id];
    roll = false;
    if (equal(before, after)) return; // in whatever order people are named
    present = share(before, after);
    const joined = Object.entries(present).filter(([id, metas]) => metas !== before[id]);
    const left = Object.keys(before).filter((id) => !Object.hasOwn(present, id));
    emit("presence", present, { joined: Object.fromEntries(joined), left });
  }

  function know({ name = self.name, role = self.role }) {
    if (name === self.name && role === self.role) return;
    self = { ...self, name, role };
    emit("self", self);
  }

  function welcome(frame) {
    know(frame);
    client = frame.client ?? client;
    silence = (frame.ping ?? 10) * 2500;
    limit = frame.limits?.rate;
    maxFrame = frame.limits?.frame ?? Infinity;
    allowance = Infinity;
    allowedAt = liveAt = Date.now();
    wasLive = roll = true;
    tokenIsNew = false;
    trouble = undefined;
    onLineLies ||= navigator.onLine === false;
    listenForLife();
    expire();
    setStatus("live");
    sendMeta();
    flush();
  }

  function receive(frame) {
    const doc = frame.doc && documentOf(frame.doc);
    const entry = "id" in frame && outbox.find(({ id, acked }) => id === frame.id && !acked);
    switch (frame.type) {
      case "welcome":
        return welcome(frame);
      case "snapshot": {
        if (frame.run) (runs ??= {})[frame.doc] = frame.run;
        const previous = doc.snapshot(frame);
        if (previous) {
          const message = say("reset");
          emit("reset", { doc: frame.doc, states: doc.states(), previous, message });
        }
        return;
      }
      case "patch":
        return doc.patch(frame);
      case "ack":
        if (entry) acknowledge(entry, doc, frame);
        // The answer to a repeated action says where the document is, not how it got there.
        doc.patch("result" in frame || frame.ops?.length ? frame : { rev: frame.rev });
        return;
      case "reject":
        if (!entry) return;
        if (frame.code === "conflict" && (entry.conflicts ?? 0) < MAX_CONFLICTS) sendAgain(entry);
        else refuse(entry, frame.code, frame.hint, frame.message);
        return;
      case "ping":
        transmit({ type: "pong", visible: !isHidden() });
        for (const name in frame.heads) documents.get(name)?.head(frame.heads[name]);
        return;
      case "presence":
        return attend(frame);
      case "self":
        return know(frame);
      case "token":
        token = frame.token;
        return;
      case "message":
        return emit("message", frame.data);
      case "error": {
        lastError = frame;
        // One that names no action refuses none: servers of earlier releases name nothing, and what
        // they leave unanswered ends as `outcome_unknown` in time.
        if (entry) refuse(entry, frame.code, frame.hint, frame.message);
        if (!frame.id && /^(hello)?$/.test(frame.of ?? "")) trouble = frame.message;
        const { type, ...error } = frame;
        return emit("error", error);
      }
      case "end":
        if (!frame.retry) finish(frame.reason, frame.message);
    }
  }

  function listenForLife() {
    heardAt = Date.now();
    clearTimeout(silenceTimer);
    silenceTimer = setTimeout(lose, silence);
  }

  function open() {
    clearTimeout(retryTimer);
    if (socket || renewing || paused || status === "ended") return;
    setStatus(wasLive ? "reconnecting" : "connecting");
    if (!token && options.token) return renew();
    const mine = new Socket(url, SUBPROTOCOL);
    socket = mine;
    lastError = null;
    silence = WELCOME_WITHIN;
    listenForLife();
    socket.onopen = () => {
      if (mine !== socket) return;
      const have = {};
      for (const [name, doc] of documents) if (doc.rev()) have[name] = doc.rev();
      sentMeta = meta;
      const shown = meta === "{}" ? {} : { meta: JSON.parse(meta) };
      transmit({ type: "hello", token, client, lang: config.lang, have, runs, ...shown });
    };
    socket.onmessage = ({ data }) => {
      if (mine !== socket) return;
      listenForLife();
      receive(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (mine === socket) lose(code, reason);
    };
  }

  async function renew() {
    renewing = true;
    try {
      token = await options.token();
      tokenIsNew = true;
    } catch (error) {
      emit("error", { code: "no_token", message: say("reconnecting"), hint: String(error) });
      return retry();
    } finally {
      renewing = false;
    }
    if (token) open();
    else finish("invalid_token");
  }

  // A closing handshake with a dead peer takes long, so we do not wait for the close event.
  function drop() {
    for (const timer of [retryTimer, silenceTimer, paceTimer, metaTimer]) clearTimeout(timer);
    metaTimer = undefined;
    const old = socket;
    socket = null;
    onWire.clear();
    for (const doc of documents.values()) doc.disconnect();
    old?.close();
  }

  function lose(code, reason) {
    // A server that welcomes and then closes must not be asked again without delay, over and over.
    if (status === "live" && Date.now() - liveAt > BACKOFF_CAP) attempts = 0;
    drop();
    const range = Math.floor(code / 100);
    if (range === 41 && options.token && !tokenIsNew) token = null;
    else if (range === 40 || range === 41) {
      return finish(lastError?.code ?? (reason || `closed_${code}`), lastError?.message);
    }
    retry();
  }

  function retry() {
    if (paused || status === "ended") return;
    setAway();
    const delay = Math.random() * Math.min(BACKOFF_CAP, BACKOFF_BASE * 2 ** attempts++);
    retryTimer = setTimeout(() => {
      if (!isHidden() && !isOffline()) open(); // else `wake` will
    }, delay);
  }

  function wake() {
    if (isHidden()) return;
    attempts = 0;
    if (socket && Date.now() - heardAt > silence) {
      drop(); // it died while the machine slept
      setAway();
    }
    if (!isOffline()) open();
  }

  function disconnectQuietly(next) {
    if (paused || status === "ended") return;
    drop();
    setStatus(next);
  }

  function finish(reason, message = config.messages?.[reason] ?? say("closed")) {
    if (status === "ended") return;
    drop();
    pageEvents.abort();
    ending = message;
    setStatus("ended");
    for (const doc of documents.values()) doc.close(); // resolves what is acknowledged
    for (const entry of [...outbox]) refuse(entry, "session_ended", reason, message);
    emit("end", { reason, message });
  }

  function openStore(state) {
    if (!Object.hasOwn(config.states, state)) {
      const names = Object.keys(config.states).join(", ");
      throw new DispatchError("unknown_state", `Unknown state "${state}"; there is ${names}.`);
    }
    const name = config.states[state];
    const doc = documentOf(name);
    const initial = config.docs?.[name]?.states?.[state];
    const subscribers = new Set();
    return {
      update(changed, before, states) {
        const [previous, next] = [before?.[state], states?.[state]];
        if (changed !== name || next === previous) return;
        subscribers.forEach((subscriber) => call(subscriber, next, previous));
      },
      api: {
        getState: () => doc.states()?.[state],
        getInitialState: () => initial,
        subscribe(listener) {
          subscribers.add(listener);
          return () => subscribers.delete(listener);
        },
        dispatch: (action, args = {}) =>
          new Promise((resolve, reject) => {
            if (status === "ended") {
              throw new DispatchError("session_ended", ending);
            }
            // A copy, so that what is sent later is what was meant now.
            const entry = { state, action, args: JSON.parse(JSON.stringify(args)) };
            const identity = { client, id: ++lastId, at: Date.now(), sent: false };
            outbox.push({ ...identity, ...entry, resolve, reject });
            save();
            flush();
          }),
      },
    };
  }

  for (const name of Object.values(config.states)) documentOf(name);
  recover();
  const { signal } = pageEvents;
  document.addEventListener("visibilitychange", wake, { signal });
  addEventListener("online", wake, { signal });
  addEventListener("offline", () => isOffline() && disconnectQuietly("offline"), { signal });
  // An open socket keeps a page out of the back/forward cache; from there it returns by `pageshow`.
  addEventListener("pagehide", () => disconnectQuietly("reconnecting"), { signal });
  const returned = (event) => {
    if (event.persisted) recover(); // the pages between may have left actions
    wake();
  };
  addEventListener("pageshow", returned, { signal });
  open();

  return {
    code: config.session,
    participant: config.participant,
    get role() {
      return self.role;
    },
    get self() {
      return self;
    },
    get status() {
      return status;
    },
    get message() {
      return told();
    },
    get pending() {
      return outbox.length;
    },
    get presence() {
      return present;
    },
    setMeta(data) {
      const text = JSON.stringify(data);
      if (!/^{/.test(text) || bytes(text) > MAX_META) {
        throw new RangeError(`A tab's meta is an object of at most ${MAX_META} bytes of JSON.`);
      }
      if (!isPortable(JSON.parse(text))) {
        throw new RangeError("A meta has a broken character, a refused key, depth or integer.");
      }
      meta = text;
      sendMeta();
    },
    rev: (name) => documents.get(name)?.rev(),
    store(state) {
      if (!stores.has(state)) stores.set(state, openStore(state));
      return stores.get(state).api;
    },
    on(type, listener) {
      if (!listeners.has(type)) listeners.set(type, new Set());
      listeners.get(type).add(listener);
      return () => listeners.get(type).delete(listener);
    },
    pause() {
      disconnectQuietly("offline");
      paused = true;
    },
    resume() {
      paused = false;
      attempts = 0;
      open();
    },
    leave() {
      if (status === "live") transmit({ type: "bye" });
      finish("left");
    },
  };
}
