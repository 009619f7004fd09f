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

/** What an action returns to its caller. */
export type Result<S extends StateType, Action> = S extends { results: infer Results }
  ? Action extends keyof Results
    ? Results[Action]
    : unknown
  : unknown;

/** The arguments may be left out when none is required. */
type Arguments<Args> = {} extends Args ? [args?: Args] : [args: Args];

export interface DispatchOptions {
  /**
   * An action of this store with the same key that was not sent yet gives way to this one, so that
   * continuous input builds no queue. Its promise then ends as that of this one does.
   */
  replace?: string | number;
  /** Milliseconds within which the action is to be sent, else it is refused as `expired`. */
  within?: number;
}

/** The actions of a store as functions, which keep their identity. */
export type Actions<S extends StateType> = {
  readonly [Action in keyof S["actions"] & string]: (
    ...args: [...Arguments<S["actions"][Action]>, options?: DispatchOptions]
  ) => Promise<Result<S, Action>>;
};

/** The shape of a vanilla Zustand store; its functions may be passed around on their own. */
export interface Store<S extends StateType> {
  /**
   * The newest state, with the unanswered actions that `predict` foretells; `undefined` until the
   * first snapshot, unless the page brought the state along. Never change it: what an update leaves
   * alone keeps its identity, for `===`.
   */
  getState(): S["state"] | undefined;

  /** The newest state of the server that is known, without what is foretold. */
  getConfirmedState(): S["state"] | undefined;

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
   * Call `listener` after each change of what `selector` returns, as Zustand's
   * `subscribeWithSelector` does; `undefined` while there is no state.
   */
  subscribe<Part>(
    selector: (state: S["state"]) => Part,
    listener: (part: Part, previous: Part | undefined) => void,
    options?: {
      /** `Object.is` unless given. */
      equalityFn?: (a: Part, b: Part) => boolean;
      /** Call `listener` now, too. */
      fireImmediately?: boolean;
    },
  ): () => void;

  /** The actions as functions: `store.actions.move({ card: "ace", pile: "keep" })`. */
  readonly actions: Actions<S>;

