"""A line for each session: the same however it is come by."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import record_key
from sessionstores.backends.locmem import LocMemBackend
from sessionstores.backends.types import ACTIVITY_MINUTES, SessionSummary
from sessionstores.exceptions import StateCorrupt
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.monitoring.summaries import read_summaries
from tests.sockets import Socket
from tests.workshop.states import Board

CODE = "K7Q2ZD"


async def test_asked_for_one_by_one_they_say_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("alice", "bob"):
        await stores.get(Board, CODE, name).adispatch(Board.note, "x" * len(name))
    code = await stores.acreate_session(label="Team day", keep=60)
    await stores.alock(code)
    tabs = [await Socket().hello("alice", client=f"c{n}") for n in range(2)]
    backend = get_backend(blocking=False)
    expected = await backend.summaries()

    async def failing(self: LocMemBackend) -> list[SessionSummary]:
        raise StateCorrupt("somebody wrote there")

    monkeypatch.setattr(LocMemBackend, "summaries", failing)
    lines, unreadable = await read_summaries(backend)
    nothing = (0,) * ACTIVITY_MINUTES
    assert lines == [each._replace(activity=nothing) for each in expected]
    assert unreadable == {}
    for tab in tabs:
        await tab.drop()


def test_what_cannot_be_read_is_named_and_others_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for code in (CODE, "ELSE23"):
        stores.get(Board, code, "alice").snapshot()
    working = LocMemBackend.participants

    async def spoilt(self: LocMemBackend, code: str | None = None) -> Any:
        if code in (None, CODE):
            raise StateCorrupt("somebody wrote there")
        return await working(self, code)

    monkeypatch.setattr(LocMemBackend, "summaries", spoilt)
    monkeypatch.setattr(LocMemBackend, "participants", spoilt)
    stats = stores.stats()
    assert stats.unreadable == {CODE: "somebody wrote there"}
    assert [each.code for each in stats.summaries] == ["ELSE23"]
    assert (stats.sessions, stats.participants) == (1, 1)


def test_session_whose_own_record_is_lost_has_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores.get(Board, CODE, "alice").snapshot()
    backend = get_backend(blocking=True)
    assert isinstance(backend, LocMemBackend)
    name = record_key(StoreKey.of_session(CODE))
    assert run(backend.store.delete(name, run(backend.store.read([name]))[name].token))
    (expected,) = run(backend.summaries())

    async def failing(self: LocMemBackend) -> list[SessionSummary]:
        raise StateCorrupt("somebody wrote there")

    monkeypatch.setattr(LocMemBackend, "summaries", failing)
    ((line,), _) = run(read_summaries(backend))
    assert line == expected._replace(activity=(0,) * ACTIVITY_MINUTES)
