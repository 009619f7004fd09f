// A network that is slow on purpose: what it carries takes half of `roundTrip` each way.

export const network = { roundTrip: 0 }; // ms

export class SlowSocket extends WebSocket {
  #sends = 0; // when the last one is through, so that none overtakes it
  #arrives = 0;

  send(text) {
    this.#sends = this.#later(this.#sends, () => this.readyState === WebSocket.OPEN && super.send(text));
  }

  set onmessage(listener) {
    super.onmessage = (event) => {
      this.#arrives = this.#later(this.#arrives, () => listener(event));
    };
  }

  #later(last, pass) {
    const now = performance.now();
    const due = Math.max(last, now + network.roundTrip / 2);
    if (due <= now) pass();
    else setTimeout(pass, due - now);
    return due;
  }
}
