// Documents: what a tab knows of one record, moved along its chain of revs by patches.

import * as patches from "./patch.js";

export const VERSION = "139935b4";

const GAP_PATIENCE = 300; // ms to wait for a frame that a later one has overtaken
const HEAD_PATIENCE = 2000; // ms in which a ping may report a head that we have already passed
const MAX_HELD = 32;

// Whether a document at `ours` has nothing to learn from `rev`: it is there, or beyond it.
export function isPast(ours, rev) {
  if (ours === rev) return true;
  const [a, b] = [ours, rev].map((text) => String(text).split(/[.-]/));
  return a[0] === b[0] && +b[1] < +a[1];
}

// One chain of revs, and what it lacks.
export class LiveDocument {
  #requestSync;
  #changed;
  #held = new Map(); // patches that came too early, by the rev that they lead from
  #waiting = []; // [rev, callback] of answers whose state is not here yet
  #expected; // the furthest rev that we know of and lack
  #isAsked = false; // for a snapshot
  #movedAt = 0;
  #timer;
  rev;
  states;

  // `requestSync(rev)` asks the server for a snapshot; `changed(before, states)` is called for each
  // new state, once everything that could be applied is in place.
  constructor({ rev, states } = {}, requestSync, changed) {
    this.rev = rev;
    this.states = states;
    this.#requestSync = requestSync;
    this.#changed = changed;
  }

  // Takes acks too: they carry the patch that their action caused, or the rev that it saw.
  patch(frame) {
    const { base, rev, ops } = frame;
    if (base === rev || !ops) {
      this.#expect(rev);
    } else if (base === this.rev) {
      this.#advance(this.states, frame);
    } else if (!isPast(this.rev, rev)) {
      if (this.#held.size < MAX_HELD) this.#held.set(base, frame);
      this.#expect(rev);
    }
    this.#release();
  }

  // Returns the states that a reset took away, if it did.
  snapshot({ rev, states, reset }) {
    const before = this.states;
    const isOvertaken = !reset && rev !== this.rev && isPast(this.rev, rev);
    this.#isAsked = false;
    if (states && !isOvertaken) {
      if (reset) this.#forgetGap();
      this.states = patches.share(before, states);
      this.rev = rev;
      this.#advance(before);
    } else {
      this.#expect(rev);
      this.#renewGap();
    }
    this.#release(!isOvertaken);
    return reset ? before : undefined;
  }

  // A head behind ours means that the server was rolled back, unless we passed it just now.
  head(head) {
    this.#expect(head);
    if (head === this.rev || !isPast(this.rev, head)) return;
    if (Date.now() - this.#movedAt > HEAD_PATIENCE) this.#syncSoon();
  }

  // Calls back when the state of `rev` is in place: who awaits an action can read its effect.
  when(rev, callback) {
    this.#waiting.push([rev, callback]);
    this.#release();
  }

  // The next hello names our rev, and its answer closes every gap.
  disconnect() {
    this.#forgetGap();
    this.#isAsked = false;
  }

  close() {
    this.#forgetGap();
    this.#release(true);
  }

  #advance(before, frame = this.#held.get(this.rev)) {
    for (; frame; frame = this.#held.get(this.rev)) {
      this.#held.delete(frame.base);
      try {
        this.states = patches.applyPatch(this.states, frame.ops);
      } catch {
        this.#sync();
        break;
      }
      this.rev = frame.rev;
    }
    this.#movedAt = Date.now();
    this.#renewGap();
    this.#release(); // first, so that no listener finds an action pending whose effect it sees
    if (this.states !== before) this.#changed(before, this.states);
  }

  #release(all) {
    const due = this.#waiting.filter(([rev]) => all || isPast(this.rev, rev));
    this.#waiting = this.#waiting.filter((entry) => !due.includes(entry));
    for (const [, callback] of due) callback();
  }

  #expect(rev) {
    if (isPast(this.rev, rev)) return;
    if (!this.#expected || !isPast(this.#expected, rev)) this.#expected = rev;
    this.#syncSoon();
  }

  #syncSoon() {
    this.#timer ??= setTimeout(() => this.#sync(), GAP_PATIENCE);
  }

  // Held patches are dropped: the snapshot will be newer, and one of a history that the server
  // has lost must not make us ask again and again.
  #sync() {
    this.#timer = undefined;
    if (this.#isAsked || !this.rev) return; // without a rev, a first snapshot is on its way
    this.#forgetGap();
    this.#isAsked = true;
    this.#requestSync(this.rev);
  }

  #forgetGap() {
    this.#held.clear();
    clearTimeout(this.#timer);
    this.#expected = this.#timer = undefined;
  }

  // After progress, whatever is still missing gets its full time again.
  #renewGap() {
    for (const [base, { rev }] of this.#held) if (isPast(this.rev, rev)) this.#held.delete(base);
    clearTimeout(this.#timer);
    const rev = this.#expected;
    this.#expected = this.#timer = undefined;
    if (rev) this.#expect(rev);
  }
}
