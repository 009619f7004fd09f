import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { ack, CONFIG, failure, FakeSocket, Page, patch, rev, snapshot, turn } from "./page.js";

let page;
beforeEach(() => {
  page = new Page();
});
afterEach(() => page.leave());

const board = () => page.session.store("board");

function statuses() {
  const seen = [];
  page.session.on("status", (status) => seen.push(status));
  return seen;
}

function ends() {
  const seen = [];
  page.session.on("end", (event) => seen.push(event));
  return seen;
}

test("hello opens the conversation, with the token in it and not in the URL", () => {
  page.connect();
  assert.equal(page.socket.url, "wss://example.org/ws/sessionstores/");
  assert.equal(page.socket.protocol, "sessionstores.v1");
  assert.deepEqual(page.socket.sent, []);
  page.socket.open();
  const [{ client, ...hello }] = page.socket.sent;
  assert.deepEqual(hello, { type: "hello", token: "first", lang: "de", have: {} });
});

test("a page over plain http connects over ws, and an absolute ws URL is kept", () => {
  location.href = "http://localhost:8000/a/b/";
  page.connect({ url: "../ws/" });
  assert.equal(page.socket.url, "ws://localhost:8000/a/ws/");
  page.connect({ url: "wss://other.example/ws/" });
  assert.equal(page.socket.url, "wss://other.example/ws/");
});

test("the configuration is read from an element, a selector or an object", () => {
  const element = { textContent: JSON.stringify(CONFIG) };
  page.document.querySelector = (selector) => (selector === "#sessionstores" ? element : null);
  for (const source of ["#sessionstores", element, CONFIG]) {
    const session = connect(source);
    assert.equal(session.code, "K7Q2ZD");
    assert.equal(session.participant, "alice");
    assert.equal(session.role, "participant");
  }
  assert.throws(() => connect("#other"), /"#other"/);
});

test("a WebSocket class can be injected", () => {
  class Other extends FakeSocket {}
  page.connect({}, { WebSocket: Other });
  assert.ok(page.socket instanceof Other);
});

test("connecting leaves no global behind and changes no configuration", () => {
  const before = Reflect.ownKeys(globalThis);
  const docs = { me: { rev: rev(1), states: { board: { log: [] } } } };
  const config = { ...CONFIG, docs };
  const copy = structuredClone(config);
  page.session = connect(config);
  page.welcome().says(patch(1));
  assert.deepEqual(Reflect.ownKeys(globalThis), before);
  assert.deepEqual(config, copy);
});

test("the status goes from connecting over live to reconnecting and back", () => {
  page.connect();
  const seen = statuses();
  assert.equal(page.session.status, "connecting");
  page.welcome();
  page.socket.breaks();
  page.tick(1000);
  page.welcome();
  assert.deepEqual(seen, ["live", "reconnecting", "live"]);
});

test("a listener of session.on that throws is reported, and can be removed", () => {
  page.connect();
  const seen = [];
  page.session.on("status", () => {
    throw new Error("broken");
  });
  const off = page.session.on("status", (status) => seen.push(status));
  page.welcome();
  off();
  page.socket.breaks();
  assert.deepEqual(seen, ["live"]);
  assert.equal(page.reported.length, 2);
});

test("failed attempts back off from 250 ms, doubling, to 3 s, each with full jitter", () => {
  page.connect();
  const ceilings = [];
  for (let attempt = 0; attempt < 7; attempt += 1) {
    const fraction = [0, 0.999, 0.5][attempt % 3];
    page.random.mock.mockImplementation(() => fraction);
    const before = page.sockets.length;
    const start = Date.now();
    page.socket.breaks();
    while (page.sockets.length === before) page.tick(1);
    const waited = Date.now() - start;
    const ceiling = Math.min(3000, 250 * 2 ** attempt);
    assert.ok(Math.abs(waited - ceiling * fraction) <= 2, `${attempt}: ${waited} ms`);
    ceilings.push(ceiling);
  }
  assert.equal(ceilings.at(-1), 3000);
});

test("a connection that lasted starts the backoff anew; one that did not goes on with it", () => {
  page.random.mock.mockImplementation(() => 0.999);
  page.connect();
  for (let attempt = 0; attempt < 6; attempt += 1) {
    page.socket.breaks();
    page.tick(3000);
  }
  page.welcome();
  page.socket.breaks(4203);
  const before = page.sockets.length;
  page.tick(2900);
  assert.equal(page.sockets.length, before);
  page.tick(100);
  page.welcome();
  page.tick(4000);
  page.socket.breaks();
  page.tick(250);
  assert.equal(page.sockets.length, before + 2);
});

