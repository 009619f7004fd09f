/**
 * Types of testing.js: a session whose server is scripted by a front-end test. It needs a `document`,
 * as jsdom's, and no network.
 */
import type { Message, Meta, Options, RegisteredStores, Result, Session, StateType } from "./client.js";

type StoresOf<Stores> = { [Name in keyof Stores]: StateType };

/** Thrown by a scripted action: the caller is told `code` and `message`. */
export class Rejected extends Error {
  readonly code: string;
  constructor(code: string, message?: string);
}

/** What there is, by name of the state. */
export interface Script<Stores extends StoresOf<Stores> = RegisteredStores> {
  /** States of this participant. */
  states?: { [Name in keyof Stores]?: Stores[Name]["state"] };
  /** States of the session, which all share. */
  shared?: { [Name in keyof Stores]?: Stores[Name]["state"] };
  /**
   * Each gets a copy of its state, which it may change, the arguments, and a function that is told what the
   * action returns to its caller, `null` unless it is called. It returns the next state, or nothing if there
   * is none.
   */
  actions?: {
    [Name in keyof Stores]?: {
      [Action in keyof Stores[Name]["actions"]]?: (
        state: any,
        args: Stores[Name]["actions"][Action],
        returns: (result: Result<Stores[Name], Action>) => void,
      ) => Stores[Name]["state"] | void;
    };
  };
  /** The session's code; "TEST22" unless given. */
  session?: string;
  /** This participant's id, role and name. */
  participant?: string;
  role?: string;
  name?: string | null;
}

export interface Server<Stores extends StoresOf<Stores> = RegisteredStores> {
  /** All frames that the client has sent. */
  readonly sent: any[];
  /** The state as the server has it. */
  state<Name extends keyof Stores & string>(name: Name): Stores[Name]["state"];
  /** Have another tab, or code of the server, change a state. */
  change<Name extends keyof Stores & string>(
    name: Name,
    change: (state: Stores[Name]["state"]) => Stores[Name]["state"],
  ): void;
  /** Lose a state, or have the participant start afresh: the client gets `state` with a `reset` event. */
  reset<Name extends keyof Stores & string>(
    name: Name,
    state: Stores[Name]["state"],
    message?: string,
  ): void;
  /**
   * Set what others have whom this tab's role may watch, by id. Until it is called, to watch somebody is
   * refused. Whoever is not among them any more has left.
   */
  watched(
    others: Record<
      string,
      {
        name?: string | null;
        role?: string;
        states?: { [Name in keyof Stores]?: Stores[Name]["state"] };
      }
    >,
  ): void;
  /** Give this tab's participant another name or role. */
  become(self: { name?: string | null; role?: string }): void;
  /** Send a message, as `stores.send` does. */
  message(data: Message): void;
  /** Set who is present besides oneself, by id; `tabs` are their metas. */
  present(others: Record<string, { name?: string | null; role?: string; tabs?: Meta[] }>): void;
  /** Keep what the client is to be told until `release()`. */
  hold(): void;
  release(): void;
  /** Lose the connection, with what is held, until `reconnect()`. */
  drop(): void;
  reconnect(): void;
  /** End the session for good. */
  end(reason?: string, message?: string): void;
}

/** Make a session, and the server that answers it. `options` are those of `connect`. */
export function createTestSession<Stores extends StoresOf<Stores> = RegisteredStores>(
  script?: Script<NoInfer<Stores>>,
  options?: Options<NoInfer<Stores>>,
): { session: Session<Stores>; server: Server<Stores> };
