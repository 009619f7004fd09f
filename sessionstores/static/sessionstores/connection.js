// The connection: one WebSocket at a time, made again when it is lost, as the close code asks.

export const VERSION = "3831dced";

const SUBPROTOCOL = "sessionstores.v1";
const WELCOME_WITHIN = 10_000; // ms
const BACKOFF_BASE = 250; // ms
const BACKOFF_CAP = 3000; // ms
const PING = 10; // s between the server's pings, unless it says otherwise
const MAX_PING = 86_400; // a timer that is set for more than 24 days runs at once
const SLOWER = 10; // times, for a tab that nobody sees; at most three pings

const now = () => performance.now(); // the other clock may be set
const isHidden = () => document.visibilityState === "hidden";

export class TabConnection {
  #config;
  #options;
  #say;
  #line;
  #socket = null;
  #status = "connecting";
  #token;
  #tokenIsNew = false;
  #isRenewing = false;
  #ending; // what to tell of the end, once there is one
  #trouble; // what the server said of why it closes
  #lastError = null;
  #wasLive = false;
  #hasFailed = false; // to connect
  #told = ""; // the last message
  #liveAt = 0;
  #heardAt; // by both clocks: the monotonic one may stand still in sleep
  #ping = PING;
  #silence = WELCOME_WITHIN; // ms without a frame after which a connection counts as dead
  #isPaused = false;
  #hasBegun = false;
  #onLineLies = false;
  #attempts = 0;
  #pageEvents = new AbortController();
  #retryTimer;
  #silenceTimer;

  // `config` and `options` as in `connect`; `say(code)` tells a person. `line`: `appeared()` hears that
  // the page is there to connect, also again, from the back/forward cache; `hello()` returns the first
  // frame, `receive(text)` takes those of the server, `dropped()` hears that a socket is gone, and
  // `finished(reason, message)` that all is over; `emit` as in client.js.
  constructor(config, options, say, line) {
    this.#config = config;
    this.#options = options;
    this.#say = say;
    this.#line = line;
    this.#token = config.token;
  }

  get status() {
    return this.#status;
  }

