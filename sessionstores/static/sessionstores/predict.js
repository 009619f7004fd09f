// Prediction: a confirmed state with the unanswered actions replayed over it.

import * as patches from "./patch.js";

export const VERSION = "3831dced";

export class Prediction {
  #predictors;
  #isAhead = false; // `state` is not the confirmed one
  state;

  // `predictors`: pure functions (state, args, context) => state, by action.
  constructor(predictors) {
    this.#predictors = predictors;
  }

  foretells(action) {
    return typeof patches.own(this.#predictors, action) === "function";
  }

  // Sets `state` to the confirmed one after `actions`. What equals its part in the `state` before
  // keeps its identity, so that an action which is confirmed as it was foretold changes nothing.
  // Returns whether `state` is then another object than the confirmed one, though equal to it.
  update(confirmed, actions, context) {
    const next = actions.reduce((state, { action, args }) => {
      if (state === undefined || !this.foretells(action)) return state;
      try {
        const after = this.#predictors[action](state, args, context);
        return after === undefined || after instanceof Promise ? state : after;
      } catch {
        return state; // the server will say what is wrong
      }
    }, confirmed);
    const isAhead = next !== confirmed;
    this.state = isAhead || this.#isAhead ? patches.share(this.state, next) : next;
    this.#isAhead = isAhead;
    return !isAhead && this.state !== confirmed;
  }
}
