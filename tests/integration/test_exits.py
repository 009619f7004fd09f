"""Every way out to a browser but a state's: it carries what is read as it is, or none.

States are held to the same rules where they are stored; see the tests of the codec.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sessionstores import (
    ActionRejected,
    InvalidArguments,
    State,
    StateCorrupt,
    action,
    stores,
)
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.realtime.hub import current_hub
from sessionstores.state.declaration import registry
from sessionstores.state.json_rules import encode_portable
from tests.sockets import CODE, Socket, token
from tests.state.test_json_rules import is_exact, plain, texts, values
from tests.workshop.states import Agenda, Board

examples = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
bad = st.sampled_from(
    [
        *(2**53, -(2**60), float("nan"), float("inf"), object()),
        *("\ud800", {"\udfff": 1}, [[[["\udbff"]]]]),
        *({"constructor": 1}, {1: 1, "1": 2}),
    ]
)


@asynccontextmanager
async def tabs(*participants: str) -> AsyncIterator[list[Socket]]:
    """Open a tab of each of them; all else is new."""
    await get_backend(blocking=False).clear()
    opened = [await Socket().hello(each) for each in participants]
    try:
        yield opened
    finally:
        for socket in opened:
            await socket.drop()
        assert not current_hub().connections


def is_portable(value: Any) -> bool:
    """Whether the one validator lets a value out."""
    try:
        return bool(encode_portable(value, "value"))
    except InvalidArguments:
        return False


async def received(socket: Socket, kind: str) -> dict[str, Any]:
    """Return the next frame, which is of a type and exactly what browsers read."""
    frame = await socket.expect(kind)
    assert is_exact(msgspec.json.encode(frame))
    return frame


@given(values | bad)
@examples
async def test_a_message_arrives_as_it_is_or_is_refused_and_sent_to_nobody(
    data: Any,
) -> None:
    async with tabs("alice") as (alice,):
        if is_portable([data]):
            await stores.asend(CODE, {"sent": data})
            frame = await received(alice, "message")
            assert frame["data"] == {"sent": plain(data)}
        else:
            with pytest.raises(InvalidArguments, match=r"^data\.sent.*: "):
                await stores.asend(CODE, {"sent": data})
        await stores.asend(CODE, "next", "alice")
        assert (await received(alice, "message"))["data"] == "next"


@given(texts | values)
@example("\ud800")
@example("a\udfff")
@example(None)
@example(1)
@example("Team day 😀")
def test_a_label_is_kept_as_it_is_or_refused_and_nothing_is_created(label: Any) -> None:
    backend = get_backend(blocking=True)
    run(backend.clear())
    if not (isinstance(label, str) and is_portable(label)):
        with pytest.raises(InvalidArguments, match=r"^label: "):
            stores.create_session(label=label)
        assert stores.sessions() == []
        return
    info = run(backend.session(stores.create_session(label=label)))
    assert info is not None
    assert info.label == label.encode().decode()


@given(values | bad, values | bad)
@examples
@example(None, [])
@example(None, {"a": 1})
async def test_a_result_arrives_as_it_is_or_as_null_and_the_action_counts(
    value: Any, code: Any
) -> None:
    with registry.isolated(Agenda):

        class Oracle(State):
            asked: int = 0

            @action
            def ask(self) -> object:
                self.asked += 1
                return value

            @action
            def refuse(self) -> object:
                raise ActionRejected(value, code=code)

        async with tabs("alice", "alice") as (alice, other):
            await alice.say(type="action", id=1, state="oracle", action="ask")
            ack = await received(alice, "ack")
            assert ack["ops"][0]["value"] == 1
            await received(other, "patch")
            assert ack["result"] == (plain(value) if is_portable(value) else None)
            # A refusal may say anything: the tab gets it, and lives.
            await alice.say(type="action", id=2, state="oracle", action="refuse")
            reject = await received(alice, "reject")
            assert reject["id"] == 2
            assert isinstance(reject["code"], str)
            assert isinstance(reject["message"], str)
            # The next commit carries the code, for a resend.
            await alice.say(type="action", id=3, state="oracle", action="ask")
            assert (await received(alice, "ack"))["ops"][0]["value"] == 2
            await received(other, "patch")
            client = alice.welcome["client"]
            await alice.say(
                type="action", id=2, state="oracle", action="refuse", client=client
            )
            again = await received(alice, "reject")
            assert (again["id"], again["code"]) == (2, reject["code"])


json_metas = st.dictionaries(
    texts | st.sampled_from(["__proto__", "constructor"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from([2**53, 2**53 - 1, -(2**60)])
        | st.floats()
        | texts,
        lambda inner: st.lists(inner, max_size=3),
    ),
    max_size=4,
)


@given(json_metas)
@example({"__proto__": 1})
@example({"name": "\ud800"})
@example({"since": 2**60})
@example({"x": float("nan")})
@example({"name": "y" * 2_000})
@examples
async def test_what_a_tab_shows_of_itself_arrives_as_it_is_or_is_refused_as_that(
    meta: dict[str, Any],
) -> None:
    # Two halves that meet in JSON are a character.
    meta = json.loads(json.dumps(meta))
    async with tabs("alice", "bob") as (alice, bob):
        await alice.say(type="meta", data=meta)
        await alice.say(type="sync", doc="me", rev=alice.snapshots["me"]["rev"])
        frame = await alice.receive()
        if frame["type"] == "error":
            assert (frame["code"], frame["of"]) == ("bad_meta", "meta")
            assert frame["message"]
            await alice.expect("snapshot", doc="me")
            meta = {}
        (connection,) = [
            each
            for each in current_hub().connections.values()
            if each.key.participant == "alice"
        ]
        assert json.loads(connection.meta or b"{}") == meta
        assert is_exact(connection.meta or b"{}")
        assert bob.present.get("alice", [{}]) in ([{}], [meta])


@pytest.mark.parametrize("meta", [{"__proto__": 1}, {"big": "x" * 2_000}])
async def test_a_hello_whose_meta_is_refused_lets_the_tab_in_all_the_same(
    meta: dict[str, Any],
) -> None:
    socket = Socket()
    await socket.open()
    await socket.say(type="hello", token=token(), client="c1", meta=meta)
    await socket.expect("error", code="bad_meta", of="meta")
    await socket.expect("welcome")
    await socket.drop()


@given(texts)
@example("\ud800")
def test_a_state_with_a_broken_text_is_not_stored(text: str) -> None:
    run(get_backend(blocking=True).clear())
    board = stores.get(Board, CODE, "alice")
    before = board.snapshot()
    if is_portable(text):
        board.dispatch(lambda board: board.note(text))
        assert is_exact(msgspec.json.encode(board.state))
        return
    with pytest.raises(StateCorrupt, match=r"board\.notes: a lone surrogate"):
        board.dispatch(lambda board: board.note(text))
    assert board.snapshot() == before
