/**
 * Types of debug.js, a panel for developers. In the place of `connect`, while you look:
 *
 *     const session = debug(connect, "#sessionstores", options);
 */
import type { Config, Options, RegisteredStores, Session, StateType } from "./client.js";

type StoresOf<Stores> = { [Name in keyof Stores]: StateType };

/**
 * Connect as `connect` does, with a panel in the corner of the page: frames, revs, what is pending, and what
 * is predicted beside what is confirmed; its buttons drop the connection and slow it down. Tokens are
 * left out of the frames.
 */
export function debug<Stores extends StoresOf<Stores> = RegisteredStores>(
  connect: (source: string | Element | Config, options?: Options<Stores>) => Session<Stores>,
  source: string | Element | Config,
  options?: Options<NoInfer<Stores>>,
): Session<Stores>;

/**
 * Show states, as they change, in the browser's Redux DevTools, if they are installed; to read only.
 * Returns a function that ends it.
 */
export function devtools<Stores extends StoresOf<Stores>>(
  session: Session<Stores>,
  names: readonly (keyof Stores & string)[],
): () => void;

/** A network that a page may slow down, and listen to. */
export interface Network {
  /** Milliseconds there and back. */
  delay?: number;
  /** Hears each frame, as it is sent or handed to the client. */
  heard?: (way: "out" | "in", text: string) => void;
}

/** A WebSocket on such a network, for the `WebSocket` option of `connect`. No frame overtakes another. */
export function slowed(
  network: Network,
  Socket?: new (url: string, protocol: string) => any,
): new (url: string, protocol: string) => any;
