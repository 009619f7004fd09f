// Hooks for React 18 and later. Nothing is imported: `createHooks(React, connect)` is given both.

const CLOSE_AFTER = 1000; // ms without a provider: StrictMode and hot reload take it away for a moment
const SMOOTH = 1000; // ms for which `useStatus({ smooth: true })` tells nothing of a lost connection

const identity = (value) => value;

// Configurations of one participant are the same: one may be written into a prop.
const keyOf = (source) => (source?.session ? source.session + source.participant : source);

const made = new WeakMap(); // by session, store or state: what is made of it once
function once(key, name, make) {
  const held = made.get(key) ?? {};
  made.set(key, held);
  return (held[name] ??= make());
}

// How React subscribes to what a session says of itself.
const listens = (session, type) => once(session, type, () => (changed) => session.on(type, changed));

// Resolves with the first state of a store, or at the end; whoever waits for it then looks again.
const arrival = (session, store) =>
  once(store, "end", () => new Promise((resolve) => {
    store.subscribe(resolve);
    session.on("end", resolve);
  }));

function makeProvider(React, Context, connect) {
  // Opened without a connection: what React renders and throws away leaves nothing behind.
  const open = (source, options) => ({
    key: keyOf(source),
    session: connect(source, { ...options, paused: true }),
  });

  return function SessionStoreProvider({ session, source, options, fallback, children }) {
    const [own, setOwn] = React.useState(() => !session && open(source, options));
    let current = own;
    if (!session && own.key !== keyOf(source)) setOwn((current = open(source, options)));
    React.useEffect(() => {
      if (!current) return;
      if (current.isClosed) return setOwn(open(source, options));
      clearTimeout(current.timer);
      current.session.resume();
      return () => {
        current.timer = setTimeout(() => {
          current.isClosed = true;
          current.session.close();
        }, CLOSE_AFTER);
      };
    }, [current]);
    const value = session ?? current.session;
    // What one participant has begun is not shown to the next.
    return React.createElement(
      Context.Provider,
      { value },
      React.createElement(React.Suspense, { key: value.code + value.participant, fallback }, children),
    );
  };
}

// A hook for what `selector` takes of a store in Zustand's shape: the same object while `equal` says so.
const makeSelection =
  (React) =>
  (store, selector = identity, equal = Object.is) => {
    const last = React.useRef();
    const [select, selectInitial] = React.useMemo(() => {
      const keep = (get) => {
        let seen = last; // no state yet
        let part = last.current;
        return () => {
          const state = get();
          if (state === seen) return part;
          const next = state && selector(state);
          if (part === undefined || next === undefined || !equal(part, next)) part = next;
          seen = state;
          return part;
        };
      };
      return [keep(store.getState), keep(store.getInitialState ?? store.getState)];
    }, [store, selector, equal]);
    const part = React.useSyncExternalStore(store.subscribe, select, selectInitial);
    React.useEffect(() => {
      last.current = part;
    });
    return part;
  };

// One's own and the session's states, and their actions.
const makeStateHooks = (React, useSession, useSelected) => {
  function useSessionStore(name, selector, equal) {
    const session = useSession();
    const store = session.store(name);
    const part = useSelected(store, selector, equal);
    if (store.getState()) return part;
    if (globalThis.document && session.status !== "ended") throw arrival(session, store);
    throw new Error(session.message || `The page has no "${name}".`);
  }

  return {
    useSessionStore,

    useAction(name, action) {
      const store = useSession().store(name);
      const [, draw] = React.useState();
      // Of this connection: what a provider that was hidden has left open, the next one sends.
      const [run, calls, reset] = React.useMemo(() => {
        const calls = { pending: 0, error: null };
        const add = (by, more) => {
          Object.assign(calls, more).pending += by;
          draw({});
        };
        const start = (args, options) => {
          add(1, { error: null });
          // What a handler of React's is called with is no argument of an action.
          const promise = store.dispatch(action, args?.nativeEvent ? {} : args, options);
          promise.then(() => add(-1), (error) => add(-1, { error }));
          return promise;
        };
        return [start, calls, () => add(0, { error: null })];
      }, [store, action]);
      return [run, { ...calls, pending: calls.pending > 0, reset }];
    },

    // A hook for one state and its actions, as of a Zustand store: `takes` makes the arguments of
    // each action from what its function is called with.
    createStoreHook(name, takes) {
      const key = Symbol();
      return (selector = identity, equal) => {
        const store = useSession().store(name);
        const actions = once(store, key, () => {
          const runs = {};
          for (const action in takes) {
            runs[action] = (...given) => store.dispatch(action, takes[action](...given));
          }
          return runs;
        });
        const select = (state) => selector(once(state, key, () => ({ ...state, ...actions })));
        return useSessionStore(name, select, equal);
      };
    },
  };
};