  /**
   * Run an action on the server, now or as soon as there is a connection. Resolves with what it
   * returned, when `getState()` shows its effect; with `undefined` if the answer had to be repeated
   * after a lost connection. Rejects with a `DispatchError`, which nobody needs to catch: each refusal
   * is a `refused` event too. Takes effect at most once, also across reloads of the page. `args` are
   * copied as JSON.
   */
  dispatch<Action extends keyof S["actions"] & string>(
    action: Action,
    ...args: [...Arguments<S["actions"][Action]>, options?: DispatchOptions]
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

/**
 * What a tab shows of itself to the others in its session, such as `typing`: of what is registered as
 * `meta`, as much as the tab has set; unless it is registered, anything.
 */
export type Meta = Register extends { meta: infer Data }
  ? { readonly [Part in keyof Data]?: Data[Part] }
  : Record<string, any>;

/** What is added to a tab's meta; a part that is `undefined` is taken out. */
export type MetaUpdate = { readonly [Part in keyof Meta]?: Meta[Part] | undefined };

/** What `stores.send` sends: as registered, else anything. */
export type Message = Register extends { message: infer Data } ? Data : any;

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

/**
 * Another participant, as a role that may watch them sees them. Each change makes another object of
 * it; what has not changed keeps its identity.
 */
export interface Watched<Stores extends StoresOf<Stores> = RegisteredStores> {
  readonly id: string;
  /** Of those whom `participants()` names: `null` if nobody has said so. For others see `presence`. */
  readonly name?: string | null;
  readonly role?: string;
  /**
   * - `asked`: there was no answer yet, or no state of theirs so far
   * - `here`: `states` are theirs; whether they have a tab open is in `presence`
   * - `gone`: there is nothing to be seen, and `reason` says why: "idle", "cleanup", "kicked", "left",
   *   "ended", "absent" (there was nobody), "unreadable". If they come back, they are `here` again
   * - `refused`: this tab's role may not, or too many are watched; `reason` is the code of the error
   */
  readonly status: "asked" | "here" | "gone" | "refused";
  readonly reason?: string;
  /** Those that this tab's role may see and that they have used, by name of the state. */
  readonly states: { readonly [Name in keyof Stores]?: Stores[Name]["state"] };
}

/** Everybody but oneself, as a role that may watch them sees them. */
export interface Participants<Stores extends StoresOf<Stores> = RegisteredStores> {
  readonly status: "asked" | "watching" | "refused";
  readonly reason?: string;
  /** By id; whoever is gone is not among them. */
  readonly people: Readonly<Record<string, Watched<Stores>>>;
}

/** A store to read from, in Zustand's shape. */
export interface Watch<State> {
  getState(): State;
  /** As before the server has answered. */
  getInitialState(): State;
  subscribe(listener: (state: State, previous: State) => void): () => void;
  subscribe<Part>(
    selector: (state: State) => Part,
    listener: (part: Part, previous: Part) => void,
    options?: { equalityFn?: (a: Part, b: Part) => boolean; fireImmediately?: boolean },
  ): () => void;
  /** Let go of it. It ends, and what was sent is forgotten, when all who called for it have. */
  stop(): void;
}

/** An action that did not take effect, or of which that is not known. */
export interface Refusal {
  state: string;
  action: string;
  args: any;
  error: DispatchError;
}

/** What listeners of `session.on` receive. */
export interface SessionEvents {
  status: Status;
  /** The number of pending actions, reported once per turn of the event loop. */
  pending: number;
  /**
   * The server has lost or deleted state that this tab had shown, or the site has had it started
   * afresh; `message` says which. `states` is what replaces it. Both are by name of the state.
   */
  reset: {
    doc: string;
    states: Record<string, unknown>;
    previous: Record<string, unknown>;
    /** What to tell the person, in the page's language. */
    message: string;
  };
  /** Sent by `stores.send` on the server. */
  message: Message;
  /** This tab's participant has another name or role. */
  self: Self;
  /** `setMeta` has changed what this tab shows of itself. */
  meta: Meta;
  /**
   * Sent once. `reason` is the server's ("ended", "cleanup", "idle", "disconnected", "kicked": the
   * participant was removed and is kept out), the code of its refusal ("invalid_token",
   * "session_locked", "kicked" …), or "left" after `leave()`. `message` tells the person, in the
   * page's language, what has happened and what to do.
   */
  end: { reason: string; message: string };
  /**
   * An action was refused, also one that the page before had left: what its promise would say. What
   * was foretold of it is taken back already.
   */
  refused: Refusal;
  /**
   * The server refused a frame or the connection; or `no_token`: the `token` option failed, and is
   * asked again; or `bad_frame`: what came cannot be read, and the states are asked for anew. The client keeps reconnecting, so this is for logs. An error that answers a frame
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
   * Resolves when all states are there. Rejects with a `DispatchError` if the session ends, or is
   * closed, before that.
   */
  readonly ready: Promise<void>;

  /** Resolves when no action is pending; rejects if the session is closed before that. */
  settled(): Promise<void>;

  /**
   * Who is present now, this participant too; `{}` until the server has sent it. While there is no
   * connection, it stays as it was. As with states, what has not changed keeps its identity.
   */
  readonly presence: Presence;

  /**
   * Show `data` to the others from now on, in this tab's meta in their `presence`. It is added to
   * what was set before; a part that is `undefined` is taken out. The meta is never stored with the state, and lasts as long as the tab. Others get the newest, a few times a
   * second at most, so it may be called for each move of a pointer. Throws a RangeError unless
   * the whole is an object of at most 1024 bytes as JSON, without lone surrogates, integers beyond
   * 2**53 - 1, more than 31 levels, or the keys `__proto__`, `constructor` and `prototype`.
   */
  setMeta(data: MetaUpdate): void;

  /** What this tab shows of itself now. */
  readonly meta: Meta;

  /** The rev at which this tab has a document ("me", "session"), once it has it. */
  rev(doc: string): string | undefined;

  /** The store of a declared state, the same object each time. Throws for an unknown name. */
  store<Name extends keyof Stores & string>(name: Name): Store<Stores[Name]>;

  /**
   * Watch another participant, as far as this tab's role may: of states whose `watch` names it, what
   * is not sensitive, as it changes. Call `stop()` when it is no longer shown.
   */
  watch(id: string): Watch<Watched<Stores>>;

  /** Watch everybody but oneself, whoever comes later too. Call `stop()` when it is no longer shown. */
  participants(): Watch<Participants<Stores>>;

  /**
   * Listen to who is present. `joined` are those who came, or whose tabs, metas, name or role
   * changed, as they are now; `left` are those who went, which a reload is not.
   */
  on(
    type: "presence",
    listener: (presence: Presence, change: { joined: Presence; left: string[] }) => void,
  ): () => void;

  /** Listen to the status, and to `message`, what to tell the person of it, or empty. */
  on(type: "status", listener: (status: Status, message: string) => void): () => void;

  /** Listen to an event. Returns a function that ends it. */
  on<Type extends keyof SessionEvents>(
    type: Type,
    listener: (event: SessionEvents[Type]) => void,
  ): () => void;

  /** Drop the connection and stay away until `resume()`; actions queue. For demos and tests. */
  pause(): void;
  /** Connect now: again, or for the first time if `paused` was given. */
  resume(): void;

  /** Say goodbye: the participant leaves now, not after the grace period. Ends the session. */
  leave(): void;

  /**
   * Let go of everything, without a goodbye: the connection, all timers and listeners. Promises that
   * are open reject with the code `closed`; their actions are kept for the next `connect` of this tab.
   * No event is sent, `status` is "ended".
   */
  close(): void;
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
  /** Whether the site is under development: states are frozen then. */
  debug?: boolean;
}

/** What a predictor knows beside its state. */
export interface PredictionContext {
  /** Who acts. */
  readonly self: Self;
  /** Another state, as the server has confirmed it. */
  state(name: string): any;
}

/**
 * What an action makes of a state, as far as a page can tell: a pure function. It runs again on each
 * newer state until the action is answered. If it throws, or returns `undefined`, the action is not
 * foretold. A function that Immer's `produce` curries has this shape.
 */
export type Predictor<State, Args> = (
  state: State,
  args: Args,
  context: PredictionContext,
) => State | undefined;

/** Predictors, by state and action. */
export type Predictors<Stores extends StoresOf<Stores>> = {
  readonly [Name in keyof Stores]?: {
    readonly [Action in keyof Stores[Name]["actions"]]?: Predictor<
      Stores[Name]["state"],
      Stores[Name]["actions"][Action]
    >;
  };
};

export interface Options<Stores extends StoresOf<Stores> = AnyStores> {
  /** Shows actions before they are answered. */
  predict?: Predictors<Stores>;
  /**
   * Connect only when `resume()` is called. Until then there is no connection, timer or listener: what
   * is not used, such as what React renders and throws away, need not be closed.
   */
  paused?: boolean;
  /** Freeze all states, so that a change of one throws. As `config.debug` says, unless given. */
  freeze?: boolean;
  /** Have the browser ask before the page is left while an action is pending. */
  warnBeforeUnload?: boolean;
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
   * give all but one of these `null`. Two connections of one page may share it.
   */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
}

/**
 * Connect this tab to its session. `source` is the element that `{% sessionstores_config %}` wrote,
 * a selector of it, or the configuration itself. Throws a `DispatchError`: `bad_config`, or
 * `mixed_versions` if the browser has modules of two releases; it then loads the page again.
 *
 * Of an element that the page has connected before, the stores begin with what that connection last had.
 *
 * Without a `document`, as on a server that renders the page, it shows the states that the
 * configuration brings along and connects nowhere.
 */
export function connect<Stores extends StoresOf<Stores> = RegisteredStores>(
  source: string | Element | Config,
  // Predictors say nothing of which states there are: else those would be all.
  options?: Options<NoInfer<Stores>>,
): Session<Stores>;

/**
 * Why an action was refused. `message` is for the person, in the page's language; `hint` is for
 * developers, if there is one: the server sends its own under DEBUG only. `code` is the server's ("rejected", "invalid_arguments" …;
 * "conflict" only after the client has sent it again a few times), or one of the client's own:
 *
 * - `outcome_unknown`: sent, but not answered within five minutes, or the server's cache gave it
 *   no answer, or the server no longer knows; it may have taken effect
 * - `expired`: could not be sent within the time that was asked for; it took no effect
 * - `session_ended`: the session was over before the answer; if it was sent, it may have taken
 *   effect
 * - `closed`: the session was closed; the next `connect` of the tab sends the action
 * - `invalid_arguments`: arguments that are no JSON; it took no effect
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
