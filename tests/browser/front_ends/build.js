// Builds the front ends of this folder into the one that it is given, as the guides have them.
//
// React and Svelte are bundled; Vue and htmx run as they are. It does what a bundler does, for
// as much as the apps need: `node --conditions=browser --conditions=development build.js FOLDER`.
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { compile, compileModule } from "svelte/compiler";
import ts from "typescript";

const [, , BUILT] = process.argv;
const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, "../../..");
const MODULES = join(ROOT, "node_modules");
const SCRIPTS = join(ROOT, "sessionstores/static/sessionstores");
const SITE = join(BUILT, "workshop");

// The files that a guide names, below `folder`; `only` of them.
function paste(guide, folder, only) {
  const text = readFileSync(join(ROOT, "docs/how-to", guide), "utf8");
  for (const [, name, body] of text.matchAll(/```jsx?\n\/\/ (?:workshop\/)?(\S+)\n(.*?)```/gs)) {
    if (!only.includes(name)) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), body);
  }
}

// What is no CommonJS yet becomes that.
function compiled(file) {
  let text = readFileSync(file, "utf8");
  if (file.endsWith(".svelte")) {
    text = compile(text, { generate: "client", runes: true, filename: file }).js.code;
  }
  if (file.endsWith(".svelte.js")) text = compileModule(text, { filename: file }).js.code;
  text = text.replaceAll("process.env.NODE_ENV", '"development"');
  if (!/^\s*(import|export)\b/m.test(text)) return text;
  const compilerOptions = { jsx: "react-jsx", module: "CommonJS", target: "ES2022", esModuleInterop: true };
  return ts.transpileModule(text, { compilerOptions, fileName: file.replace(".svelte", ".js") }).outputText;
}

// As from the file, or else as from this repository.
function found(name, file) {
  if (name.startsWith("../sessionstores/")) return join(SCRIPTS, basename(name));
  try {
    return createRequire(file).resolve(name);
  } catch {
    return createRequire(join(MODULES, "none")).resolve(name);
  }
}

// One script of all that `main` imports.
function bundle(main, target) {
  const numbers = new Map();
  const parts = [];
  const add = (file) => {
    if (!numbers.has(file)) {
      const number = numbers.size;
      numbers.set(file, number);
      const require = (_, name) => `require(${add(found(name, file))})`;
      const text = compiled(file).replace(/\brequire\(["']([^"'\n]+)["']\)/g, require);
      parts[number] = `(module, exports) => {\n${text}\n}`;
    }
    return numbers.get(file);
  };
  add(main);
  const runtime = `
const made = [];
function require(number) {
  if (!made[number]) {
    made[number] = { exports: {} };
    parts[number](made[number], made[number].exports);
  }
  return made[number].exports;
}
require(0);`;
  writeFileSync(target, `const parts = [${parts.join(",\n")}];${runtime}`);
}

cpSync(join(HERE, "apps"), SITE, { recursive: true });
paste("front-ends.md", SITE, ["session.js", "predict.js", "vue/useStore.js", "svelte/live.js"]);
paste("react.md", join(SITE, "react"), ["hooks.js", "App.jsx", "predict.js", "Notes.jsx", "Room.jsx"]);
bundle(join(SITE, "react/main.jsx"), join(SITE, "react/main.js"));
bundle(join(SITE, "svelte/main.js"), join(SITE, "svelte/main.js"));

mkdirSync(join(BUILT, "lib"));
for (const [name, file] of [
  ["vue", "vue/dist/vue.runtime.esm-browser.js"],
  ["htmx2", "htmx.org/dist/htmx.js"],
  ["htmx4", "htmx4/dist/htmx.js"],
]) {
  copyFileSync(join(MODULES, file), join(BUILT, "lib", `${name}.js`));
}
