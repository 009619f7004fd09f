// Prints the size of each client as a page with a bundler loads it, in bytes: bundled and minified by
// esbuild, then gzipped. What a page imports of it is what it needs for one live state.
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const OURS = new URL("../../../sessionstores/static/sessionstores/", import.meta.url).pathname;
const ENTRIES = {
  ours: `export { connect } from "${OURS}client.js"`,
  "ours with React hooks": `export { connect } from "${OURS}client.js"; export { createHooks } from "${OURS}react.js"`,
  Zustand: 'export { createStore } from "zustand/vanilla"',
  PartySocket: 'export { PartySocket } from "partysocket"',
  "Phoenix with Presence": 'export { Socket, Presence } from "phoenix"',
  "Socket.IO": 'export { io } from "socket.io-client"',
  Convex: 'export { ConvexClient } from "convex/browser"',
  Replicache: 'export { Replicache } from "replicache"',
  Colyseus: 'export { Client } from "@colyseus/sdk"',
  Liveblocks: 'export { createClient } from "@liveblocks/client"',
};

const sizes = {};
for (const [name, contents] of Object.entries(ENTRIES)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: new URL(".", import.meta.url).pathname },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    define: { "process.env.NODE_ENV": '"production"' },
    logLevel: "error",
  });
  sizes[name] = gzipSync(outputFiles[0].contents, { level: 9 }).length;
}
console.log(JSON.stringify(sizes));
