// The client's modules that belong together, with their sizes and the version that they carry.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FOLDER = new URL("../../sessionstores/static/sessionstores/", import.meta.url);

export const CORE = [
  "patch.js",
  "document.js",
  "outbox.js",
  "connection.js",
  "subscribers.js",
  "client.js",
];
export const PREDICT = ["predict.js"];
export const PRESENCE = ["presence.js"];
export const WATCH = ["watch.js"];
export const MODULES = [...CORE, ...PREDICT, ...PRESENCE, ...WATCH];

export const urlOf = (name) => new URL(name, FOLDER);
export const sourceOf = (name) => readFileSync(urlOf(name), "utf8");
export const gzipped = (text) => gzipSync(text, { level: 9 }).length;

const STATED = /^export const VERSION = "(\w*)";/m;

export const statedVersion = (name) => STATED.exec(sourceOf(name))[1];
export const withVersion = (name, version) =>
  sourceOf(name).replace(STATED, `export const VERSION = "${version}";`);

// Of what all of them say, but for the version itself.
export function version() {
  const hash = createHash("sha256");
  for (const name of MODULES) hash.update(withVersion(name, ""));
  return hash.digest("hex").slice(0, 8);
}
