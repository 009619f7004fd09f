/**
 * Types of client.js. Describe your states once and pass them to `connect`:
 *
 *     type Stores = {
 *       board: {
 *         state: { deck: string[]; piles: Record<string, string[]> };
 *         actions: { move: { card: string; pile: string }; clear: {} };
 *       };
 *     };
 *     const session = connect<Stores>("#sessionstores");
 *     await session.store("board").dispatch("move", { card: "ace", pile: "keep" });
 *
 * Without the type argument, states and arguments are `any`.
 */

/** One declared state: its data, the arguments of its actions, and what those return. */
export interface StateType {
  state: unknown;
  /** Arguments by action name; `{}` for an action without any. */
  actions: object;
  /** Results by action name; actions that are not named here return `unknown`. */
  results?: object;
}

type AnyStores = Record<
  string,
  { state: any; actions: Record<string, any>; results: Record<string, any> }
>;

type StoresOf<Stores> = { [Name in keyof Stores]: StateType };

/**
 * What a site registers once, so that no call names a type. The file that
 * `manage.py sessionstores_types` writes registers the states; metas and messages may be
 * registered beside them:
 *
 *     declare module "sessionstores/client" {
 *       interface Register {
 *         meta: { typing?: boolean };
 *         message: { notice: string };
 *       }
 *     }
 */
export interface Register {}

/** The states that are registered; without any, all states and arguments are `any`. */
export type RegisteredStores = Register extends { states: infer States }
  ? States extends StoresOf<States>
    ? States
    : AnyStores
  : AnyStores;

type Result<S extends StateType, Action> = S extends { results: infer Results }
  ? Action extends keyof Results
    ? Results[Action]
    : unknown
  : unknown;

/** The arguments may be left out when none is required. */
type Arguments<Args> = {} extends Args ? [args?: Args] : [args: Args];

/** The shape of a vanilla Zustand store; its functions may be passed around on their own. */
export interface Store<S extends StateType> {
  /**
   * The newest state; `undefined` until the first snapshot, unless the page brought the state
   * along. Never change it: what an update leaves alone keeps its identity, for `===`.
   */
  getState(): S["state"] | undefined;

  /** The state that the page brought along, if it did. */
  getInitialState(): S["state"] | undefined;

  /**
   * Call `listener` after each change of this state, when all of the update is in place.
   * Returns a function that ends the subscription.
   */
  subscribe(
    listener: (state: S["state"], previous: S["state"] | undefined) => void,
  ): () => void;

  /**
   * Run an action on the server, now or as soon as there is a connection. Resolves with what it
   * returned, when `getState()` shows its effect; with `undefined` if the answer had to be repeated
   * after a lost connection. Rejects with a `DispatchError`. Takes effect at most once, also across
   * reloads of the page. `args` are copied as JSON.
   */
  dispatch<Action extends keyof S["actions"] & string>(
    action: Action,
    ...args: Arguments<S["actions"][Action]>
  ): Promise<Result<S, Action>>;
}

/**
 * - `connecting`: not yet connected since the page was loaded
 * - `live`: connected, changes arrive as they are made
 * - `reconnecting`: the connection was lost; what is shown may be old, actions queue
 * - `offline`: the browser has no network, or `pause()` was called; actions queue
 * - `ended`: over; see the `end` event
 */
export type Status = "connecting" | "live" | "reconnecting" | "offline" | "ended";

/** What a tab shows of itself to the others in its session, such as a name or `typing`. */
export type Meta = Record<string, any>;

/**
 * A participant who is present: the metas of their tabs in the order they came, and beside these
 * what they are called, `null` if nobody has said so, and their role. A server of an earlier
 * release says neither.
 */
export interface Present extends ReadonlyArray<Meta> {
  readonly name?: string | null;
  readonly role?: string;
}

/** Who is present, by participant id. */
export type Presence = Readonly<Record<string, Present>>;

/** This tab's participant. A name or a role that changes makes another object of it. */
export interface Self {
  readonly id: string;
  /** `null` if nobody has said so. */
  readonly name: string | null;
  readonly role: string;
}

/** What listeners of `session.on` receive. */
export interface SessionEvents {
  status: Status;
  /** The number of pending actions, reported once per turn of the event loop. */
  pending: number;
  /**
   * The server has lost or deleted state that this tab had shown; `states` is what replaces it.
   * Both are by name of the state.
   */
  reset: {
    doc: string;
    states: Record<string, unknown>;
    previous: Record<string, unknown>;
    /** What to tell the person, in the page's language. */
    message: string;
  };
  /** Sent by `stores.send` on the server. */
  message: any;
  /** This tab's participant has another name or role. */
  self: Self;
  /**
   * Sent once. `reason` is the server's ("ended", "cleanup", "idle", "disconnected", "kicked": the
   * participant was removed and is kept out), the code of its refusal ("invalid_token",
   * "session_locked", "kicked" …), or "left" after `leave()`. `message` tells the person, in the
   * page's language, what has happened and what to do.
   */
  end: { reason: string; message: string };
  /**
   * The server refused a frame or the connection; or `no_token`: the `token` option failed, and is
   * asked again. The client keeps reconnecting, so this is for logs. An error that answers a frame
   * names the action by its `id`, which is then rejected, or what it is `of`: "meta", "sync" …
   * `message` is for the person, `hint` for developers, sent under DEBUG only.
   */
  error: { code: string; message: string; hint?: string; id?: number; of?: string };
}

