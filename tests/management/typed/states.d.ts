/**
 * Types of the declared states, written by `manage.py sessionstores_types`: do not edit.
 *
 * They are registered with the client at the end, so that no call names a type. What tabs
 * show of themselves and what the server sends as messages can be registered beside them,
 * in a file of your own:
 *
 *     declare module "sessionstores/client" {
 *       interface Register {
 *         meta: { typing?: boolean };
 *         message: { notice: string };
 *       }
 *     }
 */

/** What JSON can hold. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** A date and time, such as "2026-03-01T09:30:00Z". */
export type IsoDateTime = string;

/** A date, such as "2026-03-01". */
export type IsoDate = string;

/** A time of day, such as "09:30:00". */
export type IsoTime = string;

/** A duration, such as "PT90S" or "P1DT2H". */
export type IsoDuration = string;

/** Bytes, in base64. */
export type Base64 = string;

/** A decimal number, such as "12.50", which JavaScript would round. */
export type DecimalText = string;

/** A UUID, such as "0b4ae3c1-6d3f-4b8e-9a53-5c3fb8f4a2d1". */
export type Uuid = string;

/** The codes that sessionstores itself refuses with. */
export type GeneralCode =
  | "bad_frame"
  | "bad_json"
  | "bad_meta"
  | "bad_value"
  | "conflict"
  | "expired"
  | "forbidden"
  | "hello_timeout"
  | "inside_transaction"
  | "internal"
  | "invalid_arguments"
  | "invalid_key"
  | "invalid_token"
  | "kicked"
  | "limit_reached"
  | "outcome_unknown"
  | "rejected"
  | "session_ended"
  | "session_locked"
  | "slow"
  | "state_corrupt"
  | "state_too_large"
  | "store_unavailable"
  | "too_deep"
  | "too_large"
  | "too_many_bad_frames"
  | "unknown_action"
  | "unknown_protocol"
  | "unknown_session"
  | "unknown_state"
  | "unknown_type";

/** Any code: an action may refuse with others than those that are known. */
export type OtherCode = GeneralCode | (string & {});

/** The arguments of an action that takes none. */
export type NoArguments = { readonly [name: string]: never };

export interface Board {
  readonly deck: readonly string[];
  readonly piles: { readonly [key: string]: readonly string[] };
}

export interface Choices {
  readonly colour?: string;
}

export interface Empty {}

export type Entry = readonly [tag: "entry", id: number, title: string, ...more: Json[]];

export type EntryInput = readonly [tag: "entry", id: number, title?: string, ...more: unknown[]];

/** A field of each kind. */
export interface Gallery {
  readonly text: string;
  readonly whole: number;
  readonly real: number;
  readonly flag: boolean;
  readonly nothing: null;
  readonly anything: Json;
  readonly raw: Json;
  readonly moment: IsoDateTime | null;
  readonly day: IsoDate | null;
  readonly time: IsoTime | null;
  readonly span: IsoDuration;
  readonly id: Uuid | null;
  readonly price: DecimalText;
  readonly blob: Base64;
  readonly choice: 3 | "a" | "b" | null;
  readonly switch: "on" | boolean;
  readonly suit: Suit;
  readonly level: Level;
  readonly rights: Rights;
  readonly items: readonly (string | null)[];
  readonly several: readonly number[];
  readonly frozen: readonly TestsManagementTypedStatesCard[];
  readonly pair: readonly [number, string];
  readonly many: readonly number[];
  readonly by_id: { readonly [key: string]: string };
  readonly by_suit: { readonly hearts?: readonly number[]; readonly spades?: readonly number[] };
  readonly by_level: { readonly "1"?: Json; readonly "2"?: Json };
  readonly by_place: {
    readonly left?: TestsManagementTypedStatesCard;
    readonly right?: TestsManagementTypedStatesCard;
  };
  readonly card: TestsManagementTypedStatesCard | null;
  readonly twin: OtherDeckCard | null;
  readonly odd: my_struct | null;
  readonly post: Note | Photo | null;
  readonly size: Size;
  readonly slim: Slim;
  readonly point: Point;
  readonly choices: Choices;
  readonly entry: Entry;
  readonly tree: Tree | null;
  readonly lean: Lean;
  readonly page: PageCard | null;
  readonly pages: PageInt | null;
  readonly keyword: TestsManagementTypedStatesString | null;
  readonly ours: TestsManagementTypedStatesStates | null;
  readonly "re-named": string;
}

export interface Lean {
  readonly must: number;
  readonly may?: number;
}

export type Level = 1 | 2;

export interface Note {
  readonly type: "note";
  readonly text: string;
}

export interface OtherDeckCard {
  readonly title: string;
}

