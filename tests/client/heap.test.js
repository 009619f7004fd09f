// Half an hour of a tab's life, by a mocked clock: what it leaves behind in the heap stays level.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { connect } from "../../sessionstores/static/sessionstores/client.js";
import { ack, CONFIG, Page, patch, rev, snapshot, turn } from "./page.js";

const MINUTES = 30;
const WARM = 10; // minutes after which it is to be level
const STEP = 100; // ms
// What the compiler keeps differs by less; what is kept of each of anything that happens is more.
const LEVEL = 300_000; // bytes, from `WARM` to the end

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

const predict = { board: { move: (state, { n }) => ({ ...state, moved: n }) } };

// A server that acknowledges each action and changes the board besides.
class Server {
  at = 10;
  guests = 0;

  greet(page) {
    this.socket = page.welcome();
    const board = { moved: 0, log: [1, 2, 3] };
    this.socket.says(
      snapshot(this.at, { board, notes: {} }, { reset: true, done: {} }),
      snapshot(this.at, { agenda: {} }, { doc: "session", reset: true }),
    );
    for (const { participant } of this.socket.of("watch")) {
      const people = { bob: { name: "B", role: "participant" } };
      this.socket.says({ type: "watching", participant, states: ["board"], people });
      this.socket.says(snapshot(this.at, { board }, { doc: "p:bob", reset: true, run: "9c" }));
    }
  }

  answer() {
    for (const { type, id } of this.socket.sent.splice(0)) {
      if (type !== "action") continue;
      const ops = [{ op: "replace", path: "/board/moved", value: id }];
      this.socket.says(ack(id, this.at, (this.at += 1), { ops }));
    }
  }

  change() {
    const ops = [{ op: "add", path: "/board/log/0", value: this.at }, { op: "remove", path: "/board/log/3" }];
    const [from, to] = [this.at, (this.at += 1)];
    this.socket.says(patch(from, to, { ops }), patch(from, to, { doc: "p:bob", ops }));
  }

  // Somebody comes, and somebody goes.
  crowd() {
    const [come, go] = [`guest${this.guests}`, `guest${this.guests - 5}`];
    this.guests += 1;
    const joined = { [come]: [{ n: this.guests }] };
    this.socket.says({ type: "presence", joined, left: [go], people: { [come]: { name: come } } });
  }

  beat() {
    this.socket.says({ type: "ping", heads: { me: rev(this.at), session: rev(this.at) } });
  }

  drop(page) {
    const lost = this.socket;
    lost.breaks();
    while (!page.socket || page.socket === lost) page.tick(STEP);
    this.greet(page);
  }
}

// What happens to a tab in a minute, and to code of the page that comes and goes with its parts.
async function live(page, server, session, hear) {
  const board = session.store("board");
  for (let elapsed = 0; elapsed < 60_000; elapsed += STEP) {
    const every = (ms) => elapsed % ms === 0;
    if (every(300)) board.dispatch("move", { n: elapsed }).then(hear, hear);
    if (every(700)) board.dispatch("move", { n: elapsed }, { replace: "drag" }).then(hear, hear);
    if (every(200)) board.subscribe((state) => state.moved, hear)();
    if (every(2000)) server.crowd();
    if (every(500)) session.participants().stop();
    if (every(500)) session.watch(`guest${elapsed}`).stop();
    if (every(200)) session.on("presence", hear)();
    if (every(10_000)) server.beat();
    if (every(6000)) server.drop(page);
    page.tick(STEP);
    await turn();
    server.answer();
    server.change();
  }
}

// Another part of the page opens a session of its own, and closes it.
function visit(page) {
  const session = connect({ ...CONFIG, participant: "carol" });
  page.welcome().says(snapshot(10, { board: { log: [] }, notes: {} }));
  session.store("board").subscribe(() => {});
  session.watch("bob");
  session.close();
}

test(`${MINUTES} minutes of changes, drops, guests and other sessions leave the heap level`, async () => {
  const page = new Page();
  const samples = [];
  let heard = 0;
  try {
    const server = new Server();
    const session = page.connect({}, { predict });
    session.watch("bob");
    session.on("presence", () => { heard += 1; });
    server.greet(page);
    for (let minute = 0; minute < MINUTES; minute += 1) {
      await live(page, server, session, () => { heard += 1; });
      visit(page);
      // What the harness itself keeps.
      page.sockets.length = 0;
      page.random.mock.resetCalls();
      collect();
      collect();
      samples.push(process.memoryUsage().heapUsed);
    }
    assert.equal(session.status, "live");
    assert.equal(session.rev("me"), rev(server.at));
    assert.deepEqual(page.reported, []);
    session.close();
  } finally {
    page.leave();
  }
  // Each action is answered.
  assert.ok(heard > MINUTES * 250, `${heard} answers and guests`);
  // The rise of the line through them, which one sample that is off moves least.
  const late = samples.slice(WARM);
  const mean = late.reduce((sum, each) => sum + each) / late.length;
  const offset = (at) => at - (late.length - 1) / 2;
  const spread = late.reduce((sum, _, at) => sum + offset(at) ** 2, 0);
  const slope = late.reduce((sum, each, at) => sum + offset(at) * (each - mean), 0) / spread;
  const risen = slope * late.length;
  assert.ok(risen < LEVEL, `${Math.round(risen)} bytes in ${late.length} minutes: ${samples}`);
});
