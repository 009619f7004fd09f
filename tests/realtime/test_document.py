"""Which rev of a document a tab has, and when it is sent a reset."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sessionstores.exceptions import StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import connection
from sessionstores.realtime.document import Document
from sessionstores.realtime.hub import current_hub
from sessionstores.realtime.serializers import RemoteChange
from sessionstores.state.revisions import History, Rev
from tests.sockets import CODE, Opener, until
from tests.workshop.states import Board


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("redis at 10.0.0.7 does not answer")


def elsewhere(base: str, rev: str) -> RemoteChange:
    """Return what another process tells of a commit to alice's record."""
    return RemoteChange(CODE, "alice", base, rev, Raw(b"[]"), source=None, reset=False)


async def test_a_commit_in_the_place_of_one_that_was_shown_is_a_reset(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    ack = await alice.act(1, "board.note", text="shown")
    # Another commit follows the same one: the server went back to before the first.
    stood = Rev.parse(ack["rev"])
    other = stood._replace(tail="00000000" if stood.tail != "00000000" else "11111111")
    change = elsewhere(ack["base"], str(other))
    # And so many since that the record's ring has let go of that place.
    monkeypatch.setattr(History, "place", lambda *revs: "unknown")
    current_hub().deliver(change)
    frame = await alice.expect("snapshot", doc="me", reset=True)
    assert frame["states"]["board"]
    # Once told, it is over.
    await alice.say(type="sync", doc="me")
    await alice.expect("snapshot", doc="me", reset=False)


@pytest.mark.parametrize("told", [1, 2])
async def test_a_commit_on_another_than_was_shown_is_a_reset(
    told: int, tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    shown = Rev.parse((await alice.act(1, "board.note", text="shown"))["rev"])
    # The server has undone it, and of what came in its place the first was lost.
    other = shown._replace(tail="00000000" if shown.tail != "00000000" else "11111111")
    (connection,) = current_hub().connections.values()
    for _ in range(told):
        base, other = other, other.next()
    if told == 1:
        monkeypatch.setattr(History, "place", lambda *revs: "unknown")
    current_hub().deliver(elsewhere(str(base), str(other)))
    if told == 2:
        # Nobody can tell yet, but what it has is still what it was shown.
        await alice.expect("patch", doc="me", rev=str(other))
        assert connection.names["me"].rev == other
        connection.refresh(connection.names["me"])
        assert connection.names["me"].have == shown
        await alice.expect("snapshot", doc="me", reset=False)
    else:
        await alice.expect("snapshot", doc="me", reset=True)


async def overtaken(base: Rev) -> Rev:
    """Commit to alice's record on top of `base`; its tabs do not hear of it."""
    board = stores.get(Board, CODE, "alice")
    with pytest.MonkeyPatch.context() as deaf:
        deaf.setattr(current_hub(), "deliver", lambda event: None)
        await board.adispatch(Board.note, f"on {base}")
    rev = Rev.parse((await board.asnapshot()).rev)
    assert rev.counter == base.counter + 1
    return rev


async def test_a_patch_that_came_after_a_sync_without_an_answer_may_be_undone(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    shown = Rev.parse(alice.snapshots["me"]["rev"])
    with monkeypatch.context() as outage:
        outage.setattr(connection, "open_document", fails)
        await alice.say(type="sync", doc="me")
        await alice.expect("error", code="store_unavailable")
    current_hub().deliver(elsewhere(str(shown), str(shown.next())))
    await alice.expect("patch", doc="me")
    await overtaken(shown)
    await current_hub().heartbeat.pulse()
    frames = {frame["type"]: frame for frame in [await alice.receive() for _ in "12"]}
    assert frames["snapshot"]["reset"]


async def test_a_patch_that_waited_in_the_tab_for_a_late_one_may_be_undone(
    tab: Opener,
) -> None:
    alice = await tab()
    first = Rev.parse(alice.snapshots["me"]["rev"])
    second = await overtaken(first)
    third = second.next()
    # The tab holds the later one, and shows it once it has the other.
    current_hub().deliver(elsewhere(str(second), str(third)))
    await alice.expect("patch", doc="me")
    current_hub().deliver(elsewhere(str(first), str(second)))
    await alice.expect("patch", doc="me")
    await overtaken(second)
    (connected,) = current_hub().connections.values()
    connected.refresh(connected.names["me"])
    await alice.expect("snapshot", doc="me", reset=True)


async def test_an_ack_that_overtakes_a_snapshot_does_not_make_it_a_reset(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    open_document = connection.open_document
    read, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        record = await open_document(*args, **kwargs)
        read.set()
        await go_on.wait()
        return record

    monkeypatch.setattr(connection, "open_document", slowly)
    await alice.say(type="sync", doc="me")
    await read.wait()
    note = {"state": "board", "action": "note", "args": {"text": "meanwhile"}}
    await alice.say(type="action", id=1, **note)
    (connected,) = current_hub().connections.values()
    shown = connected.names["me"].rev
    await until(lambda: connected.names["me"].rev != shown)
    go_on.set()
    frames = {frame["type"]: frame for frame in [await alice.receive() for _ in "12"]}
    assert not frames["snapshot"]["reset"]
    # The tab shows the later of the two: were that undone, it would have to be told.
    assert str(connected.names["me"].firm) == frames["ack"]["rev"]


async def test_a_commit_that_comes_late_moves_no_tab_back(tab: Opener) -> None:
    alice = await tab()
    first = await alice.act(1, "board.note", text="first")
    second = await alice.act(2, "board.note", text="second")
    (connection,) = current_hub().connections.values()
    current_hub().deliver(elsewhere(first["base"], first["rev"]))
    await alice.expect("patch", doc="me", rev=first["rev"])
    assert str(connection.names["me"].rev) == second["rev"]


REVS = [
    Rev(incarnation, counter, tail)
    for incarnation in ("7f3a", "0b77")
    for counter in range(1, 6)
    for tail in ("0000000a", "0000000b")
]


@given(
    have=st.none() | st.sampled_from(REVS),
    steps=st.lists(
        st.tuples(st.booleans(), st.sampled_from(REVS), st.sampled_from(REVS))
    ),
)
def test_the_short_way_of_a_commit_right_on_top_leads_where_the_long_one_does(
    have: Rev | None, steps: list[tuple[bool, Rev, Rev]]
) -> None:
    key = StoreKey(CODE, "alice")
    short, long = Document("me", key, have), Document("me", key, have)
    for is_snapshot, base, rev in steps:
        if is_snapshot:
            for each in (short, long):
                each.show(rev, reset=each.forked)
                each.forked = False
            continue
        if base == rev:
            continue
        shown = long.shown
        is_fork = long.forks(str(base), rev)
        is_old = bool(shown and shown[0] == rev[0] and shown[1] >= rev[1])
        if not is_fork and not is_old:
            long.reach(str(base), rev)
        if short.continues(base, rev):
            assert not is_fork
            assert not is_old
        elif not short.forks(str(base), rev) and not is_old:
            short.reach(str(base), rev)
        for name in ("rev", "firm", "ahead", "forked", "shown", "have"):
            assert getattr(short, name) == getattr(long, name), name
