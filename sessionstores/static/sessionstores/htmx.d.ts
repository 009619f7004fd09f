/**
 * Types of htmx.js. Import it for its effect: it connects as `#sessionstores` says, and at each
 * change of a state fires `sessionstores:<state>` on `<body>`, a `StateEvent`.
 */
import type { Session } from "./client.js";

/** The connection, for other scripts of the page. */
export const session: Session;

/** The event of a state: what it is now, and what it was; undefined before there was one. */
export type StateEvent<State = unknown> = CustomEvent<{
  state: State;
  previous: State | undefined;
}>;
