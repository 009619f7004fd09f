// Script of the admin pages: relative times, and parts that refresh themselves.
// Everything else works without it.

import { morph } from "./admin-morph.js";

const INTERVALS = [0, 2, 5, 15, 30];
const DEFAULT_SECONDS = 5;
const MAX_WAIT = 60;
const STORAGE = "sessionstores.refresh";
const TIMEOUT_MS = 10_000;
const PARTS =
  "#ss-figures, #ss-operations, #ss-export, #ss-sweep, #ss-menu, #ss-table, #ss-kicked, #ss-timeline";

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
const calendar = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "short" });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "medium" });

/** Write all times of the page; `skew`: how far our clock is ahead of the server's, in ms. */
function writeTimes(texts, skew) {
  const now = Date.now() - skew;
  for (const node of page.querySelectorAll("time[data-ss-time]")) {
    const at = Date.parse(node.dateTime);
    const seconds = (at - now) / 1000;
    const style = node.dataset.ssTime;
    let text;
    if (style === "left") text = countdown(seconds);
    else if (style === "clock") text = Math.abs(seconds) < 43_200 ? clock.format(at) : calendar.format(at);
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
    const figures = document.getElementById("ss-figures");
    this.summary = figures.dataset.ssSummary;
    // The server's message while it has no figures.
    this.trouble = figures.dataset.ssTrouble;
    const kept = Number(readSetting() ?? DEFAULT_SECONDS);
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
      writeSetting(this.seconds);
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

  async ask() {
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
        return;
      }
      if (response.status !== 304) {
        if (!response.ok) throw new Error(`status ${response.status}`);
        const html = await response.text();
        if (asking !== this.asking) return;
        this.etag = response.headers.get("ETag") ?? "";
        this.draw(html);
      }
      this.token = response.headers.get(this.header) ?? this.token;
      this.failures = 0;
      this.updated = Date.now();
      this.asking = undefined;
      this.plan(this.again ? 0 : this.seconds);
    } catch {
      // A newer request has replaced this one, or the page is paused or hidden.
      if (asking !== this.asking) return;
      this.asking = undefined;
      if (!this.running) return;
      this.failures += 1;
      const wait = Math.min(this.seconds * 2 ** this.failures, MAX_WAIT);
      this.plan(wait * (0.75 + Math.random() / 4));
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Replace the parts of the page; announce the summary if it has changed. */
  draw(html) {
    const answer = new DOMParser().parseFromString(html, "text/html");
    for (const part of answer.querySelectorAll("[data-ss-part]")) {
      const there = document.getElementById(part.dataset.ssPart);
      // A part that appears or disappears, as in an outage, changes the page around it.
      if (there === null) {
        location.reload();
        return;
      }
      morph(there, part);
      const { ssSummary: summary, ssTrouble: trouble } = part.dataset;
      if (summary && summary !== this.summary) this.say.textContent = this.summary = summary;
      if (trouble !== undefined) this.trouble = trouble;
    }
    ready();
    writeTimes(this.texts, this.skew);
  }

  /** Stop refreshing, and remove what may not be seen any more. */
  close(why) {
    this.shut = why;
    for (const part of page.querySelectorAll(PARTS)) part.replaceChildren();
    const notice = document.createElement("p");
    notice.className = "ss-notice";
    notice.textContent = this.say.textContent = why;
    document.getElementById("ss-figures").append(notice);
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

function readSetting() {
  try {
    return localStorage.getItem(STORAGE);
  } catch {
    return null;
  }
}

function writeSetting(value) {
  try {
    localStorage.setItem(STORAGE, String(value));
  } catch {
    // Private windows may refuse; the setting then holds for this page.
  }
}

/** Show the buttons that need the script, also in refreshed parts. */
function ready() {
  for (const button of page.querySelectorAll("[data-ss-copy], [data-ss-copy-text]")) button.hidden = false;
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
  const print = page.querySelector("[data-ss-print]");
  if (print) {
    print.hidden = false;
    print.addEventListener("click", () => window.print());
  }
  if (settings) new Live(settings).start();
  else writeTimes({}, 0);
  if (settings) ready();
}