// What a session says of itself.
const makeSessionHooks = (React, useSession, useSelected) => {
  // A property, of which an event of the same name tells.
  const useProperty = (name) => {
    const session = useSession();
    const get = () => session[name];
    return React.useSyncExternalStore(listens(session, name), get, get);
  };

  return {
    usePending: () => useProperty("pending"),
    useSelf: () => useProperty("self"),
    useMyMeta: () => [useProperty("meta"), useSession().setMeta],

    useStatus({ smooth } = {}) {
      const status = useProperty("status");
      const [shown, show] = React.useState(status);
      const isBrief = smooth && shown === "live" && !/d$|live/.test(status);
      React.useEffect(() => {
        if (!isBrief) return show(status);
        const timer = setTimeout(show, SMOOTH, status);
        return () => clearTimeout(timer);
      }, [isBrief || status]);
      return isBrief ? shown : status;
    },

    useOthers(selector, equal) {
      const session = useSession();
      const store = once(session, "others", () => {
        const getState = () =>
          once(session.presence, "others", () => {
            const { [session.participant]: self, ...others } = session.presence;
            return others;
          });
        return { getState, subscribe: listens(session, "presence") };
      });
      return useSelected(store, selector, equal);
    },

    useSessionEvent(type, listener) {
      const session = useSession();
      const latest = React.useRef(listener);
      React.useEffect(() => {
        latest.current = listener;
      });
      React.useEffect(() => session.on(type, (...data) => latest.current(...data)), [session, type]);
    },
  };
};

// Other people's states.
const makeWatchHooks = (React, useSession, useSelected) => {
  // Of whom `session[method](id)` watches, while it is shown.
  function useWatch(method, id, initial, selector, equal) {
    const session = useSession();
    const store = React.useMemo(() => {
      let held;
      return {
        getState: () => held?.getState() ?? initial,
        subscribe(changed) {
          held = session[method](id);
          const off = held.subscribe(changed);
          return () => {
            off();
            held.stop();
          };
        },
      };
    }, [session, id]);
    return useSelected(store, selector, equal);
  }

  return {
    useWatched(id, name, selector = identity, equal) {
      const select = (person) => {
        const state = name ? person.states[name] : person;
        return state && selector(state);
      };
      return useWatch("watch", id, { id, status: "asked", states: {} }, select, equal);
    },

    useParticipants: (selector, equal) =>
      useWatch("participants", "*", { status: "asked", people: {} }, selector, equal),
  };
};

export function createHooks(React, connect) {
  const Context = React.createContext(null);
  const useSessionStoreManager = () => {
    const session = React.useContext(Context);
    if (!session) throw new Error("Hooks need SessionStoreProvider.");
    return session;
  };
  const useSelected = makeSelection(React);
  return {
    SessionStoreProvider: makeProvider(React, Context, connect),
    useSessionStoreManager,
    ...makeStateHooks(React, useSessionStoreManager, useSelected),
    ...makeSessionHooks(React, useSessionStoreManager, useSelected),
    ...makeWatchHooks(React, useSessionStoreManager, useSelected),
  };
}
