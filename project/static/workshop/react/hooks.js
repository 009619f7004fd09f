// React and the hooks of its board. React 18 comes as classic scripts, which the page loads before its modules: nothing is
// built and nothing maps names to modules, for `createHooks` is given the React that the page has.

import { connect } from "../../sessionstores/client.js";
import { createHooks } from "../../sessionstores/react.js";

export const { React, ReactDOM } = globalThis;

export const h = React.createElement;

export const {
  SessionStoreProvider,
  useAction,
  useMyMeta,
  useOthers,
  usePending,
  useSelf,
  useSessionEvent,
  useSessionStore,
  useSessionStoreManager,
  useStatus,
} = createHooks(React, connect);