test("one tab too many goes on trying, since a place may become free", () => {
  page.connect();
  const seen = ends();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    page.socket.open();
    page.socket.says({ type: "error", code: "limit_reached", message: "Close a tab first." });
    page.socket.breaks(4204, "too_many_connections");
    page.tick(3000);
  }
  assert.equal(page.sockets.length, 4);
  page.welcome();
  assert.equal(page.session.status, "live");
  assert.deepEqual(seen, []);
});

test("the network's return connects at once", () => {
  page.live();
  const seen = statuses();
  page.network(false);
  assert.equal(page.session.status, "offline");
  assert.ok(page.socket.closed);
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
  page.show("visible");
  assert.equal(page.sockets.length, 1);
  page.network(true);
  assert.equal(page.sockets.length, 2);
  page.welcome();
  assert.deepEqual(seen, ["offline", "reconnecting", "live"]);
});

test("a connection lost without a network is offline and waits for it", () => {
  page.live();
  page.navigator.onLine = false;
  page.socket.breaks();
  assert.equal(page.session.status, "offline");
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
  page.network(true);
  assert.equal(page.sockets.length, 2);
});

test("a connection that died in the machine's sleep is not live, even offline", async () => {
  page.live();
  const seen = statuses();
  page.navigator.onLine = false; // nobody was awake for the event
  mock.timers.setTime(Date.now() + 300_000);
  page.show("visible");
  assert.equal(page.session.status, "offline");
  assert.ok(page.socket.closed);
  const moved = board().dispatch("move", {});
  page.session.setMeta({ name: "Al" });
  await turn();
  assert.equal(page.session.pending, 1);
  page.network(true);
  page.welcome().says(snapshot(10), ack(1, 10));
  await moved;
  assert.deepEqual(seen, ["offline", "reconnecting", "live"]);
});

test("a browser that says offline while it is connected is not believed again", () => {
  page.navigator.onLine = false;
  page.connect();
  page.welcome();
  page.network(false);
  assert.equal(page.session.status, "live");
  page.socket.breaks();
  assert.equal(page.session.status, "reconnecting");
  page.tick(250);
  assert.equal(page.sockets.length, 2);
});

test("a hidden tab keeps its connection, and connects again more slowly", () => {
  page.random.mock.mockImplementation(() => 0.999);
  page.live();
  page.show("hidden");
  page.socket.says(patch(10));
  assert.deepEqual(board().getState().log, [11]);
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const before = page.sockets.length;
    page.socket.breaks();
    let waited = 0;
    for (; page.sockets.length === before; waited += 100) page.tick(100);
    waits.push(waited);
  }
  assert.deepEqual(waits, [2500, 5000, 10_000, 20_000, 30_000, 30_000]);
  page.socket.breaks();
  page.show("visible");
  const shown = page.sockets.length;
  page.welcome();
  page.socket.breaks();
  page.tick(250);
  assert.equal(page.sockets.length, shown + 1);
});

test("a hidden tab whose network returns connects again, at its own pace", () => {
  page.live();
  page.show("hidden");
  page.network(false);
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
  page.network(true);
  assert.equal(page.sockets.length, 1);
  page.tick(1250);
  assert.equal(page.sockets.length, 2);
});

test("a hidden tab of a server that pings often is away no longer than three pings", () => {
  page.random.mock.mockImplementation(() => 0.999);
  page.connect();
  page.welcome({ ping: 1 });
  page.show("hidden");
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const before = page.sockets.length;
    page.socket.breaks();
    page.tick(3000);
    assert.equal(page.sockets.length, before + 1);
  }
});

test("a tab that is shown does not wait for the rest of its backoff", () => {
  page.connect();
  page.random.mock.mockImplementation(() => 0.999);
  for (let attempt = 0; attempt < 5; attempt += 1) {
    page.socket.breaks();
    page.tick(3000);
  }
  page.socket.breaks();
  const before = page.sockets.length;
  page.show("visible");
  assert.equal(page.sockets.length, before + 1);
  page.tick(10);
  page.show("visible");
  assert.equal(page.sockets.length, before + 1);
});

test("a connection that is silent for two and a half pings is dead", () => {
  page.live();
  page.tick(24_000);
  page.socket.says({ type: "ping" });
  page.tick(24_999);
  assert.equal(page.session.status, "live");
  page.tick(1);
  assert.equal(page.session.status, "reconnecting");
  assert.ok(page.socket.closed);
  page.tick(250);
  assert.equal(page.sockets.length, 2);
});

