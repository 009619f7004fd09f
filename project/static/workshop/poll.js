// A fragment of the page, fetched anew every so often while somebody is looking.

const INTERVAL = 2000; // ms
const MAX_INTERVAL = 30_000; // ms, while the server does not answer

export function keepFresh(target, stale) {
  let delay = INTERVAL;
  let shown; // as the server wrote it, which the page's own markup need not equal
  let timer;
  let current;

  async function refresh() {
    clearTimeout(timer);
    current?.abort();
    const mine = (current = new AbortController());
    try {
      const response = await fetch(target.dataset.url, { signal: mine.signal });
      if (!response.ok) throw new Error(`${response.status}`);
      const text = await response.text();
      if (text !== shown) replace(text);
      shown = text;
      stale.hidden = true;
      delay = INTERVAL;
    } catch {
      if (mine.signal.aborted) return;
      stale.hidden = false;
      delay = Math.min(delay * 2, MAX_INTERVAL);
    }
    if (!document.hidden) timer = setTimeout(refresh, delay);
  }

  // Whoever stands on a button must not be thrown off it by somebody's progress.
  function replace(text) {
    const focused = target.contains(document.activeElement) && document.activeElement;
    target.innerHTML = text;
    if (focused) target.querySelector(`button[value="${CSS.escape(focused.value)}"]`)?.focus();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else refresh();
  });
  refresh();
  return refresh;
}
