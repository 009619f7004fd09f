"""What a server refuses is not stored, and nobody is told that it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import OutcomeUnknown, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.store.store import Store
from tests.backends.test_memcached import Flagged
from tests.caches import cache_on
from tests.servers import Server, Valkey
from tests.sockets import Socket

from .proxy import Proxy
from .refusals import PAGE, REFUSALS, hang_up, stored
from .writers import Roll

ledgers = pytest.mark.usefixtures("ledgers")

Dispatch = Callable[..., Any]

flavours = pytest.mark.parametrize("flavour", ["sync", "async"])


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A Valkey that a test may break."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def memcached() -> Iterator[Flagged]:
    """A memcached that evicts nothing, and is soon full."""
    server = Flagged("-M", "-m", "2")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(
    kind: str, request: pytest.FixtureRequest, settings: Any
) -> Iterator[Server | None]:
    """The server of that kind, on which the records are."""
    with cache_on(kind, request, settings):
        yield None if kind == "sqlite" else request.getfixturevalue(kind)


@pytest.fixture
def dispatch(flavour: str) -> Iterator[Dispatch]:
    """Dispatch in one flavour, with one loop for all calls."""
    with asyncio.Runner() as runner:

        def of_a_store(store: Store[Any], *action: Any) -> Any:
            if flavour == "sync":
                return store.dispatch(*action)
            return runner.run(store.adispatch(*action))

        yield of_a_store


@contextmanager
def run_in(
    thread: ThreadPoolExecutor | None, what: AbstractContextManager[None]
) -> Iterator[None]:
    """Enter and leave a context in a thread; without one, in this."""
    if thread is None:
        with what:
            yield
        return
    thread.submit(what.__enter__).result()
    try:
        yield
    finally:
        thread.submit(what.__exit__, None, None, None).result()


def record_key(key: StoreKey) -> str:
    return f"ss:{{{key.session}}}:p:{key.participant}"


@ledgers
@flavours
@pytest.mark.parametrize(("kind", "what"), list(REFUSALS))
def test_what_is_refused_is_not_stored_and_said_to_be_so(
    kind: str, what: str, server: Any, flavour: str, dispatch: Dispatch, code: str
) -> None:
    store = stores.get(Roll, code, "alice")
    dispatch(store, lambda roll: roll.numbers.append(1))
    before = stored(kind, server, record_key(store.key))
    assert before
    with ExitStack() as refusal:
        # What blocks may not be called in a thread with an event loop.
        aside = (
            refusal.enter_context(ThreadPoolExecutor(1)) if flavour == "async" else None
        )

        def enter(roll: Roll) -> None:
            roll.numbers.extend(range(1_000, 1_000 + len(PAGE) // 5))
            refusal.enter_context(run_in(aside, REFUSALS[kind, what](server)))

        with pytest.raises(StoreUnavailable) as caught:
            dispatch(store, enter)
        assert not isinstance(caught.value, OutcomeUnknown)
        assert "may or may not" not in str(caught.value)
    assert stored(kind, server, record_key(store.key)) == before
    dispatch(store, lambda roll: roll.numbers.append(2))
    assert store.state.numbers == [1, 2]


@ledgers
@flavours
@pytest.mark.parametrize("kind", ["valkey", "memcached", "postgres"])
def test_what_was_sent_and_not_answered_is_unknown(
    kind: str,
    flavour: str,
    dispatch: Dispatch,
    code: str,
    request: pytest.FixtureRequest,
    settings: Any,
) -> None:
    real = request.getfixturevalue(kind)
    with Proxy(real.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "port", proxy.port)
        with cache_on(kind, request, settings):
            patch.undo()
            store = stores.get(Roll, code, "alice")
            dispatch(store, lambda roll: roll.numbers.append(1))

            def enter(roll: Roll) -> None:
                roll.numbers.append(2)
                proxy.cut(replies=9)

            with pytest.raises(OutcomeUnknown, match="may or may not"):
                dispatch(store, enter)
            proxy.cut()
            # As nobody could know.
            assert store.state.numbers == [1, 2]
            if kind == "postgres":
                hang_up()


@ledgers
@flavours
@pytest.mark.parametrize("kind", ["valkey", "memcached"])
def test_what_could_not_be_sent_is_not_stored_and_said_to_be_so(
    kind: str, server: Any, flavour: str, code: str
) -> None:
    backend = get_backend(blocking=flavour == "sync")
    key = StoreKey(code, "alice")
    with asyncio.Runner() as runner:
        drive = run if flavour == "sync" else runner.run
        record = drive(backend.open(key, {"roll": b"1:{}"})).record
        server.kill()
        change = {"roll": b'1:{"numbers":[1]}'}
        # The first may have been under way.
        with pytest.raises(StoreUnavailable):
            drive(backend.commit(record, record.rev.next(), change))
        with pytest.raises(StoreUnavailable, match="Nothing was") as caught:
            drive(backend.commit(record, record.rev.next(), change))
    assert caught.value.refused


@ledgers
@flavours
@pytest.mark.parametrize("kind", ["valkey"])
def test_a_commit_that_was_refused_a_command_after_its_first_write_is_in_once(
    server: Valkey, flavour: str, dispatch: Dispatch, code: str
) -> None:
    store = stores.get(Roll, code, "alice")
    dispatch(store, lambda roll: roll.numbers.append(1))
    with server.client() as client:
        client.execute_command("ACL SETUSER default -pexpire")
        # Sent once more, it finds itself.
        dispatch(store, lambda roll: roll.numbers.append(2))
        client.execute_command("ACL SETUSER default +@all")
    assert store.state.numbers == [1, 2]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("valkey", "OOM"),
        ("valkey", "NOPERM in a script"),
        ("memcached", "out of memory"),
        ("sqlite", "locked"),
        ("postgres", "read-only"),
    ],
)
async def test_a_tab_is_told_what_was_refused(
    kind: str, what: str, server: Any
) -> None:
    tab = await Socket().hello()
    assert (await tab.act(1, "board.note", text="one"))["type"] == "ack"
    refusal = REFUSALS[kind, what](server)
    await asyncio.to_thread(refusal.__enter__)
    try:
        for number in range(2, 12):
            text = "x" * (len(PAGE) + number)
            answer = await tab.act(number, "board.note", text=text)
            # On a busy machine, a lock may be refused after the deadline.
            if answer.get("code", "outcome_unknown") != "outcome_unknown":
                break
            if kind == "postgres":
                # A heartbeat held a connection from before.
                await asyncio.to_thread(hang_up)
    finally:
        await asyncio.to_thread(refusal.__exit__, None, None, None)
    assert (answer["type"], answer["code"]) == ("reject", "store_unavailable")
    assert (await tab.act(12, "board.note", text="three"))["type"] == "ack"
    await tab.drop()


async def test_a_tab_is_told_what_is_unknown(
    valkey: Valkey, request: pytest.FixtureRequest, settings: Any
) -> None:
    with Proxy(valkey.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(valkey, "port", proxy.port)
        with cache_on("valkey", request, settings):
            tab = await Socket().hello()
            assert (await tab.act(1, "board.note", text="one"))["type"] == "ack"
            for number in range(2, 40, 2):
                # Whoever else asks something meanwhile.
                proxy.cut(replies=99)
                answer = await tab.act(number, "board.note", text=f"{number}")
                proxy.cut()
                assert answer["type"] == "reject"
                # Of a heartbeat before it, the connection is lost already: it is not
                # sent, and told so.
                if answer["code"] == "outcome_unknown":
                    break
                again = await tab.act(number + 1, "board.note", text=f"{number + 1}")
                assert again["type"] == "ack"
            assert answer["code"] == "outcome_unknown"
            assert (await tab.act(99, "board.note", text="the end"))["type"] == "ack"
            await tab.drop()
