// Subscribers of a value, in the shape of Zustand's `subscribeWithSelector`.

export const VERSION = "3831dced";

// One broken listener must not keep the news from the others.
export function call(listener, ...args) {
  try {
    listener(...args);
  } catch (error) {
    reportError(error);
  }
}

export class Subscribers {
  #getState;
  #told;
  #subscribers = new Set();

  constructor(getState) {
    this.#getState = getState;
    this.#told = getState();
  }

  subscribe = (selector, listener, { equalityFn = Object.is, fireImmediately } = {}) => {
    const select = () => {
      const state = this.#getState();
      return state === undefined ? undefined : selector(state);
    };
    let part = listener && select();
    const subscriber = !listener
      ? selector
      : () => {
          const [previous, next] = [part, select()];
          if (equalityFn(previous, next)) return;
          part = next;
          listener(next, previous);
        };
    if (fireImmediately) call(listener, part, part);
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  };

  // Calls those whose value has changed since they were told.
  tell() {
    const [previous, next] = [this.#told, this.#getState()];
    this.#told = next;
    if (next === previous) return;
    for (const subscriber of this.#subscribers) {
      if (this.#told !== next) return; // a listener has acted: all of them heard of the newer state
      call(subscriber, next, previous);
    }
  }
}
