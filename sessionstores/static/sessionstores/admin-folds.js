// What a browser remembers of the admin pages: which folds are open, which warnings were
// read. Private windows may refuse to remember; it then holds for the page.

/** Return what is remembered under a name; null if nothing is. */
export function remembered(name) {
  try {
    return localStorage.getItem(`sessionstores.${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`sessionstores.${name}`, value);
  } catch {
    // See above.
  }
}

/** Open and close the folds with data-ss-remember as they were left, and watch them. */
export function keepFolds(page) {
  for (const fold of page.querySelectorAll("details[data-ss-remember]")) {
    const state = remembered(`fold.${fold.dataset.ssRemember}`);
    if (state) fold.open = state === "open";
  }
  // It does not bubble.
  page.addEventListener("toggle", ({ target }) => {
    const { ssRemember: name, ssWarnings } = target.dataset;
    if (name) remember(`fold.${name}`, target.open ? "open" : "closed");
    if (ssWarnings !== undefined && target.open) readWarnings(target);
  }, true);
  page.addEventListener("click", ({ target }) => {
    const link = target.closest('a[href^="#"]');
    const fold = link && document.getElementById(link.hash.slice(1));
    if (fold?.matches("details")) fold.open = true;
  });
}

/** Close menus that lie over the page: by Escape, by a choice, and when something else is used. */
export function closeMenus(page) {
  const close = (menu) => {
    const had = menu.contains(document.activeElement);
    menu.open = false;
    if (had) menu.querySelector("summary").focus();
  };
  const closeAll = (which) => {
    for (const menu of page.querySelectorAll(".ss-dropdown[open]")) if (which(menu)) close(menu);
  };
  document.addEventListener("keydown", ({ key }) => key === "Escape" && closeAll(() => true));
  document.addEventListener("focusin", ({ target }) => closeAll((menu) => !menu.contains(target)));
  document.addEventListener("click", ({ target }) => closeAll((menu) => !menu.contains(target) || target.closest("a")));
}

const warningsOf = (fold) => [...fold.querySelectorAll("li[data-ss-key]")].map((each) => each.dataset.ssKey);

function readWarnings(fold) {
  remember("warnings", JSON.stringify(warningsOf(fold)));
  countWarnings(fold.parentElement);
}

/** Say how many warnings were not there when they were last unfolded. */
export function countWarnings(page) {
  const fold = page.querySelector("details[data-ss-warnings]");
  if (!fold) return;
  if (fold.open) remember("warnings", JSON.stringify(warningsOf(fold)));
  let read = [];
  try {
    read = JSON.parse(remembered("warnings") ?? "[]");
  } catch {
    // Somebody else's; all of them are new.
  }
  const unread = warningsOf(fold).filter((key) => !read.includes(key)).length;
  const tag = fold.querySelector("[data-ss-unread]");
  tag.textContent = tag.dataset.ssUnread.replace("%s", unread);
  tag.hidden = unread === 0;
}
