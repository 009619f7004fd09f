/**
 * Types of react.js. Make the hooks once, with the React and the client of your page:
 *
 *     export const { SessionStoreProvider, useSessionStore, useAction } = createHooks(React, connect);
 *
 *     <SessionStoreProvider source="#sessionstores" fallback={<Spinner />}><Board /></SessionStoreProvider>
 */
import type { ComponentType, ReactNode } from "react";

import type {
  Actions,
  Config,
  DispatchError,
  DispatchOptions,
  Meta,
  MetaUpdate,
  Options,
  Participants,
  Presence,
  RegisteredStores,
  Self,
  Session,
  SessionEvents,
  StateType,
  Status,
  Watched,
} from "./client.js";

type StoresOf<Stores> = { [Name in keyof Stores]: StateType };

type Connect<Stores extends StoresOf<Stores>> = (
  source: string | Element | Config,
  options?: Options<Stores>,
) => Session<Stores>;

/** A session that is given is the giver's to close; one that is opened from `source` is not. */
export type ProviderProps<Stores extends StoresOf<Stores>> = {
  /** What is shown until the states are there that somebody below uses. */
  fallback?: ReactNode;
  children?: ReactNode;
} & (
  | { session: Session<Stores>; source?: undefined }
  | {
      /** As for `connect`; another participant's opens another connection, and mounts `children` anew. */
      source: string | Element | Config;
      /** As for `connect`, of the time when it is opened. */
      options?: Options<Stores>;
      session?: undefined;
    }
);

type Equal<Part> = (a: Part, b: Part) => boolean;

/** As a handler, such as `onClick={run}`: an action that can do without arguments. */
type Handler<S extends StateType, Action extends keyof S["actions"] & string> =
  {} extends S["actions"][Action]
    ? (event: { readonly nativeEvent: unknown }) => ReturnType<Actions<S>[Action]>
    : unknown;

/** A function for an action, and what became of its last call. */
export type ActionHook<S extends StateType, Action extends keyof S["actions"] & string> = [
  /** Keeps its identity. The promise need not be awaited. An event that it is called with is no argument. */
  run: Handler<S, Action> & Actions<S>[Action],
  state: {
    /** Whether a call is not answered yet. */
    pending: boolean;
    /** Why the last call was refused: `error.message` is for the person. */
    error: DispatchError | null;
    /** Forget the error. */
    reset: () => void;
  },
];

type Taken<S extends StateType> = {
  [Action in keyof S["actions"]]?: (...given: any[]) => S["actions"][Action];
};

/** A state with functions beside its fields, as in a Zustand store. */
export type WithActions<S extends StateType, Takes extends Taken<S>> = S["state"] & {
  readonly [Action in keyof Takes]: Takes[Action] extends (...given: infer Given) => any
    ? (...given: Given) => Promise<unknown>
    : never;
};

export interface Hooks<Stores extends StoresOf<Stores>> {
  /** Opens the connection while it is mounted, and closes it a second after it has gone. */
  SessionStoreProvider: ComponentType<ProviderProps<Stores>>;

  /** The session of the provider. */
  useSessionStoreManager(): Session<Stores>;

  /** A state, which is never `undefined`: until it is there, the provider's `fallback` is shown. */
  useSessionStore<Name extends keyof Stores & string>(name: Name): Stores[Name]["state"];
  /** A part of it. Renders again when that has changed, by `equal` or `Object.is`. */
  useSessionStore<Name extends keyof Stores & string, Part>(
    name: Name,
    selector: (state: Stores[Name]["state"]) => Part,
    equal?: Equal<Part>,
  ): Part;

  /** An action as a function, whether it is pending, and why it was refused. */
  useAction<
    Name extends keyof Stores & string,
    Action extends keyof Stores[Name]["actions"] & string,
  >(name: Name, action: Action): ActionHook<Stores[Name], Action>;

  /** The status; with `smooth`, a connection that is back within a second was never lost. */
  useStatus(options?: { smooth?: boolean }): Status;

  /** The number of actions that are not answered yet. */
  usePending(): number;

  useSelf(): Self;

  /** What this tab shows of itself, and a function that adds to it. */
  useMyMeta(): [meta: Meta, update: (data: MetaUpdate) => void];

  /** Who else is present, by id. */
  useOthers(): Presence;
  useOthers<Part>(selector: (others: Presence) => Part, equal?: Equal<Part>): Part;

  /** Listen to an event while the component is mounted. The newest `listener` is called. */
  useSessionEvent<Type extends keyof SessionEvents>(
    type: Type,
    listener: (event: SessionEvents[Type]) => void,
  ): void;
  useSessionEvent(type: "status", listener: (status: Status, message: string) => void): void;
  useSessionEvent(
    type: "presence",
    listener: (presence: Presence, change: { joined: Presence; left: string[] }) => void,
  ): void;

  /** Another participant, or a state of theirs, as far as this tab's role may see it. */
  useWatched(id: string): Watched<Stores>;
  /** `undefined` until it is there. */
  useWatched<Name extends keyof Stores & string>(
    id: string,
    name: Name,
  ): Stores[Name]["state"] | undefined;
  useWatched<Name extends keyof Stores & string, Part>(
    id: string,
    name: Name,
    selector: (state: Stores[Name]["state"]) => Part,
    equal?: Equal<Part>,
  ): Part | undefined;

  /** Everybody but oneself, as far as this tab's role may see them. */
  useParticipants(): Participants<Stores>;
  useParticipants<Part>(
    selector: (participants: Participants<Stores>) => Part,
    equal?: Equal<Part>,
  ): Part;

  /**
   * A hook of one state with functions beside its fields, so that components of a Zustand store stay
   * as they are: `takes` makes the arguments of each action from what its function is called with.
   *
   *     const useStep1 = createStoreHook("board", { move: (card, pile) => ({ card, pile }) });
   *     const move = useStep1((state) => state.move);
   */
  createStoreHook<
    Name extends keyof Stores & string,
    Takes extends Taken<Stores[Name]> = {},
  >(
    name: Name,
    takes?: Takes,
  ): {
    (): WithActions<Stores[Name], Takes>;
    <Part>(
      selector: (state: WithActions<Stores[Name], Takes>) => Part,
      equal?: Equal<Part>,
    ): Part;
  };
}

/**
 * Make the hooks. `React` is 18 or later; without `connect`, a provider takes a `session` only. States
 * are those of `connect`, if it is typed, or the registered ones.
 */
export function createHooks<Stores extends StoresOf<Stores> = RegisteredStores>(
  React: unknown,
  connect?: Connect<Stores>,
): Hooks<Stores>;
