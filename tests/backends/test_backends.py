"""The backend that the settings choose."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from sessionstores.backends import get_backend, problem
from sessionstores.backends.locmem import LocMemBackend


def test_a_backend_is_made_once_for_each_flavour(settings: Settings) -> None:
    blocking = get_backend(blocking=True)
    assert get_backend(blocking=True) is blocking
    assert isinstance(blocking, LocMemBackend)
    assert blocking.blocking
    assert not get_backend(blocking=False).blocking
    assert get_backend(blocking=False).clock is blocking.clock
    assert (blocking.in_memory, blocking.shared) == (True, False)
    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 10}
    assert get_backend(blocking=True) is not blocking


def test_threads_that_come_first_together_get_one_backend(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    init, together = LocMemBackend.__init__, threading.Barrier(4)

    def slow(self: LocMemBackend, *args: Any, **kwargs: Any) -> None:
        # Whoever is here when others are late to ask would make one of their own.
        time.sleep(0.01)
        init(self, *args, **kwargs)

    def ask(number: int) -> object:
        together.wait()
        return get_backend(blocking=True)

    settings.SESSIONSTORES = {"IDLE_TIMEOUT": 11}
    monkeypatch.setattr(LocMemBackend, "__init__", slow)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1


class OwnCache(LocMemCache):
    pass


class OddCache:
    pass


@pytest.mark.parametrize(
    "backend",
    ["django.core.cache.backends.locmem.LocMemCache", f"{__name__}.OwnCache", OwnCache],
)
def test_locmem_and_what_derives_from_it_can_be_used(
    settings: Settings, backend: object
) -> None:
    settings.CACHES = {"default": {"BACKEND": backend}}
    assert problem("default") is None
    assert isinstance(get_backend(blocking=True), LocMemBackend)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("django.core.cache.backends.dummy.DummyCache", "keeps nothing"),
        ("django.core.cache.backends.filebased.FileBasedCache", "loses"),
        ("django.core.cache.backends.base.BaseCache", "no backend in sessionstores"),
        ("no.such.module", "cannot be loaded"),
        (f"{__name__}.OddCache", "not a cache class"),
        (None, "not a cache class"),
    ],
)
def test_other_caches_are_refused_with_the_reason_and_a_way_out(
    settings: Settings, path: str | None, reason: str
) -> None:
    settings.CACHES = {"other": {"BACKEND": path}, "default": {"BACKEND": path}}
    settings.SESSIONSTORES = {"CACHE": "other"}
    words = problem("other")
    assert words is not None
    assert reason in words
    assert "'other'" in words
    with pytest.raises(ImproperlyConfigured, match="other"):
        get_backend(blocking=True)


def test_a_missing_alias_names_those_that_exist(settings: Settings) -> None:
    settings.SESSIONSTORES = {"CACHE": "stores"}
    words = problem("stores")
    assert words is not None
    assert "'stores'" in words
    assert "'default'" in words
    with pytest.raises(ImproperlyConfigured, match="LocMemCache"):
        get_backend(blocking=True)
