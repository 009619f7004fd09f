// JSON patches (RFC 6902), and how JSON values compare.

export const VERSION = "3831dced";

const REFUSED_KEY = /^(__proto__|constructor|prototype)$/;

export class PatchError extends Error {
  name = "PatchError";
  code = "patch_error";
}

export const bytes = (text) => new TextEncoder().encode(text).length;

export const isContainer = (value) => typeof value === "object" && value !== null;

export const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);

const sameKind = (a, b) =>
  isContainer(a) && isContainer(b) && Array.isArray(a) === Array.isArray(b);

export function equal(a, b) {
  if (a === b) return true;
  if (!sameKind(a, b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equal(a[key], b[key]))
  );
}

const copyOf = (value) => (Array.isArray(value) ? Object.assign([], value) : { ...value });

// `next` with each part that equals its counterpart in `old`, the order of keys included, replaced
// by that counterpart, so that what did not change keeps its identity. Neither is changed.
export function share(old, next) {
  if (old === next || !sameKind(old, next)) return next;
  const keys = Object.keys(next);
  const before = Object.keys(old);
  let isSame = keys.length === before.length;
  let shared = next;
  keys.forEach((key, place) => {
    const part = Object.hasOwn(old, key) ? share(old[key], next[key]) : next[key];
    isSame &&= key === before[place] && part === old[key];
    if (part === next[key]) return;
    if (shared === next) shared = copyOf(next);
    shared[key] = part;
  });
  return isSame ? old : shared;
}

export function freeze(value) {
  if (!isContainer(value) || Object.isFrozen(value)) return value;
  Object.values(value).forEach(freeze);
  return Object.freeze(value);
}

// The first token is always "", the key under which applyPatch keeps the document itself.
function parsePointer(pointer) {
  if (typeof pointer !== "string" || /^[^/]|~(?![01])/.test(pointer)) {
    throw new PatchError(`${JSON.stringify(pointer)} is not a JSON pointer.`);
  }
  const tokens = pointer
    .split("/")
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
  const refused = tokens.find((token) => REFUSED_KEY.test(token));
  if (refused) throw new PatchError(`"${pointer}" names ${refused}, which is refused.`);
  return tokens;
}

// The key of an existing child; `spare` allows for one that is about to be inserted in an array.
function keyIn(node, token, spare = 0) {
  const isHere = Array.isArray(node)
    ? /^(0|[1-9]\d*)$/.test(token) && +token < node.length + spare
    : isContainer(node) && Object.hasOwn(node, token);
  if (isHere) return token;
  throw new PatchError(`There is no "${token}" where the patch expects one.`);
}

// RFC 6902. The given document is never changed, and what no operation reaches is shared with the
// result. Values enter by reference, never merged key by key, so an odd key inside one stays inert.
export function applyPatch(document, operations) {
  const top = { "": document };
  const copies = new Set(); // made by this call, so the next operation may change them in place

  const read = (tokens) => tokens.reduce((node, token) => node[keyIn(node, token)], top);

  const parentOf = (tokens) =>
    tokens.slice(0, -1).reduce((node, token) => {
      const child = node[keyIn(node, token)];
      if (!isContainer(child) || copies.has(child)) return child;
      const copy = Array.isArray(child) ? [...child] : { ...child };
      copies.add(copy);
      return (node[token] = copy);
    }, top);

  const remove = (tokens) => {
    const parent = parentOf(tokens);
    const key = keyIn(parent, tokens.at(-1));
    if (Array.isArray(parent)) parent.splice(key, 1);
    else delete parent[key];
  };

  const add = (tokens, value) => {
    const parent = parentOf(tokens);
    const token = tokens.at(-1);
    if (Array.isArray(parent)) {
      parent.splice(token === "-" ? parent.length : keyIn(parent, token, 1), 0, value);
    } else {
      if (!isContainer(parent)) keyIn(parent, token); // throws
      parent[token] = value;
    }
  };

  for (const { op, path, from, value } of operations) {
    const tokens = parsePointer(path);
    if (/^(add|replace|test)$/.test(op) && value === undefined) {
      throw new PatchError(`"${op}" at "${path}" has no value.`);
    }
    if (op === "add") {
      add(tokens, value);
    } else if (op === "remove") {
      remove(tokens);
    } else if (op === "replace") {
      const parent = parentOf(tokens);
      parent[keyIn(parent, tokens.at(-1))] = value;
    } else if (op === "test") {
      if (!equal(read(tokens), value)) throw new PatchError(`The test at "${path}" failed.`);
    } else if (op === "copy") {
      const copied = read(parsePointer(from));
      copies.clear(); // now in two places, so no longer to be changed in place
      add(tokens, copied);
    } else if (op === "move") {
      const source = parsePointer(from);
      const moved = read(source);
      if (path === from) continue;
      if (path.startsWith(`${from}/`)) throw new PatchError(`"${from}" cannot go into itself.`);
      remove(source);
      add(tokens, moved);
    } else {
      throw new PatchError(`"${op}" is not a patch operation.`);
    }
  }
  return read([""]);
}
