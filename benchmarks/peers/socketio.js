// A peer: Socket.IO with its Redis adapter, and a state per participant in Redis,
// committed by compare-and-set. `node socketio.js PORT REDIS_URL`

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

const redis = createClient({ url });
const subscriber = redis.duplicate();
await Promise.all([redis.connect(), subscriber.connect()]);
await redis.scriptLoad(script);

const server = createServer();
const io = new Server(server, {
  transports: ["websocket"],
  adapter: createAdapter(redis, subscriber),
});

// What this process knows, by participant: as with ours, a read is only needed when
// another process was first.
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

async function commit(key, { card, pile }) {
  for (;;) {
    const { rev, state } = known.get(key) ?? (await read(key));
    const next = structuredClone(state);
    move(next.piles, card, pile);
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

io.on("connection", async (socket) => {
  const key = `peer:${socket.handshake.query.name}`;
  const created = redis.hSet(key, { rev: "0", state: JSON.stringify(initial) });
  known.delete(key);
  socket.join(key);
  socket.on("action", async ({ args }, acknowledge) => {
    await created;
    const rev = await commit(key, args);
    const ops = [{ op: "add", path: `/piles/${args.pile}/0`, value: args.card }];
    socket.to(key).emit("patch", { rev, ops });
    acknowledge({ rev, ops });
  });
});

server.listen(Number(port), "127.0.0.1");
