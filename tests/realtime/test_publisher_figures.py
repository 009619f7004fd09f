"""Figures that the publisher's thread writes, of the site that the process still is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sessionstores.backends import get_backend, in_use
from sessionstores.manager import stores
from sessionstores.monitoring import history
from sessionstores.realtime import publisher as module
from tests.workshop.states import Board


def publishers() -> int:
    names = [each.name for each in threading.enumerate()]
    return names.count("sessionstores-publisher")


def test_a_thread_that_ends_with_the_settings_asks_nothing_of_the_new_ones(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stores.get(Board, "K7Q2ZD", "alice").dispatch(Board.note, "x")
    assert publishers() == 1
    before = get_backend(blocking=True)
    # It has no backend: making one raises.
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    settings.CACHES = {"default": dummy}
    assert publishers() == 0
    assert in_use(before, blocking=True) is None
    assert not [each for each in caplog.records if each.name == "sessionstores.stats"]


@pytest.mark.parametrize("changes", [False, True])
async def test_figures_are_written_unless_the_settings_have_changed_meanwhile(
    settings: Any, *, changes: bool
) -> None:
    work = module._PublisherThread()
    work.loop.close()
    work.loop = asyncio.get_running_loop()
    backend = get_backend(blocking=False)
    if changes:
        settings.SESSIONSTORES = {"HEARTBEAT": 5}
    work._report(backend)
    assert len(work._writes) == (not changes)
    await asyncio.gather(*work._writes)


async def test_a_sample_that_fails_is_logged_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(history, "sample", fails)
    await history.write_figures(get_backend(blocking=False))
    assert "No sample was taken" in caplog.text