export interface PageCard {
  readonly items: readonly TestsManagementTypedStatesCard[];
  readonly next?: number;
}

export interface PageInt {
  readonly items: readonly number[];
  readonly next?: number;
}

export interface Photo {
  readonly type: "photo";
  readonly url: string;
  readonly "alt-text": string;
}

export type Point = readonly [x: number, y: number, label: string | null];

export type PointInput = readonly [x: number, y: number, label?: string | null];

export type Rights = number;

export interface Size {
  readonly width: number;
  readonly height: number;
  readonly scale?: number;
  readonly parts: readonly TestsManagementTypedStatesCard[];
}

export interface SizeInput {
  readonly width: number;
  readonly height: number;
  readonly scale?: number;
  readonly parts?: readonly TestsManagementTypedStatesCardInput[];
}

export interface Slim {
  readonly width: number;
}

/** A suit of cards. */
export type Suit = "hearts" | "spades";

export interface Table {
  readonly step: 1 | 2 | 3;
}

/**
 * A card *\/ of a deck.
 *
 * It has two lines.
 */
export interface TestsManagementTypedStatesCard {
  readonly suit: Suit;
  /** From 1, the ace. */
  readonly rank: number;
}

/**
 * A card *\/ of a deck.
 *
 * It has two lines.
 */
export interface TestsManagementTypedStatesCardInput {
  readonly suit: Suit;
  /** From 1, the ace. */
  readonly rank?: number;
}

export interface TestsManagementTypedStatesStates {
  readonly value: string;
}

export interface TestsManagementTypedStatesString {
  readonly value: string;
}

export interface Tree {
  readonly name: string;
  readonly children: readonly Tree[];
}

export interface my_struct {
  readonly "a b": number;
}

/** The states, by name. */
export interface States {
  board: {
    scope: "participant";
    watch: "facilitator";
    state: Board;
    actions: {
      /**
       * Put a card on a pile.
       *
       * It is an @action.
       */
      move: {
        readonly card: string;
        readonly pile: "drop" | "keep";
        readonly at?: number | null;
      };
      /**
       * Take every card back.
       *
       * For the role facilitator or host.
       */
      clear: NoArguments;
    };
    positional: {
      move: readonly [card: string, pile: "drop" | "keep", at?: number | null];
      clear: readonly [];
    };
    results: {
      move: number;
      clear: null;
    };
    errors: {
      move: "not_there" | "nothing" | "unexpected" | OtherCode;
      clear: "a" | "b" | "full" | "refused_by_class" | OtherCode;
    };
  };
  empty: {
    scope: "session";
    watch: never;
    state: Empty;
    actions: {};
    positional: {};
    results: {};
    errors: {};
  };
  /** A field of each kind. */
  gallery: {
    scope: "participant";
    watch: "facilitator" | "host";
    state: Gallery;
    actions: {
      everything: {
        readonly card: TestsManagementTypedStatesCardInput;
        readonly size: SizeInput;
        readonly point: PointInput;
        readonly choices: Choices;
        readonly entry: EntryInput;
        readonly tree: Tree;
        readonly lean: Lean;
        readonly page: PageInt;
        readonly anything: unknown;
        readonly day: IsoDate;
        readonly suits: { readonly hearts?: number; readonly spades?: number };
        readonly several: readonly string[];
      };
      mixed: { readonly first: number; readonly second?: number; readonly third: string };
      keywords: { readonly new: number; readonly default: number; readonly var?: string | null };
      unannotated: NoArguments;
    };
    positional: {
      everything: readonly [
        card: TestsManagementTypedStatesCardInput,
        size: SizeInput,
        point: PointInput,
        choices: Choices,
        entry: EntryInput,
        tree: Tree,
        lean: Lean,
        page: PageInt,
        anything: unknown,
        day: IsoDate,
        suits: { readonly hearts?: number; readonly spades?: number },
        several: readonly string[],
      ];
      mixed: readonly [first: number, second: number | undefined, third: string];
      keywords: readonly [new: number, default_: number, var_?: string | null];
      unannotated: readonly [];
    };
    results: {
      everything: PageCard;
      mixed: TestsManagementTypedStatesCard | null;
      keywords: null;
      unannotated: Json;
    };
    errors: {
      everything: OtherCode;
      mixed: OtherCode;
      keywords: OtherCode;
      unannotated: OtherCode;
    };
  };
  table: {
    scope: "session";
    watch: never;
    state: Table;
    actions: {
      seat: { readonly name: string };
    };
    positional: {
      seat: readonly [name: string];
    };
    results: {
      seat: { readonly [key: string]: TestsManagementTypedStatesCard };
    };
    errors: {
      seat: OtherCode;
    };
  };
}

declare module "sessionstores/client" {
  interface Register {
    states: States;
  }
}
