// Morphs one part of a page into another with few changes to the DOM.
//
// Focus, ticked boxes, open details, selection and the order of rows are kept. Nodes are
// matched by data-ss-key or id.

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.ssKey || node.id : "");
const isAlike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/** Make the children of `there` equal those of `wanted`, whose nodes may be moved out. */
export function morph(there, wanted) {
  if (wanted.dataset?.ssRows !== undefined) morphRows(there, wanted);
  else morphChildren(there, wanted);
}

function morphChildren(there, wanted) {
  let old = there.firstChild;
  for (const next of [...wanted.childNodes]) {
    let match = old;
    while (match && !isAlike(match, next)) match = match.nextSibling;
    if (match) {
      while (old !== match) old = remove(old);
      old = match.nextSibling;
      morphNode(match, next);
    } else {
      there.insertBefore(next, old);
    }
  }
  while (old) old = remove(old);
}

/** Rows keep their places, so that nothing jumps; new rows are appended. */
function morphRows(there, wanted) {
  const rows = new Map([...wanted.children].map((row) => [row.dataset.ssKey, row]));
  for (const row of [...there.children]) {
    const next = rows.get(row.dataset.ssKey);
    if (next) morphNode(row, next);
    else row.remove();
    rows.delete(row.dataset.ssKey);
  }
  for (const row of rows.values()) {
    row.classList.add("ss-new");
    there.append(row);
  }
}

function remove(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function morphNode(there, wanted) {
  if (there.nodeType !== Node.ELEMENT_NODE) {
    if (there.nodeValue !== wanted.nodeValue) there.nodeValue = wanted.nodeValue;
    return;
  }
  // The script wrote its text, and writes it again if the time is another one.
  if (there.nodeName === "TIME" && there.dateTime === wanted.dateTime) return;
  if (there.isEqualNode(wanted)) return;
  const kept = there.nodeName === "DETAILS" ? ["open"] : there.hasAttribute("data-ss-copy") || there.hasAttribute("data-ss-copy-text") ? ["hidden"] : [];
  for (const { name } of [...there.attributes]) {
    if (!wanted.hasAttribute(name) && !kept.includes(name)) there.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (there.getAttribute(name) !== value && !kept.includes(name)) there.setAttribute(name, value);
  }
  morph(there, wanted);
}
