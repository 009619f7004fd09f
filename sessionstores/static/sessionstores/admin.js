// Script of the admin pages: relative times, and parts that refresh themselves, in their
// places when a list is searched or sorted. Everything else works without it.

import { closeMenus, countWarnings, keepFolds, remember, remembered } from "./admin-folds.js";
import { morph } from "./admin-morph.js";

const INTERVALS = [0, 2, 5, 15, 30];
const DEFAULT_SECONDS = 5;
const MAX_WAIT = 60;
const TIMEOUT_MS = 10_000;

const config = document.getElementById("ss-live");
const page = document.getElementById("ss");
const language = document.documentElement.lang || undefined;

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

/** "3 s ago", "in 2 min", from seconds that are negative in the past. */
function distance(seconds, now) {
  if (Math.abs(seconds) < 1) return now;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length);
  return relative.format(Math.trunc(seconds / length), unit);
}

/** "4:58", "2:04:58": the time left. */
function countdown(seconds) {
  const left = Math.max(Math.round(seconds), 0);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(left / 60) % 60;
  const hours = Math.floor(left / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(left % 60)}` : `${minutes}:${two(left % 60)}`;
}

const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const hour = new Intl.DateTimeFormat(language, { timeStyle: "short" });
const calendar = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short" });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "medium" });

/** Write all times, in messages too; `skew`: how far our clock is ahead of the server's, in ms. */
function writeTimes(texts, skew) {
  const now = Date.now() - skew;
  for (const node of document.querySelectorAll("time[data-ss-time]")) {
    const at = Date.parse(node.dateTime);
    const seconds = (at - now) / 1000;
    const style = node.dataset.ssTime;
    let text;
    if (style === "left") text = countdown(seconds);
    else if (style === "clock") text = Math.abs(seconds) < 43_200 ? clock.format(at) : calendar.format(at);
    else if (style === "until") text = Math.abs(seconds) < 43_200 ? hour.format(at) : calendar.format(at);
    else if (style === "moment") text = moment.format(at);
    else if (style === "in") text = distance(Math.max(seconds, 0), texts.now);
    else text = distance(Math.min(seconds, 0), texts.now);
    if (node.textContent !== text) node.textContent = text;
    const whole = moment.format(at);
    if (node.title !== whole) node.title = whole;
  }
}

/** Refreshes the parts of the page. */
class Live {
  constructor({ url, topic, token, header, now, socket, texts }) {
    Object.assign(this, { url, topic, token, header, texts });
    this.socketPath = socket;
    this.skew = Date.now() - now;
    this.etag = "";
    this.failures = 0;
    this.updated = Date.now();
    this.nextTry = 0;
    this.paused = false;
    // Why the page has stopped refreshing; "" while it refreshes.
    this.shut = "";
    this.search = location.search;
    const figures = document.getElementById("ss-figures");
    this.summary = figures.dataset.ssSummary;
    // The server's message while it has no figures.
    this.trouble = figures.dataset.ssTrouble;
    const kept = Number(remembered("refresh") ?? DEFAULT_SECONDS);
    this.seconds = INTERVALS.includes(kept) ? kept : DEFAULT_SECONDS;
    this.badge = document.getElementById("ss-badge");
    this.badgeText = document.getElementById("ss-badge-text");
    this.say = document.getElementById("ss-say");
    this.every = document.getElementById("ss-every");
    this.pause = document.getElementById("ss-pause");
  }

  start() {
    document.getElementById("ss-livebar").hidden = false;
    this.every.value = String(this.seconds);
    this.every.addEventListener("change", () => {
      this.seconds = Number(this.every.value);
      remember("refresh", String(this.seconds));
      this.plan(0);
    });
    this.pause.addEventListener("click", () => {
      this.paused = !this.paused;
      this.pause.setAttribute("aria-pressed", String(this.paused));
      this.pause.textContent = this.paused ? this.texts.resume : this.texts.pause;
      this.plan(0);
    });
    document.addEventListener("visibilitychange", () => this.plan(0));
    window.addEventListener("online", () => this.plan(0));
    window.addEventListener("popstate", () => {
      // Not one of a mere "#".
      if (location.search !== this.search) this.go();
    });
    page.addEventListener("click", (event) => this.follow(event));
    page.addEventListener("submit", (event) => this.searchFor(event));
    setInterval(() => this.show(), 1000);
    this.plan(this.seconds);
    this.listen();
    this.show();
  }

  get running() {
    return this.seconds > 0 && !this.paused && !this.shut && !document.hidden;
  }

  /** Schedule a refresh; a scheduled or running one is cancelled. */
  plan(seconds) {
    clearTimeout(this.timer);
    this.nextTry = Date.now() + seconds * 1000;
    if (this.running) this.timer = setTimeout(() => this.ask(), seconds * 1000);
    else this.asking?.abort();
    this.show();
  }

  /** Refresh, rows in the order of the answer if `sorted`; return whether it succeeded. */
  async ask(sorted = false) {
    clearTimeout(this.timer);
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.again = false;
    const timeout = setTimeout(() => asking.abort(), TIMEOUT_MS);
    try {
      const response = await fetch(this.url + location.search, {
        headers: this.etag ? { "If-None-Match": this.etag } : {},
        credentials: "same-origin",
        redirect: "manual",
        signal: asking.signal,
      });
      if (response.type === "opaqueredirect" || response.status === 403) {
        this.close(response.status === 403 ? this.texts.forbidden : this.texts.signedOut);
        return true;
      }
      if (response.status !== 304) {
        if (!response.ok) throw new Error(`status ${response.status}`);
        const html = await response.text();
        if (asking !== this.asking) return true;
        this.etag = response.headers.get("ETag") ?? "";
        this.draw(html, sorted);
      }
      this.token = response.headers.get(this.header) ?? this.token;
      this.failures = 0;
      this.updated = Date.now();
      this.asking = undefined;
      this.plan(this.again ? 0 : this.seconds);
      return true;
    } catch {
      // A newer request has replaced this one, or the page is paused or hidden.
      if (asking !== this.asking) return true;
      this.asking = undefined;
      if (!this.running) return false;
      this.failures += 1;
      const wait = Math.min(this.seconds * 2 ** this.failures, MAX_WAIT);
      this.plan(wait * (0.75 + Math.random() / 4));
      return false;
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Replace the parts of the page; announce the summary if it has changed. */
  draw(html, sorted) {
    const answer = new DOMParser().parseFromString(html, "text/html");
    const focused = document.activeElement;
    const next = focused.closest("tr")?.nextElementSibling;
    for (const part of answer.querySelectorAll("[data-ss-part]")) {
      const there = document.getElementById(part.dataset.ssPart);
      // A part that appears or disappears, as in an outage, changes the page around it.
      if (there === null) {
        location.reload();
        return;
      }
      morph(there, part, sorted);
      const { ssSummary: summary, ssTrouble: trouble } = part.dataset;
      if (summary && summary !== this.summary) this.say.textContent = this.summary = summary;
      if (trouble !== undefined) this.trouble = trouble;
    }
    // What had the focus is gone: it goes to what is nearest, not to the page's top. If
    // that is hidden only, as in an outage, it has the focus again once it is back.
    if (!isShown(focused)) {
      if (focused.isConnected) this.hidden = focused;
      const link = next?.isConnected ? next.querySelector("a") : null;
      const nearest = [link, document.getElementById("ss-list"), page].find((each) => each && isShown(each));
      nearest.focus({ preventScroll: true });
    } else if (this.hidden && isShown(this.hidden)) {
      if (focused === page) this.hidden.focus({ preventScroll: true });
      this.hidden = undefined;
    }
    ready();
    writeTimes(this.texts, this.skew);
  }

  /** Show the page at its present address in its place; if that fails, load it. */
  async go() {
    this.search = location.search;
    this.etag = "";
    if (!(await this.ask(true))) {
      location.reload();
      return;
    }
    const query = document.getElementById("ss-q");
    if (query) query.value = new URLSearchParams(location.search).get("q") ?? "";
    this.say.textContent = document.getElementById("ss-found")?.textContent ?? this.summary;
    const list = document.getElementById("ss-list");
    const top = list?.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 2) list.scrollIntoView();
  }

  /** Follow a link to another order, filter or page of the list without leaving the page. */
  follow(event) {
    if (event.target.closest("[data-ss-one]")) this.go();
    const link = event.target.closest('a[href^="?"]');
    if (!link || this.shut || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, "", location.pathname + link.search);
    this.go();
  }

  searchFor(event) {
    if (!event.target.matches(".ss-search") || this.shut) return;
    event.preventDefault();
    const query = new URLSearchParams(location.search);
    query.set("q", document.getElementById("ss-q").value);
    query.delete("p");
    history.pushState(null, "", `${location.pathname}?${query}`);
    this.go();
  }

  /** Stop refreshing, and remove what may not be seen any more. */
  close(why) {
    this.shut = why;
    const head = page.querySelector(".ss-head");
    for (const node of [...page.children]) if (node !== head) node.remove();
    for (const node of head.querySelectorAll(".ss-tools > *")) {
      if (node !== this.say && !node.contains(this.badge)) node.remove();
    }
    const notice = document.createElement("p");
    notice.className = "ss-notice";
    notice.textContent = this.say.textContent = why;
    page.append(notice);
    this.show();
  }

  /** Refresh now; after a running request, and not while the server fails. */
  nudge() {
    if (this.asking) this.again = true;
    else if (this.failures === 0) this.plan(0);
  }

  show() {
    writeTimes(this.texts, this.skew);
    const ago = distance((this.updated - Date.now()) / 1000, this.texts.now);
    let state = "live";
    let text = `${this.texts.live} · ${this.texts.updated.replace("%s", ago)}`;
    if (this.shut) [state, text] = ["shut", this.shut];
    else if (this.seconds === 0) [state, text] = ["off", this.texts.off];
    else if (this.paused) [state, text] = ["paused", this.texts.paused];
    else if (this.failures > 0) {
      const next = distance(Math.max(this.nextTry - Date.now(), 0) / 1000, this.texts.now);
      [state, text] = ["stale", this.texts.stale.replace("%s", next)];
    } else if (this.trouble) [state, text] = ["stale", this.trouble];
    this.badge.dataset.state = state;
    if (this.badgeText.textContent !== text) this.badgeText.textContent = text;
  }

  /** Listen for changes over a WebSocket; without one, the interval is enough. */
  listen(failures = 0) {
    if (!this.socketPath) return;
    const url = new URL(this.socketPath, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    let heard = false;
    socket.onopen = () => socket.send(JSON.stringify({ token: this.token, topic: this.topic }));
    socket.onmessage = (event) => {
      heard = true;
      if (JSON.parse(event.data).type === "changed") this.nudge();
    };
    socket.onclose = () => {
      const next = heard ? 0 : failures + 1;
      // Three failures in a row: WebSockets are not served here.
      if (next < 3) setTimeout(() => this.listen(next), 5000 * (1 + Math.random()));
    };
  }
}

const isShown = (node) => node.isConnected && node.getClientRects().length > 0;

/** Show the buttons that need the script, also in refreshed parts. */
function ready() {
  for (const button of page.querySelectorAll("[data-ss-copy], [data-ss-copy-text]")) button.hidden = false;
  for (const button of page.querySelectorAll("[data-ss-one]")) {
    const held = Number(button.parentElement.querySelector("[data-ss-rows]").dataset.ssHeld ?? 0);
    const { ssOne: one, ssMany: many } = button.dataset;
    button.textContent = held === 1 ? one : many.replace("%s", held);
    button.hidden = held === 0;
  }
  countWarnings(page);
  updateTicks();
}

function updateTicks() {
  for (const all of page.querySelectorAll("[data-ss-all]")) {
    const boxes = [...all.closest("table").querySelectorAll("tbody input[name=chosen]")];
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = boxes.length > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  }
}

async function copy(button, texts) {
  const { ssCopy, ssCopyText } = button.dataset;
  let message = texts.copied;
  try {
    let text = ssCopyText;
    if (ssCopy) {
      const response = await fetch(ssCopy, { credentials: "same-origin" });
      if (!response.ok) throw new Error(`status ${response.status}`);
      text = await response.text();
    }
    await navigator.clipboard.writeText(text);
  } catch {
    message = texts.copyFailed;
  }
  const before = button.textContent;
  button.textContent = message;
  document.getElementById("ss-say").textContent = message;
  setTimeout(() => (button.textContent = before), 2000);
}

if (page) {
  const settings = config ? JSON.parse(config.textContent) : null;
  page.addEventListener("change", ({ target }) => {
    if (target.matches("[data-ss-all]")) {
      for (const box of target.closest("table").querySelectorAll("tbody input[name=chosen]")) box.checked = target.checked;
    }
    updateTicks();
  });
  page.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-ss-copy], [data-ss-copy-text]");
    if (button && settings) copy(button, settings.texts);
  });
  keepFolds(page);
  closeMenus(page);
  const print = page.querySelector("[data-ss-print]");
  if (print) {
    print.hidden = false;
    print.addEventListener("click", () => window.print());
  }
  if (settings) new Live(settings).start();
  else writeTimes({}, 0);
  if (settings) ready();
}