test("a ping for which no timer can wait counts as the usual one", () => {
  for (const ping of [2 ** 53, 1e300, 3e6]) {
    page.connect();
    page.welcome({ ping });
    page.tick(20_000);
    assert.equal(page.session.status, "live", `${ping}`);
    page.tick(10_000);
    assert.equal(page.session.status, "reconnecting", `${ping}`);
    page.session.close();
  }
});

test("the silence that counts follows the server's ping", () => {
  page.connect();
  page.welcome({ ping: 2 });
  page.tick(5000);
  assert.equal(page.session.status, "reconnecting");
});

test("a connection that is never welcomed is given up after ten seconds", () => {
  page.connect();
  page.tick(10_000);
  assert.ok(page.socket.closed);
  page.tick(250);
  assert.equal(page.sockets.length, 2);
  page.socket.open();
  page.tick(10_250);
  assert.equal(page.sockets.length, 3);
});

test("a later connection that is never welcomed is given up as soon", () => {
  page.live();
  page.socket.breaks();
  page.tick(250);
  page.socket.open();
  page.tick(10_000);
  assert.ok(page.socket.closed);
});

test("a machine that slept finds its connection dead when the tab is shown", () => {
  page.live();
  page.show("hidden");
  const slept = Date.now() + 3_600_000;
  const { now } = Date;
  Date.now = () => slept; // timers stood still, the clock did not
  page.show("visible");
  Date.now = now;
  assert.ok(page.sockets[0].closed);
  assert.equal(page.sockets.length, 2);
});

test("a tab that is shown soon keeps its connection", () => {
  page.live();
  page.show("hidden");
  page.tick(20_000);
  page.show("visible");
  assert.equal(page.sockets.length, 1);
  assert.equal(page.session.status, "live");
});

test("a tab that comes back says so in its hello, and a page that is opened does not", () => {
  page.live();
  assert.equal("runs" in page.socket.of("hello")[0], false);
  page.socket.breaks();
  page.tick(5_000);
  page.socket.open();
  assert.deepEqual(page.socket.of("hello")[0].runs, {});
});

test("the next hello says which run of the server each document is from", () => {
  page.live();
  page.socket.says({ ...snapshot(10, { board: { log: [] } }), run: "1f9a" });
  page.socket.breaks();
  page.tick(5_000);
  page.socket.open();
  assert.deepEqual(page.socket.of("hello")[0].runs, { me: "1f9a" });
});

test("what a dropped socket still delivers is ignored", () => {
  page.live();
  const [old] = page.sockets;
  page.session.pause();
  page.session.resume();
  page.welcome().says(snapshot(10, { board: { log: [] } }));
  old.says(patch(10));
  old.onopen();
  old.onclose({ code: 4004, reason: "" });
  assert.deepEqual(board().getState().log, []);
  assert.equal(page.session.status, "live");
  assert.equal(old.of("hello").length, 1);
});

for (const code of [4000, 4004, 4099]) {
  test(`close code ${code} ends the session`, async () => {
    page.live();
    const seen = ends();
    page.socket.breaks(code, "over");
    page.tick(60_000);
    page.show("visible");
    page.network(true);
    page.session.resume();
    assert.equal(page.session.status, "ended");
    assert.equal(page.sockets.length, 1);
    assert.deepEqual(seen, [{ reason: "over", message: "Nicht mehr verbunden." }]);
  });
}

for (const code of [1000, 1001, 1006, 1011, 3000, 4200, 4202, 4299, 4300, 4999]) {
  test(`close code ${code} means retry`, () => {
    page.live();
    page.socket.breaks(code);
    page.tick(250);
    assert.equal(page.sockets.length, 2);
    assert.equal(page.session.status, "reconnecting");
  });
}

test("the error before a close says why the session ended", () => {
  page.connect();
  const seen = ends();
  const errors = [];
  page.session.on("error", (error) => errors.push(error));
  page.socket.open();
  page.socket.says({ type: "error", code: "session_locked", message: "The session is locked." });
  page.socket.breaks(4003);
  assert.deepEqual(errors, [{ code: "session_locked", message: "The session is locked." }]);
  assert.deepEqual(seen, [{ reason: "session_locked", message: "The session is locked." }]);
});

