import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { CONFIG, Page, ack, failure, snapshot } from "./page.js";

const MINUTE = 60_000;
const TELL = CONFIG.messages;

let page;
beforeEach(() => (page = new Page()));
afterEach(() => page.leave());

const act = () => page.session.store("board").dispatch("move");

// Every status as its listeners hear it, and as the session shows it then.
function heard() {
  const seen = [];
  page.session.on("status", (status, message) => {
    assert.equal(page.session.message, message);
    seen.push([status, message]);
  });
  return seen;
}

test("each hello names the page's language", () => {
  page.live();
  page.socket.breaks();
  page.tick(250);
  page.welcome();
  assert.deepEqual(page.sockets.map((socket) => socket.of("hello")[0].lang), ["de", "de"]);
});

test("a page of an earlier release names no language, and is told to reload", async () => {
  page.connect({ lang: undefined, messages: undefined });
  assert.equal("lang" in page.welcome().of("hello")[0], false);
  const refused = failure(act());
  page.session.leave();
  assert.equal((await refused).message, "Reload the page.");
});

test("while it is live there is nothing to tell, else what has happened", () => {
  page.connect();
  assert.equal(page.session.message, "");
  const seen = heard();
  page.welcome();
  page.socket.breaks();
  page.tick(250);
  page.welcome();
  page.network(false);
  page.session.leave();
  assert.deepEqual(seen, [
    ["live", ""],
    ["reconnecting", TELL.reconnecting],
    ["live", ""],
    ["offline", TELL.offline],
    ["ended", TELL.left],
  ]);
});

test("what the server said of why it closes is told until there is a connection", () => {
  page.live();
  const seen = heard();
  page.socket.says({ type: "error", code: "slow", message: "Zu langsam." });
  page.socket.breaks(4202);
  page.tick(250);
  assert.equal(page.session.message, "Zu langsam.");
  page.socket.open();
  page.socket.says({ type: "error", code: "limit_reached", of: "hello", message: "Zu viele." });
  page.socket.breaks(4204);
  assert.equal(page.session.message, "Zu viele.");
  page.tick(500);
  page.welcome();
  page.socket.breaks();
  assert.deepEqual(seen, [
    ["reconnecting", "Zu langsam."],
    ["reconnecting", "Zu viele."],
    ["live", ""],
    ["reconnecting", TELL.reconnecting],
  ]);
});

test("who never gets a connection is told so once, until there is one", () => {
  page.connect();
  const seen = heard();
  for (let attempts = 0; attempts < 3; attempts += 1) {
    page.socket.breaks();
    page.tick(5000);
  }
  page.network(false);
  page.network(true);
  page.socket.breaks();
  page.tick(5000);
  page.welcome();
  page.socket.breaks();
  assert.deepEqual(seen, [
    ["connecting", TELL.connecting],
    ["offline", TELL.offline],
    ["connecting", TELL.connecting],
    ["live", ""],
    ["reconnecting", TELL.reconnecting],
  ]);
});

test("an error of one frame is not told of the connection", async () => {
  page.live();
  const refused = failure(act());
  page.socket.says({ type: "error", code: "bad_value", message: "Nein.", id: 1 });
  page.socket.says({ type: "error", code: "bad_meta", message: "Nein.", of: "meta" });
  await refused;
  page.socket.breaks();
  assert.equal(page.session.message, TELL.reconnecting);
});

test("what the server says of the end is told of what was open and of what comes after", async () => {
  page.live();
  const open = failure(act());
  page.socket.says({ type: "end", reason: "ended", retry: false, message: "Vorbei." });
  for (const error of [await open, await failure(act())]) {
    assert.deepEqual([error.code, error.message], ["session_ended", "Vorbei."]);
  }
  assert.equal(page.session.message, "Vorbei.");
});

for (const reason of ["ended", "kicked", "disconnected"]) {
  test(`an end as ${reason} is told by the close, if its frame was lost`, () => {
    page.live();
    page.socket.breaks(4004, reason);
    assert.equal(page.session.message, TELL[reason] ?? TELL.closed);
  });
}

