"""Ids that browsers refuse as keys: nobody gets one, and who has one can be removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sessionstores import InvalidKey, Participant, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Lease
from sessionstores.event_bus import (
    Attendance,
    Disconnection,
    Message,
    ProfileChange,
    Removal,
)
from sessionstores.keys import REFUSED_IDS, StoreKey
from sessionstores.participants.tokens import Claims, make_token
from sessionstores.realtime.protocol import Close
from sessionstores.realtime.serializers import decode, encode
from sessionstores.state.declaration import states_in
from sessionstores.store.records import open_record
from tests.caches import KINDS, cache_on
from tests.sockets import CODE, Socket
from tests.workshop.states import Agenda, Board

IDS = sorted(REFUSED_IDS)


@pytest.fixture(params=KINDS)
def cache(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """A cache of each kind, on which an earlier release has left such records."""
    settings.SESSIONSTORES = {"AUTO_SWEEP": False}
    with cache_on(request.param, request, settings):
        yield


def old_record(id: str, *, connected: bool = False) -> StoreKey:
    """Keep a record as an earlier release did, with an id that is refused now."""
    backend = get_backend(blocking=True)
    key = StoreKey.stored(CODE, id)
    run(open_record(backend, key, states_in("participant")))
    if connected:
        lease = Lease(f"c{id}", key, "gone", "c1", frozenset({id}))
        run(backend.lease([lease]))
    return key


@pytest.mark.parametrize("id", IDS)
def test_nobody_gets_an_id_that_browsers_refuse_as_a_key(id: str) -> None:
    for refused in (
        lambda: stores.get(Board, CODE, id),
        lambda: stores.reset(CODE, id),
        lambda: stores.send(CODE, {}, id),
        lambda: StoreKey(CODE, id),
        lambda: Participant(CODE, id),
        lambda: Participant(CODE, id).token(),
    ):
        with pytest.raises(InvalidKey, match=id):
            refused()
    assert stores.sessions() == []


@pytest.mark.parametrize("id", IDS)
async def test_a_token_of_an_earlier_release_lets_nobody_in_under_such_an_id(
    id: str,
) -> None:
    socket = Socket()
    await socket.open()
    claims = Claims(CODE, id, "participant", time.time())
    await socket.say(type="hello", token=make_token(claims), client="c1")
    await socket.expect("error", code="invalid_token", of="hello")
    assert await socket.closed() == Close.TOKEN
    assert await stores.asessions() == []


@pytest.mark.usefixtures("cache")
def test_old_records_are_counted_shown_and_removed_one_by_one() -> None:
    stores.get(Board, CODE, "alice").snapshot()
    keys = [old_record(id, connected=True) for id in IDS]
    assert stores.participants(CODE) == sorted([*IDS, "alice"])
    assert set(stores.presence(CODE)) == set(IDS)
    stats = stores.stats()
    assert (stats.participants, stats.online, stats.unreadable) == (4, 3, {})
    backend = get_backend(blocking=True)
    assert (
        set(run(backend.heads(keys))) == set(run(backend.standings(keys))) == set(keys)
    )
    for key in keys:
        stores.disconnect(CODE, key.participant)
        stores.revoke(CODE, key.participant)
        assert stores.cleanup_participant(CODE, key.participant)
        assert not stores.cleanup_participant(CODE, key.participant)
    assert stores.participants(CODE) == ["alice"]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("how", ["sweep", "one", "cleanup", "end", "orphans"])
def test_old_records_go_with_all_others(how: str) -> None:
    stores.get(Agenda, CODE).snapshot()
    for id in IDS:
        old_record(id)
    if how == "sweep":
        assert stores.sweep(idle_for=0, dry_run=True).participants == 3
        assert stores.sweep(idle_for=0).participants == 3
    elif how == "one":
        for id in IDS:
            assert stores.sweep(idle_for=0, session=CODE, participant=id).participants
    elif how == "cleanup":
        assert stores.cleanup_session(CODE) == 3
    elif how == "end":
        assert stores.end_session(CODE) == 3
    else:
        assert stores.sweep(idle_for=1_000, orphans=True).participants == 0
        assert stores.participants(CODE) == IDS
        return
    assert stores.participant_count() == 0


@pytest.mark.parametrize("id", IDS)
def test_processes_tell_each_other_of_old_records(id: str) -> None:
    key = StoreKey.stored(CODE, id)
    for event in (
        Removal(key, "idle"),
        Disconnection(key),
        Attendance(key),
        ProfileChange(key),
        Message(key, 1),
    ):
        told = decode(encode(event))
        assert type(told) is type(event)
        assert told.key == key
