// Documents: what a tab knows of one record, moved along its chain of revs by patches.

import * as patches from "./patch.js";

export const VERSION = "3831dced";

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
  #tab;
  #held = new Map(); // patches that came too early, by the rev that they lead from
  #waiting = []; // answers whose state is not here yet: rev and callback
  #expected; // the furthest rev that we know of and lack
  #isAsked = false; // for a snapshot
  #isBroken = false; // what came cannot be read, and maybe the first snapshot was lost
  #isCounted = false; // the server says which actions a snapshot contains
  #movedAt = 0;
  #timer;
  rev;
  states;

  // `tab`: `requestSync(rev)` asks the server for a snapshot; `changed()` is called after each
  // change of the states, or of what they contain, once everything that could be applied is in
  // place; `counted(done, reset)` hears which actions a snapshot contains. While `isDoubtful()`,
  // patches wait: an action that was sent before may be in them, ahead of its answer.
  constructor({ rev, states } = {}, tab) {
    this.rev = rev;
    this.states = states;
    this.#tab = tab;
  }

  // Takes acks too: they carry the patch that their action caused, or the rev that it saw.
  patch(frame) {
    const { base, rev, ops } = frame;
    const fits = base === this.rev;
    if (ops && base !== rev && (fits || (!isPast(this.rev, rev) && this.#held.size < MAX_HELD))) {
      this.#held.set(base, frame);
    }
    this.proceed();
    this.#expect(rev);
    if (this.#release()) this.#tab.changed();
  }

  // Returns the states that a reset took away, if it did.
  snapshot({ rev, states, reset, done }) {
    const before = this.states;
    const isOvertaken = !reset && rev !== this.rev && isPast(this.rev, rev);
    const isWhole = states && !isOvertaken;
    this.#isAsked = this.#isBroken = false;
    this.#isCounted ||= !!done;
    if (isWhole) {
      if (reset) this.#forgetGap();
      this.states = patches.share(before, states);
      this.rev = rev;
    } else {
      this.#expect(rev);
      this.#renewGap();
    }
    if (isPast(this.rev, rev)) {
      this.#tab.counted(done ?? {}, reset);
      // Asked for after those answers, it has what became of them.
      this.#release((each) => reset || (each.isStale && !isOvertaken));
    }
    this.proceed(true);
    return reset ? before : undefined;
  }

  // A head behind ours means that the server was rolled back, unless we passed it just now. Where
  // there is nothing yet, the first snapshot was lost: it goes ahead of pings.
  head(head) {
    this.#isBroken ||= !this.rev;
    this.#expect(head);
    if (head === this.rev || !isPast(this.rev, head)) return;
    if (performance.now() - this.#movedAt > HEAD_PATIENCE) this.#syncSoon();
  }

  // Calls back with the next frame, once the state of `rev` is in place: who awaits an action can
  // read its effect. `mayBeBefore`: that may come with an earlier rev. `isNew`: `rev` is that of the
  // action's own commit, and no snapshot had it. If we seem to be past it, then because the server
  // has lost its record and counts anew in an incarnation that happens to be named like ours.
  when(rev, callback, mayBeBefore, isNew) {
    const isStale = isNew && rev !== this.rev && isPast(this.rev, rev);
    this.#waiting.push({ rev, callback, mayBeBefore, isStale, isAhead: isStale });
    if (isStale) this.#sync();
  }

  // Applies what has waited, as far as it fits by now.
  proceed(hasMoved) {
    const held = this.#held;
    let frame = this.#mustWait() ? undefined : held.get(this.rev);
    for (; frame; frame = held.get(this.rev)) {
      held.delete(this.rev);
      try {
        this.states = patches.applyPatch(this.states, frame.ops);
      } catch {
        this.#sync();
        break;
      }
      this.rev = frame.rev;
      hasMoved = true;
    }
    if (!hasMoved) return;
    this.#movedAt = performance.now();
    this.#renewGap();
    this.#release(); // first, so that no listener finds an action pending whose effect it sees
    this.#tab.changed();
  }

  // Whether a patch that fits may bring the effect of an action that would stay shown beside it.
  #mustWait() {
    if (!this.#isCounted || !this.#held.has(this.rev)) return false;
    let end = this.rev;
    for (const _ of this.#held) end = this.#held.get(end)?.rev ?? end; // no further, were it a circle
    const isAhead = ({ rev, mayBeBefore }) => mayBeBefore && !isPast(end, rev);
    return this.#tab.isDoubtful() || this.#waiting.some(isAhead);
  }

  // Something came that cannot be read: it may have been about this document.
  repair() {
    this.#isBroken = true;
    this.#isAsked = false;
    this.#syncSoon();
  }

  // The next hello names our rev, and its answer closes every gap.
  disconnect() {
    this.#forgetGap();
    this.#doubtAnswers();
    this.#isAsked = this.#isCounted = false;
  }

  close() {
    this.#forgetGap();
    this.#release(() => true);
  }

  #release(isDue) {
    const isReleased = (each) => (!each.isAhead && isPast(this.rev, each.rev)) || isDue?.(each);
    const due = this.#waiting.filter(isReleased);
    if (due.length) this.#waiting = this.#waiting.filter((each) => !due.includes(each));
    for (const { callback } of due) callback();
    return due.length;
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
    clearTimeout(this.#timer); // it is not always what calls this
    this.#timer = undefined;
    // Without a rev, a first snapshot is on its way.
    if (this.#isAsked || !(this.rev || this.#isBroken)) return;
    this.#forgetGap();
    this.#doubtAnswers();
    this.#isAsked = true;
    this.#tab.requestSync(this.rev);
  }

  // If the next snapshot lacks their rev, the server has lost it.
  #doubtAnswers() {
    for (const each of this.#waiting) each.isStale = true;
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
