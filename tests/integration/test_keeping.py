"""A kept session keeps those who took part, by their tabs, views and server code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sessionstores import Participant, stores
from sessionstores.backends import get_backend
from sessionstores.realtime.hub import current_hub
from tests.faults.sites import on_redis
from tests.servers import Valkey
from tests.sockets import CODE, Opener, opening_tabs, until
from tests.workshop.states import Agenda, Board

DAY = 86_400.0


@pytest.fixture(autouse=True, params=["locmem", "valkey"])
def cache(request: pytest.FixtureRequest, settings: Any) -> None:
    """The caches on which it is tried."""
    if request.param == "valkey":
        valkey: Valkey = request.getfixturevalue("valkey")
        settings.CACHES = on_redis(valkey.port, valkey.number)["CACHES"]


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab


async def kept() -> list[str]:
    """Return the participants whom their session keeps."""
    found = await get_backend(blocking=False).participants(CODE)
    return [info.id for info in found if info.kept_until]


@pytest.mark.parametrize("beats", [True, False], ids=["beat", "closed at once"])
async def test_who_only_votes_is_kept_and_who_only_looks_is_not(
    tab: Opener, beats: bool
) -> None:
    alice, bob, carol = [await tab(id) for id in ("alice", "bob", "carol")]
    await stores.aextend(CODE, DAY)
    assert await kept() == []
    answer = await bob.act(1, "board.note", text="mine")
    assert answer["type"] == "ack", answer
    assert await kept() == ["bob"]
    answer = await alice.act(1, "agenda.vote", card=3)
    assert answer["type"] == "ack", answer
    if beats:
        await current_hub().heartbeat.pulse()
        assert await kept() == ["alice", "bob"]
    for socket in (alice, bob, carol):
        await socket.drop()
    await until(lambda: not current_hub().connections)
    assert await kept() == ["alice", "bob"]
    assert await stores.aparticipants(CODE) == ["alice", "bob", "carol"]


async def test_who_votes_without_a_tab_is_kept() -> None:
    await get_backend(blocking=False).create_session(CODE, label="", keep=DAY)
    agenda = stores.get(Agenda, CODE)
    for id in ("alice", "bob"):
        await stores.get(Board, CODE, id).asnapshot()
    await agenda.adispatch(Agenda.vote, 3, by=Participant(CODE, "alice"))
    # Nobody who is not there comes into being by it.
    await agenda.adispatch(Agenda.vote, 3, by=Participant(CODE, "nobody"))
    assert await kept() == ["alice"]


def test_a_break_wipes_no_board_and_sweeps_those_who_looked_in() -> None:
    code = stores.create_session(keep=DAY)
    stores.get(Board, code, "alice").dispatch(Board.note, "mine")
    stores.get(Board, code, "bob").snapshot()
    open_one = stores.create_session(keep=DAY, keep_participants=False)
    stores.get(Board, open_one, "alice").dispatch(Board.note, "mine")
    preview = stores.sweep(idle_for=0, dry_run=True)
    swept = stores.sweep(idle_for=0)
    assert (preview.participants, swept.participants) == (2, 2)
    assert (preview.bytes, swept.bytes) == (swept.bytes, preview.bytes)
    assert stores.participants(code) == ["alice"]
    assert stores.participants(open_one) == []
    assert set(stores.sessions()) == {code, open_one}
    peeked = stores.get(Board, code, "alice").peek()
    assert peeked is not None
    assert peeked.state.notes == "mine"