test("an end frame ends the session once, and what is pending with it", async () => {
  page.live();
  const seen = ends();
  const changes = statuses();
  const refused = failure(board().dispatch("move"));
  await turn();
  page.socket.says({ type: "end", reason: "ended", retry: false, message: "It is over." });
  page.socket.onclose({ code: 4004, reason: "" });
  assert.equal((await refused).code, "session_ended");
  assert.equal((await failure(board().dispatch("move"))).code, "session_ended");
  assert.deepEqual(seen, [{ reason: "ended", message: "It is over." }]);
  assert.deepEqual(changes, ["ended"]);
  assert.ok(page.socket.closed);
  await turn();
  assert.equal(page.storage.size, 0);
  assert.deepEqual(board().getState(), { log: [] });
});

test("an ack that waits for its state resolves when the session ends", async () => {
  page.live();
  const done = board().dispatch("move");
  page.socket.says(ack(1, 12), { type: "end", reason: "ended", retry: false });
  assert.equal(await done, null);
});

test("an end that asks to retry ends nothing", () => {
  page.live();
  const seen = ends();
  page.socket.says({ type: "end", reason: "restart", retry: true });
  page.socket.breaks(1012);
  page.tick(250);
  page.welcome();
  assert.deepEqual(seen, []);
  assert.equal(page.session.status, "live");
});

test("a refused token is replaced by a new one", async () => {
  let fetched = 0;
  page.connect({}, { token: async () => `new ${(fetched += 1)}` });
  page.socket.open();
  page.socket.says({ type: "error", code: "invalid_token", message: "Expired." });
  page.socket.breaks(4100);
  page.tick(250);
  await turn();
  assert.equal(page.sockets.length, 2);
  page.welcome();
  assert.equal(page.socket.sent[0].token, "new 1");
  page.socket.breaks();
  page.tick(1000);
  page.welcome();
  assert.equal(page.socket.sent[0].token, "new 1");
  page.socket.breaks(4199);
  page.tick(1000);
  await turn();
  page.welcome();
  assert.equal(page.socket.sent[0].token, "new 2");
});

test("a refused token without a way to a new one ends the session", () => {
  page.connect();
  const seen = ends();
  page.socket.open();
  page.socket.says({ type: "error", code: "invalid_token", message: "Expired." });
  page.socket.breaks(4100);
  assert.deepEqual(seen, [{ reason: "invalid_token", message: "Expired." }]);
});

test("a new token that is refused as well ends the session", async () => {
  page.connect({}, { token: async () => "new" });
  const seen = ends();
  page.socket.breaks(4100);
  page.tick(250);
  await turn();
  page.socket.open();
  page.socket.breaks(4100);
  assert.equal(seen.length, 1);
  assert.equal(page.sockets.length, 2);
});

test("a token that fails to come is asked for again; none at all ends it", async () => {
  const answers = [Promise.reject(new Error("no network")), Promise.resolve(null)];
  answers[0].catch(() => {});
  page.connect({}, { token: () => answers.shift() });
  const seen = ends();
  const errors = [];
  page.session.on("error", (error) => errors.push(error.code));
  page.socket.breaks(4100);
  page.tick(250);
  await turn();
  assert.deepEqual(errors, ["no_token"]);
  assert.deepEqual(seen, []);
  page.tick(1000);
  await turn();
  assert.equal(seen[0].reason, "invalid_token");
  assert.equal(page.sockets.length, 1);
});

test("a page without a token fetches one before it connects", async () => {
  let calls = 0;
  const token = async () => {
    calls += 1;
    return "fetched";
  };
  page.connect({ token: undefined }, { token });
  page.show("visible");
  assert.equal(page.sockets.length, 0);
  await turn();
  page.socket.open();
  assert.equal(page.sockets.length, 1);
  assert.equal(page.socket.sent[0].token, "fetched");
  assert.equal(calls, 1);
});

test("a session that ends while its token is fetched stays ended", async () => {
  for (const answer of [Promise.resolve("late"), Promise.resolve(null)]) {
    page.connect({ token: undefined }, { token: () => answer });
    const seen = ends();
    page.session.leave();
    await turn();
    assert.equal(page.sockets.length, 0);
    assert.equal(seen.length, 1);
  }
});

test("a token that the server sends is used from then on", () => {
  page.live();
  page.socket.says({ type: "token", token: "renewed" });
  page.socket.breaks();
  page.tick(250);
  page.socket.open();
  assert.equal(page.socket.sent[0].token, "renewed");
});