export interface Session<Stores extends StoresOf<Stores> = RegisteredStores> {
  /** The session code. */
  readonly code: string;
  readonly participant: string;
  /** As in `self`. */
  readonly role: string;
  /** Who this tab's participant is now; see the `self` event. */
  readonly self: Self;
  readonly status: Status;
  /**
   * What to tell the person of `status`, in the page's language: why there is no connection, and
   * what to do. Empty while there is nothing to tell.
   */
  readonly message: string;
  /** The number of actions that are not answered yet, or whose effect is not here yet. */
  readonly pending: number;

  /**
   * Who is present now, this participant too; `{}` until the server has sent it. While there is no
   * connection, it stays as it was. As with states, what has not changed keeps its identity.
   */
  readonly presence: Presence;

  /**
   * Show `data` to the others from now on, as this tab's meta in their `presence`. It is never
   * stored with the state, and lasts as long as the tab. Others get the newest, a few times a
   * second at most, so it may be called for each move of a pointer. Throws a RangeError unless
   * `data` is an object of at most 1024 bytes as JSON, without lone surrogates, integers beyond
   * 2**53 - 1, more than 31 levels, or the keys `__proto__`, `constructor` and `prototype`.
   */
  setMeta(data: Meta): void;

  /** The rev at which this tab has a document ("me", "session"), once it has it. */
  rev(doc: string): string | undefined;

  /** The store of a declared state, the same object each time. Throws for an unknown name. */
  store<Name extends keyof Stores & string>(name: Name): Store<Stores[Name]>;

  /**
   * Listen to who is present. `joined` are those who came, or whose tabs, metas, name or role
   * changed, as they are now; `left` are those who went, which a reload is not.
   */
  on(
    type: "presence",
    listener: (presence: Presence, change: { joined: Presence; left: string[] }) => void,
  ): () => void;

  /** Listen to the status; `message` is what to tell the person of it, or empty. */
  on(type: "status", listener: (status: Status, message: string) => void): () => void;

  /** Listen to an event. Returns a function that ends it. */
  on<Type extends keyof SessionEvents>(
    type: Type,
    listener: (event: SessionEvents[Type]) => void,
  ): () => void;

  /** Drop the connection and stay away until `resume()`; actions queue. For demos and tests. */
  pause(): void;
  /** Connect again at once. */
  resume(): void;

  /** Say goodbye: the participant leaves now, not after the grace period. Ends the session. */
  leave(): void;
}

/** What `{% sessionstores_config %}` writes into the page. */
export interface Config {
  url: string;
  token?: string;
  session: string;
  participant: string;
  role: string;
  name?: string | null;
  /** The document that each state lives in, by name of the state. */
  states: Record<string, string>;
  docs?: Record<string, { rev: string; states: Record<string, unknown> }>;
  /** The page's language, in which the server answers this tab. */
  lang?: string;
  /** What the client tells by itself, in that language. */
  messages?: Record<string, string>;
}

export interface Options {
  /**
   * Fetch a new token when the server refuses the one at hand, as after a long sleep. Resolve with
   * nothing to give up. A fetched token that is refused as well ends the session.
   */
  token?: () => Promise<string | null | undefined>;
  /** A replacement for the browser's WebSocket, for tests. */
  WebSocket?: new (url: string, protocol: string) => any;
  /**
   * Where unanswered actions survive a reload: `sessionStorage` unless given, `null` for nowhere.
   * Must not be shared between tabs, nor between frames of one tab that show the same participant:
   * give all but one of these `null`.
   */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
}

/**
 * Connect this tab to its session. `source` is the element that `{% sessionstores_config %}` wrote,
 * a selector of it, or the configuration itself.
 */
export function connect<Stores extends StoresOf<Stores> = RegisteredStores>(
  source: string | Element | Config,
  options?: Options,
): Session<Stores>;

/**
 * Why an action was refused. `message` is for the person, in the page's language; `hint` is for
 * developers, if there is one: the server sends its own under DEBUG only. `code` is the server's ("rejected", "invalid_arguments" …;
 * "conflict" only after the client has sent it again a few times), or one of the client's own:
 *
 * - `outcome_unknown`: sent, but not answered within five minutes, or the server's cache gave it
 *   no answer, or the server no longer knows; it may have taken effect
 * - `expired`: could not be sent for five minutes; it took no effect
 * - `session_ended`: the session was over before the answer; if it was sent, it may have taken
 *   effect
 * - `too_large`: more than the server accepts; it took no effect
 * - `unknown_state`: thrown by `session.store`
 */
export class DispatchError extends Error {
  readonly name: "DispatchError";
  readonly code: string;
  readonly hint?: string;
  constructor(code: string, message: string, hint?: string);
}

export type PatchOperation =
  | { op: "add" | "replace" | "test"; path: string; value: unknown }
  | { op: "remove"; path: string }
  | { op: "move" | "copy"; from: string; path: string };

/**
 * Apply RFC 6902 operations and return the patched document. The given one is left as it is, and
 * parts that no operation reaches are shared between both. Throws `PatchError` if an operation does
 * not fit, or names `__proto__`, `constructor` or `prototype`.
 */
export function applyPatch<Document = any>(
  document: unknown,
  operations: readonly PatchOperation[],
): Document;

export class PatchError extends Error {
  readonly name: "PatchError";
  readonly code: "patch_error";
}
