// Prints the size of the client and fails when it has outgrown its budget.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { minify } from "terser";

const MINIFIED_BUDGET = 6 * 1024;
const WRITTEN_BUDGET = 12 * 1024;

const path = new URL("../../sessionstores/static/sessionstores/client.js", import.meta.url);
const written = await readFile(path, "utf8");
const { code } = await minify(written, { module: true, ecma: 2022 });
const gzipped = (text) => gzipSync(text, { level: 9 }).length;

const minified = gzipped(code);
const asWritten = gzipped(written);
console.log(`client.js: ${minified} bytes minified and gzipped (budget ${MINIFIED_BUDGET})`);
console.log(`client.js: ${asWritten} bytes gzipped as written (budget ${WRITTEN_BUDGET})`);
process.exitCode = minified > MINIFIED_BUDGET || asWritten > WRITTEN_BUDGET ? 1 : 0;
