// A peer: Socket.IO with its Redis adapter, and states in Redis, committed by
// compare-and-set: one per participant or, for sockets of a room, one that all share.
// `node socketio.js PORT [REDIS_URL]`; without Redis, in memory, it only sends to rooms.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, url] = process.argv.slice(2);
const script = readFileSync(new URL("compare_and_set.lua", import.meta.url), "utf8");
const sha = createHash("sha1").update(script).digest("hex");
const initial = JSON.parse(process.env.BENCH_STATE);

const options = { transports: ["websocket"] };
let redis;
if (url) {
  redis = createClient({ url });
  const subscriber = redis.duplicate();
  await Promise.all([redis.connect(), subscriber.connect()]);
  await redis.scriptLoad(script);
  options.adapter = createAdapter(redis, subscriber);
}

const server = createServer();
const io = new Server(server, options);

// What this process knows, by key: as with ours, a read is only needed when another
// process was first.
const known = new Map();

async function read(key) {
  const [rev, state] = await redis.hmGet(key, ["rev", "state"]);
  return { rev: Number(rev), state: JSON.parse(state) };
}

function move(piles, card, pile) {
  for (const cards of Object.values(piles)) {
    const place = cards.indexOf(card);
    if (place >= 0) cards.splice(place, 1);
  }
  piles[pile].unshift(card);
}

// Change a state and commit it, again on the newer state until it is in; its new rev.
async function commit(key, change) {
  for (;;) {
    const { rev, state } = known.get(key) ?? (await read(key));
    const next = structuredClone(state);
    change(next);
    const done = await redis.evalSha(sha, {
      keys: [key, "peer:index"],
      arguments: [
        String(rev),
        String(rev + 1),
        JSON.stringify(next),
        "600000",
        String(Date.now()),
        key,
      ],
    });
    if (done) {
      known.set(key, { rev: rev + 1, state: next });
      return rev + 1;
    }
    known.delete(key);
  }
}

function serveBoard(socket, name) {
  const key = `peer:${name}`;
  const created = redis.hSet(key, { rev: "0", state: JSON.stringify(initial) });
  known.delete(key);
  socket.join(key);
  socket.on("action", async ({ args }, acknowledge) => {
    await created;
    const { card, pile } = args;
    const rev = await commit(key, ({ piles }) => move(piles, card, pile));
    const ops = [{ op: "add", path: `/piles/${pile}/0`, value: card }];
    socket.to(key).emit("patch", { rev, ops });
    acknowledge({ rev, ops });
  });
}

function serveRoom(socket, room, name) {
  const key = `peer:${room}`;
  socket.join(room);
  socket.on("sync", async (acknowledge) => {
    if (!redis) return acknowledge({ rev: 0, state: {} });
    await redis.hSetNX(key, "state", '{"step":1,"votes":{}}');
    await redis.hSetNX(key, "rev", "0");
    acknowledge(await read(key));
  });
  socket.on("vote", async ({ card }, acknowledge) => {
    const rev = await commit(key, ({ votes }) => (votes[name] = card));
    const ops = [{ op: "add", path: `/votes/${name}`, value: card }];
    socket.to(room).emit("patch", { rev, ops });
    acknowledge({ rev, ops });
  });
  socket.on("change", (patch) => io.to(room).emit("patch", patch));
}

io.on("connection", (socket) => {
  const { name, room } = socket.handshake.query;
  if (room) serveRoom(socket, room, name);
  else serveBoard(socket, name);
});

server.listen(Number(port), "127.0.0.1");