  // What to tell a person of the status.
  get message() {
    if (this.#status === "live") return "";
    if (this.#status === "offline") return this.#say("offline");
    if (this.#ending ?? this.#trouble) return this.#ending ?? this.#trouble;
    if (this.#wasLive) return this.#say("reconnecting");
    return this.#hasFailed ? this.#say("connecting") : "";
  }

  // Not on a server, which renders the page, nor before `resume()` if that was asked for.
  start() {
    this.#isPaused = !globalThis.document || !!this.#options.paused;
    if (!this.#isPaused) this.resume();
  }

  #begin() {
    this.#hasBegun = true;
    this.#line.appeared();
    const { signal } = this.#pageEvents;
    const wake = () => this.#wake();
    const leave = (status) => this.#disconnect(status);
    document.addEventListener("visibilitychange", () => isHidden() || wake(), { signal });
    addEventListener("online", wake, { signal });
    addEventListener("offline", () => this.#isOffline() && leave("offline"), { signal });
    // An open socket keeps a page out of the back/forward cache; it returns by `pageshow`.
    addEventListener("pagehide", () => leave("reconnecting"), { signal });
    const returned = (event) => {
      if (event.persisted) this.#line.appeared();
      wake();
    };
    addEventListener("pageshow", returned, { signal });
  }

  send(frame) {
    this.#socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  welcome(ping) {
    this.#ping = ping > 0 && ping <= MAX_PING ? ping : PING;
    this.#silence = this.#ping * 2500;
    this.#liveAt = now();
    this.#wasLive = true;
    this.#tokenIsNew = false;
    this.#trouble = undefined;
    this.#onLineLies ||= navigator.onLine === false;
    this.#listenForLife();
  }

  pong() {
    this.send({ type: "pong", visible: !isHidden() });
  }

  renewToken(token) {
    this.#token = token;
  }

  // One that names a frame is no reason why it closes, unless that was the hello.
  failed(error) {
    this.#lastError = error;
    if (!error.id && /^(hello)?$/.test(error.of ?? "")) this.#trouble = error.message;
  }

  // Also if only the message is new: who never got a connection is told so after the first attempt.
  setStatus(next) {
    const [status, told] = [this.#status, this.#told];
    this.#status = next;
    this.#told = this.message;
    if (next !== status || this.#told !== told) this.#line.emit("status", next, this.#told);
  }

  pause() {
    this.#disconnect("offline");
    this.#isPaused = true;
  }

  resume() {
    if (!globalThis.document || this.#status === "ended") return;
    if (!this.#hasBegun) this.#begin();
    this.#isPaused = false;
    this.#attempts = 0;
    this.#open();
  }

  finish(reason, message = this.#config.messages?.[reason] ?? this.#say("closed")) {
    if (this.#status === "ended") return;
    this.close(message);
    this.#line.finished(reason, message);
  }

  close(message = this.#say("closed")) {
    this.#drop();
    this.#pageEvents.abort();
    this.#ending = message;
    this.setStatus("ended");
  }

  #isOffline() {
    return navigator.onLine === false && !this.#onLineLies;
  }

  #setAway() {
    this.setStatus(this.#isOffline() ? "offline" : this.#wasLive ? "reconnecting" : "connecting");
  }

  #listenForLife() {
    this.#heardAt = [now(), Date.now()];
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#lose(), this.#silence);
  }

  #open() {
    clearTimeout(this.#retryTimer);
    if (this.#socket || this.#isRenewing || this.#isPaused || this.#status === "ended") return;
    this.#setAway();
    const { hello, receive } = this.#line;
    if (!this.#token && this.#options.token) return this.#renew();
    const url = new URL(this.#config.url, location.href).href.replace(/^http/, "ws");
    const socket = new (this.#options.WebSocket ?? WebSocket)(url, SUBPROTOCOL);
    const isOurs = () => socket === this.#socket;
    this.#socket = socket;
    this.#lastError = null;
    this.#silence = WELCOME_WITHIN;
    this.#listenForLife();
    socket.onopen = () => {
      if (isOurs()) this.send({ type: "hello", token: this.#token, ...hello() });
    };
    socket.onmessage = ({ data }) => {
      if (!isOurs()) return;
      this.#listenForLife();
      receive(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (isOurs()) this.#lose(code, reason);
    };
  }

  async #renew() {
    this.#isRenewing = true;
    try {
      this.#token = await this.#options.token();
      this.#tokenIsNew = true;
    } catch (error) {
      const message = this.#say("reconnecting");
      this.#line.emit("error", { code: "no_token", message, hint: String(error) });
      return this.#retry();
    } finally {
      this.#isRenewing = false;
    }
    if (this.#token) this.#open();
    else this.finish("invalid_token");
  }

  // A closing handshake with a dead peer takes long, so we do not wait for the close event.
  #drop() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    const old = this.#socket;
    this.#socket = null;
    this.#line.dropped();
    old?.close();
  }

  #lose(code, reason) {
    // A server that welcomes and then closes must not be asked again without delay, over and over.
    const lasted = now() - this.#liveAt;
    if (this.#status === "live" && lasted > BACKOFF_CAP) this.#attempts = 0;
    this.#drop();
    this.#hasFailed = true;
    const range = Math.floor(code / 100);
    if (range === 41 && this.#options.token && !this.#tokenIsNew) this.#token = null;
    else if (range === 40 || range === 41) {
      const error = this.#lastError;
      return this.finish(error?.code ?? (reason || `closed_${code}`), error?.message);
    }
    this.#retry();
  }

  #retry() {
    if (this.#isPaused || this.#status === "ended") return;
    this.#setAway();
    const [factor, cap] = isHidden() ? [SLOWER, this.#ping * 3000] : [1, BACKOFF_CAP];
    const delay = Math.random() * Math.min(cap, factor * BACKOFF_BASE * 2 ** this.#attempts++);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      if (!this.#isOffline()) this.#open(); // else `#wake` will
    }, delay);
  }

  #wake() {
    if (isHidden()) {
      if (!this.#socket && !this.#isOffline()) this.#retry();
      return;
    }
    this.#attempts = 0;
    const [heardAt, heardAtTime] = this.#heardAt ?? [];
    const silent = Math.max(now() - heardAt, Date.now() - heardAtTime);
    if (this.#socket && silent > this.#silence) {
      this.#drop(); // it died while the machine slept
      this.#setAway();
    }
    if (!this.#isOffline()) this.#open();
  }

  #disconnect(next) {
    if (this.#isPaused || this.#status === "ended") return;
    this.#drop();
    this.setStatus(next);
  }
}
