// Hooks, in both Reacts, each under StrictMode.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { ack, CONFIG, patch, rev, snapshot, turn } from "./page.js";
import { BOARD, REACTS, ReactPage } from "./react_page.js";

for (const version of Object.keys(REACTS)) {
  describe(`React ${version}`, () => {
    let page;
    let h;
    let hooks;
    beforeEach(() => {
      page = new ReactPage(version);
      h = page.React.createElement;
      hooks = page.hooks;
    });
    afterEach(async () => {
      await page.unmount();
      page.leave();
    });

    test("a state suspends until it is here, and is then never undefined", async () => {
      const seen = [];
      await page.render(() => {
        const board = hooks.useSessionStore("board");
        seen.push(board.deck.length);
        return h("p", null, board.deck.join());
      });
      assert.equal(page.text, "Wait.");
      await page.live();
      assert.equal(page.text, "ace,two");
      assert.ok(seen.every((length) => length === 2));
      assert.deepEqual(page.errors, []);
    });

    test("what the page brought along is there at once, and one socket is opened", async () => {
      const docs = { me: { rev: rev(9), states: { board: BOARD } } };
      const Board = () => h("p", null, hooks.useSessionStore("board", ({ deck }) => deck.length));
      await page.render(Board, { source: { ...CONFIG, docs } });
      assert.equal(page.text, "2");
      assert.equal(page.open.length, 1);
    });

    test("a component renders again only when what it selects has changed", async () => {
      let renders = 0;
      const Deck = () => {
        renders += 1;
        return h("p", null, hooks.useSessionStore("board", ({ deck }) => deck).join());
      };
      await page.render(Deck, { strict: false });
      await page.live();
      const before = renders;
      const op = { op: "add", path: "/board/piles/keep/-", value: "king" };
      await page.says(patch(10, 11, { ops: [op] }));
      assert.equal(renders, before);
      await page.says(patch(11, 12, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
      assert.equal(page.text, "two");
      assert.equal(renders, before + 1);
    });

    test("a selector that makes new objects is compared as it is asked to be", async () => {
      let renders = 0;
      const shallow = (a, b) => a.length === b.length && a.every((each, at) => each === b[at]);
      const Piles = () => {
        renders += 1;
        const select = ({ piles }) => Object.keys(piles);
        return h("p", null, hooks.useSessionStore("board", select, shallow).join());
      };
      await page.render(Piles, { strict: false });
      await page.live();
      const before = renders;
      await page.says(patch(10, 11, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
      assert.equal(renders, before);
      assert.deepEqual(page.errors, []);
    });

    test("an action is pending until it is answered, and says why it was refused", async () => {
      const Move = () => {
        const [move, { pending, error, reset }] = hooks.useAction("board", "move");
        hooks.useSessionStore("board");
        const say = pending ? "…" : (error?.message ?? "ready");
        return [
          h("button", { key: "a", id: "go", onClick: () => move({ card: "ace" }) }, say),
          h("button", { key: "b", id: "reset", onClick: reset }),
        ];
      };
      await page.render(Move);
      await page.live();
      const click = (id) => page.act(async () => page.find(id).click());
      await click("#go");
      await page.act(turn);
      assert.equal(page.text, "…");
      assert.deepEqual(page.socket.of("action").map(({ args }) => args), [{ card: "ace" }]);
      // Of the site, though it is a code of the client, too.
      await page.says({ type: "reject", id: 1, code: "closed", message: "Vergeben." });
      assert.equal(page.text, "Vergeben.");
      await click("#reset");
      assert.equal(page.text, "ready");
      await click("#go");
      await page.act(turn);
      await page.says(ack(2, 10, 11, { ops: [] }));
      await page.act(turn);
      assert.equal(page.text, "ready");
      assert.deepEqual(page.errors, []);
    });

    test("an action may be a handler: the event is no argument of it", async () => {
      const Next = () => {
        const [advance] = hooks.useAction("board", "clear");
        hooks.useSessionStore("board");
        return h("button", { onClick: advance });
      };
      await page.render(Next);
      await page.live();
      await page.act(async () => page.find("button").click());
      await page.act(turn);
      assert.deepEqual(page.socket.of("action")[0].args, {});
    });

    test("functions that hooks return keep their identity", async () => {
      const seen = new Set();
      const Some = () => {
        const [run, { reset }] = hooks.useAction("board", "clear");
        const [, update] = hooks.useMyMeta();
        const { deck } = hooks.useSessionStore("board");
        for (const each of [run, reset, update]) seen.add(each);
        return deck.length;
      };
      await page.render(Some, { strict: false });
      await page.live();
      seen.clear();
      await page.says(patch(10, 11, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
      await page.says(patch(11, 12, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
      assert.equal(page.text, "0");
      assert.equal(seen.size, 3);
    });

    test("the status is told, and a short loss is not if that is asked for", async () => {
      const Status = () => `${hooks.useStatus()} ${hooks.useStatus({ smooth: true })}`;
      await page.render(Status);
      assert.equal(page.text, "connecting connecting");
      await page.live();
      assert.equal(page.text, "live live");
      await page.act(async () => page.socket.breaks());
      assert.equal(page.text, "reconnecting live");
      await page.tick(500);
      await page.live();
      assert.equal(page.text, "live live");
      await page.act(async () => page.socket.breaks());
      await page.tick(1000);
      assert.equal(page.text, "reconnecting reconnecting");
      await page.live();
      await page.says({ type: "end", reason: "ended", retry: false });
      assert.equal(page.text, "ended ended");
    });

    test("pending, oneself, others, and what one shows of oneself", async () => {
      const Room = () => {
        const [meta, update] = hooks.useMyMeta();
        const others = hooks.useOthers();
        const names = Object.values(others).map(({ name }) => name);
        const count = hooks.useOthers((each) => Object.keys(each).length);
        const typing = () => update({ typing: true });
        const words = [hooks.usePending(), hooks.useSelf().name, names.join(), count];
        return h("button", { onClick: typing }, [...words, meta.typing ? "typing" : ""].join(" "));
      };
      await page.render(Room);
      assert.equal(page.text, "0   0 ");
      await page.live();
      const people = {
        alice: { name: "Alice", role: "participant" },
        bob: { name: "Bob", role: "participant" },
      };
      await page.says(
        { type: "presence", joined: { alice: [{}], bob: [{}] }, left: [], people },
        { type: "self", name: "Alice", role: "participant" },
      );
      assert.equal(page.text, "0 Alice Bob 1 ");
      await page.act(async () => page.find("button").click());
      assert.equal(page.text, "0 Alice Bob 1 typing");
      assert.deepEqual(page.socket.of("meta").at(-1).data, { typing: true });
      assert.deepEqual(page.errors, []);
    });

    test("who listens to an event has their newest listener called, and once", async () => {
      const heard = [];
      const Listener = () => {
        const [count, setCount] = page.React.useState(0);
        hooks.useSessionEvent("message", (data) => {
          heard.push([count, data]);
          setCount(count + 1);
        });
        return count;
      };
      await page.render(Listener);
      await page.live();
      for (const data of ["a", "b"]) await page.says({ type: "message", data });
      assert.deepEqual(heard, [[0, "a"], [1, "b"]]);
    });

    test("who is watched is asked for while it is shown, and no longer", async () => {
      const Bob = () => hooks.useWatched("bob", "board", ({ deck }) => deck.join()) ?? "nothing";
      const Everybody = () => {
        const { status, people } = hooks.useParticipants();
        return `${status} ${Object.keys(people).join()}`;
      };
      const Both = () => [h(Bob, { key: "b" }), " ", h(Everybody, { key: "e" })];
      await page.render(Both);
      assert.equal(page.text, "nothing asked ");
      await page.live();
      const asked = () => page.socket.of("watch").map(({ participant }) => participant);
      assert.deepEqual(asked().sort(), ["*", "bob"]);
      const bob = { bob: { name: "Bob", role: "participant" } };
      await page.says(
        { type: "watching", participant: "bob", states: ["board"], people: {} },
        { type: "watching", participant: "*", states: ["board"], people: bob },
        snapshot(3, { board: BOARD }, { doc: "p:bob" }),
      );
      assert.equal(page.text, "ace,two watching bob");
      await page.render(() => "nobody");
      const ended = page.socket.of("unwatch").map(({ participant }) => participant);
      assert.deepEqual(ended.sort(), ["*", "bob"]);
      assert.deepEqual(page.errors, []);
    });

    test("a hook of a state has its actions as functions, as a Zustand store had", async () => {
      const useStep1 = hooks.createStoreHook("board", { move: (card, pile) => ({ card, pile }) });
      const moves = new Set();
      const Step1 = () => {
        const move = useStep1((step) => step.move);
        const { deck } = useStep1();
        moves.add(move);
        return h("button", { onClick: () => move("ace", "keep") }, deck.join());
      };
      await page.render(Step1);
      await page.live();
      await page.act(async () => page.find("button").click());
      await page.act(turn);
      assert.deepEqual(page.socket.of("action")[0].args, { card: "ace", pile: "keep" });
      await page.says(patch(10, 11, { ops: [{ op: "remove", path: "/board/deck/0" }] }));
      assert.equal(page.text, "two");
      assert.equal(moves.size, 1);
    });

    test("typing into a controlled input keeps every letter, whatever the network does", async () => {
      const predict = { board: { write: (board, { text }) => ({ ...board, text }) } };
      const Notes = () => {
        const text = hooks.useSessionStore("board", (board) => board.text);
        const session = hooks.useSessionStoreManager();
        const write = ({ target }) =>
          session.store("board").dispatch("write", { text: target.value }, { replace: "text" });
        return h("input", { value: text, onChange: write });
      };
      await page.render(Notes, { options: { predict } });
      await page.live({ board: { ...BOARD, text: "" } });
      const input = page.find("input");
      const { set } = Object.getOwnPropertyDescriptor(window.HTMLInputElement.prototype, "value");
      let typed = "";
      for (const letter of "hello world") {
        typed += letter;
        await page.act(async () => {
          set.call(input, input.value + letter);
          input.dispatchEvent(new window.Event("input", { bubbles: true }));
        });
        assert.equal(input.value, typed);
      }
    });

    test("a provider that goes for a moment keeps its connection; one that stays away closes it", async () => {
      const Status = () => hooks.useStatus();
      await page.render(Status);
      await page.live();
      assert.equal(page.open.length, 1);
      await page.render(undefined);
      await page.tick(999);
      assert.equal(page.open.length, 1);
      await page.tick(1);
      assert.equal(page.open.length, 0);
      // Without a word to anybody: the tab is not gone.
      assert.deepEqual(page.socket.of("bye"), []);
    });

    test("a provider of another session closes the one before", async () => {
      const Code = () => hooks.useSessionStoreManager().code;
      await page.render(Code);
      assert.equal(page.text, "K7Q2ZD");
      await page.render(Code, { source: { ...CONFIG, session: "ELSE23" } });
      assert.equal(page.text, "ELSE23");
      await page.tick(1000);
      assert.equal(page.open.length, 1);
      // The same one, written anew, is the same.
      const { socket } = page;
      await page.render(Code, { source: { ...CONFIG, session: "ELSE23" } });
      await page.tick(5000);
      assert.equal(page.socket.url, socket.url);
      assert.deepEqual(page.errors, []);
    });

    test("another participant's provider begins all below it anew", async () => {
      const Move = () => {
        const [draft, setDraft] = page.React.useState("");
        const [move, { pending, error }] = hooks.useAction("board", "move");
        const { participant } = hooks.useSessionStoreManager();
        const click = () => {
          setDraft("a draft");
          move({ card: "ace" });
        };
        const words = [participant, draft, pending && "…", error?.code];
        return h("button", { onClick: click }, words.filter(Boolean).join());
      };
      await page.render(Move);
      await page.live();
      await page.act(async () => page.find("button").click());
      assert.equal(page.text, "alice,a draft,…");
      await page.render(Move, { source: { ...CONFIG, participant: "bob" } });
      assert.equal(page.text, "bob");
      await page.tick(1000);
      assert.equal(page.text, "bob");
    });

    test("a provider that comes back shows what it last had, not what the page brought along", async () => {
      const docs = { me: { rev: rev(9), states: { board: BOARD } } };
      const source = document.createElement("script");
      source.textContent = JSON.stringify({ ...CONFIG, docs });
      const seen = [];
      const Board = () => {
        const deck = hooks.useSessionStore("board").deck.join();
        seen.push(deck);
        return deck;
      };
      for (const away of [500, 5000]) {
        await page.render(Board, { source });
        await page.live({ board: { ...BOARD, deck: ["two"] } });
        seen.length = 0;
        await page.render(undefined);
        await page.tick(away);
        await page.render(Board, { source });
        assert.deepEqual([...new Set(seen)], ["two"]);
        await page.render(undefined);
        await page.tick(5000);
      }
    });

    test("a session that is given is the giver's to close", async () => {
      const { connect } = await import("../../sessionstores/static/sessionstores/client.js");
      const session = connect(CONFIG, page.options);
      const Code = () => hooks.useSessionStoreManager().code;
      await page.render(Code, { source: undefined, session });
      assert.equal(page.text, "K7Q2ZD");
      await page.unmount();
      await page.tick(5000);
      assert.equal(session.status, "connecting");
      session.close();
    });

    if (version === "19") {
      test("an action that a hidden page leaves to its next connection was not refused", async () => {
        const { Activity } = page.React;
        const Move = () => {
          const [move, { pending, error }] = hooks.useAction("board", "move");
          const say = pending ? "…" : (error?.code ?? "ready");
          return h("button", { onClick: () => move({ card: "ace" }) }, say);
        };
        const show = async (mode) => {
          const tree = h(Activity, { mode }, page.provide(h(Move), { strict: false }));
          page.root ??= page.createRoot(page.container);
          await page.act(async () => page.root.render(tree));
        };
        await show("visible");
        await page.live();
        await page.act(async () => page.find("button").click());
        await page.act(turn);
        assert.equal(page.text, "…");
        const { id, args } = page.socket.of("action")[0];
        await show("hidden");
        await page.tick(1000);
        await show("visible");
        await page.live();
        await page.act(turn);
        assert.equal(page.text, "ready");
        const [again] = page.socket.of("action");
        assert.deepEqual([again.id, again.args], [id, args]);
      });

      test("Zustand's own useStore and useShallow work on a store as it is", async () => {
        const { useStore } = await import("zustand");
        const { useShallow } = await import("zustand/react/shallow");
        let renders = 0;
        const Piles = () => {
          renders += 1;
          const store = hooks.useSessionStoreManager().store("board");
          const names = useStore(store, useShallow((board) => Object.keys(board?.piles ?? {})));
          return `${names.join()} ${useStore(store, (board) => board?.deck.length)}`;
        };
        await page.render(Piles, { strict: false });
        await page.live();
        assert.equal(page.text, "keep,drop 2");
        const before = renders;
        const op = { op: "add", path: "/board/piles/keep/-", value: "king" };
        await page.says(patch(10, 11, { ops: [op] }));
        assert.equal(renders, before);
        assert.deepEqual(page.errors, []);
      });
    }

    test("without a provider, it says so", async () => {
      const Lost = () => hooks.useSelf().name;
      page.root = page.createRoot(page.container, { onUncaughtError() {}, onRecoverableError() {} });
      const render = async () => page.act(async () => page.root.render(h(Lost)));
      await assert.rejects(render, /need SessionStoreProvider/);
    });

    test("a session that ends before its state is here goes to the error boundary", async () => {
      class Boundary extends page.React.Component {
        state = {};
        static getDerivedStateFromError = (error) => ({ error });
        render() {
          return this.state.error ? this.state.error.message : this.props.children;
        }
      }
      const Board = () => hooks.useSessionStore("board").deck.join();
      await page.render(() => h(Boundary, null, h(Board)));
      await page.act(async () => {
        page.socket.open();
        page.socket.says({ type: "end", reason: "ended", retry: false });
      });
      assert.equal(page.text, "Vorbei.");
    });

    test("a server renders what the page brings along, and the browser takes it up", async () => {
      const docs = { me: { rev: rev(9), states: { board: BOARD } } };
      const source = { ...CONFIG, docs };
      const Board = () => {
        const [{ typing = false }] = hooks.useMyMeta();
        const words = [hooks.useStatus(), hooks.usePending(), typing, hooks.useSelf().id];
        return h("p", null, `${hooks.useSessionStore("board").deck.join()} ${words.join()}`);
      };
      const tree = () => page.provide(h(Board), { source });
      const real = globalThis.document;
      globalThis.document = undefined;
      const html = page.renderToString(tree());
      globalThis.document = real;
      assert.match(html, /ace,two connecting,0,false,alice/);
      assert.equal(page.open.length, 0);
      page.container.innerHTML = html;
      await page.act(async () => {
        page.root = page.hydrateRoot(page.container, tree());
      });
      assert.match(page.text, /ace,two/);
      assert.deepEqual(page.errors, []);
      assert.equal(page.open.length, 1);
    });
  });
}
