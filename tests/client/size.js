// Prints the sizes of the client's modules and fails when they have outgrown their budget.
import { minify } from "terser";

import { CORE, PREDICT, PRESENCE, WATCH, gzipped, sourceOf } from "./modules.js";

// The core was meant to take 6 KB: what it checks of frames, clocks and storage takes the rest.
const BUDGETS = [
  ["client", CORE, 9.1 * 1024],
  ["predict", PREDICT, 1024],
  ["presence", PRESENCE, 1.1 * 1024],
  ["watch", WATCH, 1.5 * 1024],
  ["react", ["react.js"], 1.5 * 1024],
  ["htmx", ["htmx.js"], 512],
];

let failed = false;
const say = (what, size, budget) => {
  failed ||= size > budget;
  console.log(`${what}: ${size} bytes${budget ? ` (budget ${budget})` : ""}`);
};
for (const [what, names, budget] of BUDGETS) {
  const minified = [];
  for (const name of names) {
    const { code } = await minify(sourceOf(name), { module: true, ecma: 2022 });
    minified.push(code);
    say(`${name}, minified and gzipped`, gzipped(code));
  }
  say(`${what}, minified and gzipped together`, gzipped(minified.join("")), budget);
  say(`${what}, gzipped as written`, gzipped(names.map(sourceOf).join("")), 2 * budget);
}
process.exitCode = failed ? 1 : 0;