test("messages reach their listeners", () => {
  page.live();
  const seen = [];
  page.session.on("message", (data) => seen.push(data));
  page.socket.says({ type: "message", data: { pause: 5 } });
  assert.deepEqual(seen, [{ pause: 5 }]);
});

test("a paused session stays away until it is resumed, then sends what queued", () => {
  page.live();
  page.session.pause();
  assert.equal(page.session.status, "offline");
  assert.ok(page.socket.closed);
  board().dispatch("move");
  page.session.pause();
  page.happens("pagehide");
  page.show("visible");
  page.network(true);
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
  assert.equal(page.session.status, "offline");
  assert.equal(page.session.pending, 1);
  page.session.resume();
  page.session.resume();
  assert.equal(page.sockets.length, 2);
  page.welcome();
  assert.equal(page.socket.of("action").length, 1);
});

test("leave says bye, closes and ends", async () => {
  page.live();
  const seen = ends();
  const refused = failure(board().dispatch("move"));
  page.session.leave();
  page.session.leave();
  assert.deepEqual(page.socket.sent.at(-1), { type: "bye" });
  assert.equal(page.socket.of("bye").length, 1);
  assert.ok(page.socket.closed);
  assert.equal(page.session.status, "ended");
  assert.equal((await refused).code, "session_ended");
  assert.equal(seen[0].reason, "left");
  page.show("visible");
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
});

test("a page that is hidden for good closes without a bye, and comes back from the cache", () => {
  page.live();
  page.happens("pagehide");
  assert.ok(page.socket.closed);
  assert.deepEqual(page.socket.of("bye"), []);
  page.happens("pageshow", { persisted: true });
  assert.equal(page.sockets.length, 2);
  page.welcome();
  assert.equal(page.session.status, "live");
});

test("a session that ended no longer listens to the page", () => {
  const signals = [];
  for (const target of [globalThis, page.document]) {
    const { addEventListener } = target;
    target.addEventListener = (type, listener, options) => {
      signals.push(options.signal);
      addEventListener.call(target, type, listener, options);
    };
  }
  page.live();
  assert.equal(signals.length, 5);
  assert.ok(signals.every((signal) => !signal.aborted));
  page.session.leave();
  assert.ok(signals.every((signal) => signal.aborted));
});

test("listeners that leave while the welcome is told do no harm", () => {
  page.connect();
  board().dispatch("move").catch(() => {});
  page.session.on("status", (status) => status === "live" && page.session.leave());
  page.welcome();
  assert.equal(page.session.status, "ended");
  assert.deepEqual(page.socket.of("action"), []);
});

test("who is kicked is told so, and nothing of theirs waits or is sent again", async () => {
  page.live();
  const [seen, changes] = [ends(), statuses()];
  const refused = failure(board().dispatch("move"));
  const message = "You were removed from this session.";
  page.socket.says({ type: "end", reason: "kicked", retry: false, message });
  assert.equal((await refused).message, message);
  assert.deepEqual(seen, [{ reason: "kicked", message }]);
  assert.deepEqual(changes, ["ended"]);
  assert.equal(page.session.pending, 0);
  page.tick(60_000);
  assert.equal(page.sockets.length, 1);
});

for (const [how, frames] of [
  ["an error", [{ type: "error", code: "kicked", message: "Out.", of: "hello" }]],
  ["the close alone", []],
]) {
  test(`a tab that comes back after its participant was kicked stops, by ${how}`, () => {
    page.connect();
    const seen = ends();
    page.socket.open();
    page.socket.says(...frames);
    page.socket.breaks(4007, "kicked");
    const message = frames[0]?.message ?? "Entfernt.";
    assert.deepEqual(seen, [{ reason: "kicked", message }]);
    assert.equal(page.session.status, "ended");
    page.tick(60_000);
    assert.equal(page.sockets.length, 1);
  });
}

test("a session that is opened paused does nothing until it is resumed", async () => {
  page.connect().store("board").dispatch("clear");
  await turn();
  page.session.close();
  const { session } = { session: page.connect({}, { paused: true }) };
  page.network(false);
  page.network(true);
  page.show("hidden");
  page.show("visible");
  page.tick(600_000);
  assert.equal(page.sockets.length, 1);
  assert.deepEqual([session.status, session.pending], ["connecting", 0]);
  session.resume();
  assert.equal(page.sockets.length, 2);
  // What the page before has left is taken up, not lost.
  page.welcome();
  assert.equal(page.socket.of("action").length, 1);
  page.network(false);
  assert.equal(session.status, "offline");
});