test("a refusal has the server's message, and its hint where there is one", async () => {
  page.live();
  const refused = [failure(act()), failure(act())];
  const reject = { type: "reject", code: "invalid_arguments", message: "Das passt nicht." };
  page.socket.says({ ...reject, id: 1, hint: "rank: a number, please." }, { ...reject, id: 2 });
  const [first, second] = await Promise.all(refused);
  assert.deepEqual([first.message, first.hint], [reject.message, "rank: a number, please."]);
  assert.deepEqual([second.message, second.hint], [reject.message, undefined]);
});

test("what the client refuses by itself has a message for people and a hint", async () => {
  page.live();
  const sent = failure(act());
  page.session.pause();
  const unsent = failure(
    page.session.store("board").dispatch("move", {}, { within: 5 * MINUTE }),
  );
  page.tick(5 * MINUTE);
  const [unknown, expired] = [await sent, await unsent];
  assert.deepEqual([unknown.message, expired.message], [TELL.outcome_unknown, TELL.expired]);
  assert.match(unknown.hint, /"move" was sent but not answered within five minutes/);
  assert.match(expired.hint, /"move" could not be sent in time/);
});

test("what is too large to be sent is told in the page's language", async () => {
  page.connect();
  page.welcome({ limits: { rate: null, frame: 100 } });
  const refused = await failure(page.session.store("board").dispatch("move", { card: "x".repeat(99) }));
  assert.deepEqual([refused.code, refused.message], ["too_large", TELL.too_large]);
  assert.match(refused.hint, /100 bytes/);
});

test("a token that cannot be fetched is told of as a lost connection", async () => {
  page.connect({ token: "" }, { token: () => Promise.reject(new TypeError("fetch failed")) });
  const errors = [];
  page.session.on("error", (error) => errors.push(error));
  await new Promise(setImmediate);
  assert.deepEqual(errors, [
    { code: "no_token", message: TELL.reconnecting, hint: "TypeError: fetch failed" },
  ]);
});

test("a reset is told of in the page's language", () => {
  page.live({ board: { log: [1] } });
  const seen = [];
  page.session.on("reset", ({ message }) => seen.push(message));
  page.socket.says(snapshot(5, { board: { log: [] } }, { reset: true }), ack(1, 5));
  assert.deepEqual(seen, [TELL.reset]);
});

test("a reset that the site has asked for is told of as the server says", () => {
  page.live({ board: { log: [1] } });
  const seen = [];
  page.session.on("reset", ({ message }) => seen.push(message));
  const frame = { reset: true, message: "Von vorn, bitte." };
  page.socket.says(snapshot(5, { board: { log: [] } }, frame));
  page.socket.says(snapshot(6, { board: { log: [] } }, { reset: true, message: 7 }));
  assert.deepEqual(seen, ["Von vorn, bitte.", TELL.reset]);
});

test("what is not meant for people is told in the page's language, too", async () => {
  page.live();
  const errors = [];
  page.session.on("error", (error) => errors.push(error));
  page.socket.onmessage({ data: "<html>" });
  const refused = failure(act());
  page.socket.says({ type: "reject", id: 1, code: "of_a_later_release" });
  assert.deepEqual(
    [errors[0].code, errors[0].message, (await refused).message],
    ["bad_frame", TELL.error, TELL.error],
  );
});

for (const [when, until] of Object.entries({
  live: () => page.live(),
  "not live yet": () => page.connect(),
  offline: () => [page.live(), page.network(false)],
  reconnecting: () => [page.live(), page.socket.breaks()],
})) {
  test(`a session that the page closed while it was ${when} promises nothing`, async () => {
    until();
    page.session.close();
    assert.equal(page.session.message, TELL.closed);
    const refused = await failure(act());
    assert.deepEqual([refused.code, refused.message], ["session_ended", TELL.closed]);
  });
}
