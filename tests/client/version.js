// Writes into each of the client's modules which version they are of: `node tests/client/version.js`
import { writeFileSync } from "node:fs";

import { MODULES, urlOf, version, withVersion } from "./modules.js";

const current = version();
for (const name of MODULES) writeFileSync(urlOf(name), withVersion(name, current));
console.log(`The modules are of version ${current}.`);
