// Morphs one part of a page into another with few changes to the DOM.
//
// Focus, ticked boxes, open details, selection and the order of rows are kept. Nodes are
// matched by data-ss-key or id. New rows come in their places; while somebody uses the
// list, those that would push others down are held back, and counted in data-ss-held.

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.ssKey || node.id : "");
const isAlike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/**
 * Make the children of `there` equal those of `wanted`, whose nodes may be moved out;
 * `sorted`: rows take the order of `wanted`, too.
 */
export function morph(there, wanted, sorted = false) {
  if (wanted.dataset?.ssRows === undefined) morphChildren(there, wanted, sorted);
  else if (sorted) sortRows(there, wanted);
  else morphRows(there, wanted);
}

function morphChildren(there, wanted, sorted) {
  const keys = new Set([...wanted.children].map(keyOf));
  keys.delete("");
  let old = there.firstChild;
  for (const next of [...wanted.childNodes]) {
    let match = old;
    // Not past what has a key and is wanted: it would be removed on the way.
    while (match && !isAlike(match, next)) match = keys.has(keyOf(match)) ? null : match.nextSibling;
    if (match) {
      while (old !== match) old = remove(old);
      old = match.nextSibling;
      morphNode(match, next, sorted);
    } else {
      there.insertBefore(next, old);
    }
  }
  while (old) old = remove(old);
}

/** Update the rows that stay, and remove those that do not; return those that stay, by key. */
function staying(there, wanted) {
  const rows = new Map([...wanted.children].map((row) => [row.dataset.ssKey, row]));
  const kept = new Map();
  for (const row of [...there.children]) {
    const next = rows.get(row.dataset.ssKey);
    if (next) {
      morphNode(row, next);
      kept.set(row.dataset.ssKey, row);
    } else {
      row.remove();
    }
  }
  return kept;
}

/** Rows keep their places, so that nothing jumps; new ones come after the row that they follow. */
function morphRows(there, wanted) {
  const kept = staying(there, wanted);
  const inUse = kept.size > 0 && isInUse(there);
  let waiting = [...wanted.children].filter((row) => kept.has(row.dataset.ssKey)).length;
  let last = null;
  let held = 0;
  for (const next of [...wanted.children]) {
    const row = kept.get(next.dataset.ssKey);
    if (row) {
      waiting -= 1;
      last = row;
    } else if (inUse && waiting > 0) {
      held += 1;
    } else {
      next.classList.add("ss-new");
      if (last) last.after(next);
      else there.prepend(next);
      last = next;
    }
  }
  if (held) there.dataset.ssHeld = held;
  else delete there.dataset.ssHeld;
}

function sortRows(there, wanted) {
  const kept = staying(there, wanted);
  let place = there.firstElementChild;
  for (const next of [...wanted.children]) {
    const row = kept.get(next.dataset.ssKey) ?? next;
    if (row === place) place = place.nextElementSibling;
    else there.insertBefore(row, place);
  }
  delete there.dataset.ssHeld;
}

/** Rows must not jump under a mouse or a focus that is on them, nor while some are ticked. */
function isInUse(rows) {
  const hovered = matchMedia("(hover: hover)").matches && rows.matches(":hover");
  return hovered || rows.contains(document.activeElement) || rows.querySelector("input:checked") !== null;
}

function remove(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/** The attributes that belong to the visitor or the script, not to the server. */
function keptAttributes(node) {
  if (node.nodeName === "DETAILS") return ["open"];
  const { ssCopy, ssCopyText, ssUnread, ssOne } = node.dataset;
  return (ssCopy ?? ssCopyText ?? ssUnread ?? ssOne) === undefined ? [] : ["hidden"];
}

function morphNode(there, wanted, sorted) {
  if (there.nodeType !== Node.ELEMENT_NODE) {
    if (there.nodeValue !== wanted.nodeValue) there.nodeValue = wanted.nodeValue;
    return;
  }
  // The script wrote its text, and writes it again if the time is another one.
  if (there.nodeName === "TIME" && there.dateTime === wanted.dateTime) return;
  if (there.isEqualNode(wanted)) return;
  const kept = keptAttributes(there);
  for (const { name } of [...there.attributes]) {
    if (!wanted.hasAttribute(name) && !kept.includes(name)) there.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (there.getAttribute(name) !== value && !kept.includes(name)) there.setAttribute(name, value);
  }
  // The script wrote their text.
  if (kept.includes("hidden") && (there.dataset.ssUnread ?? there.dataset.ssOne) !== undefined) return;
  morph(there, wanted, sorted);
}
