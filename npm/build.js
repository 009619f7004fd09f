// Packs the client for npm into build/npm/sessionstores: `node npm/build.js`.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const ROOT = new URL("../", import.meta.url);
const STATIC = new URL("sessionstores/static/sessionstores/", ROOT);
const TARGET = new URL("build/npm/sessionstores/", ROOT);
// What belongs to the admin's pages, and to no other.
const ADMIN = /^admin/;

const PHASES = { a: "alpha", b: "beta", rc: "rc", dev: "dev" };

// npm writes the version of a pre-release otherwise than Python does: 0.2.0rc1 is 0.2.0-rc.1.
function versionForNpm() {
  const source = readFileSync(new URL("sessionstores/__init__.py", ROOT), "utf8");
  const [, stated] = /^__version__ = "(.+)"$/m.exec(source);
  const [, numbers, phase, number] = /^(\d+\.\d+\.\d+)(?:\.?(a|b|rc|dev)(\d+))?$/.exec(stated);
  return phase ? `${numbers}-${PHASES[phase]}.${number}` : numbers;
}

const version = versionForNpm();
const description = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));

rmSync(TARGET, { recursive: true, force: true });
mkdirSync(TARGET, { recursive: true });
for (const name of readdirSync(STATIC)) {
  if (/\.(js|d\.ts)$/.test(name) && !ADMIN.test(name)) cpSync(new URL(name, STATIC), new URL(name, TARGET));
}
cpSync(new URL("README.md", import.meta.url), new URL("README.md", TARGET));
cpSync(new URL("LICENSE", ROOT), new URL("LICENSE", TARGET));
const { name, ...rest } = description;
writeFileSync(new URL("package.json", TARGET), `${JSON.stringify({ name, version, ...rest }, null, 2)}\n`);
console.log(`build/npm/sessionstores is version ${version}.`);
