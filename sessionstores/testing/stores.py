"""Stores of tests: fresh ones in memory, or under a key prefix of a test's own."""

from __future__ import annotations

import os
import secrets
import sys
import unittest
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar

from django.db import connections
from django.utils.module_loading import import_string

from .. import conf
from ..backends import current_maker, get_backend, made_by
from ..backends.base import Backend, run
from ..backends.clock import ServerClock
from ..backends.database import DatabaseBackend, database_of
from ..backends.database_pool import close_connections
from ..backends.locmem import BytesCache, LocMemBackend
from ..backends.types import Lease
from ..exceptions import InsideTransaction
from ..realtime.timeline import timeline
from ..sessions.autosweep import AutoSweep
from .arguments import seconds_given

OUTSIDE_ATOMIC = (
    "The stores of this test are in the table of a DatabaseCache, where a change stays "
    "whatever becomes of the transaction around it; so they refuse to work inside "
    "atomic(), in which this test runs. Mark it "
    "@pytest.mark.django_db(transaction=True), or derive its class from "
    "TransactionTestCase; or leave its stores in memory, without sessionstores_cache."
)
DEFAULT_LAYER = "default"
# Where pytest has loaded it, it is at work.
PLUGIN = "sessionstores.testing.plugin"


class MovableClock(ServerClock):
    """This machine's time, and the seconds by which tests have moved it on."""

    def __init__(self, moved: float = 0.0) -> None:
        super().__init__()
        self.moved = moved

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""
        return super().__call__() + self.moved


class OwnedCache(BytesCache):
    """A cache with entries of its own, at first those of another one."""

    def __init__(self, other: BytesCache | None = None) -> None:
        super().__init__("sessionstores:testing", {})
        # Django has one for all caches of a name.
        self._cache = OrderedDict(other._cache if other else {})
        self._expire_info = dict(other._expire_info if other else {})
        self._lock = Lock()


class NoAutoSweep(AutoSweep):
    """Sweeps nothing: tests sweep when they want to."""

    def wake(self) -> None:
        """See `AutoSweep.wake`."""


class MemoryStores:
    """Makes backends in memory, for any cache alias; they share a clock.

    They begin with what there is in those of `outer`.
    """

    def __init__(self, outer: MemoryStores | None = None) -> None:
        self.clock: MovableClock = MovableClock(outer.clock.moved if outer else 0.0)
        caches = outer.caches if outer else {}
        self.caches: dict[str, OwnedCache] = {
            alias: OwnedCache(cache) for alias, cache in caches.items()
        }

    def __call__(self, alias: str, *, blocking: bool) -> Backend:
        """Return one flavour of an alias's backend."""
        cache = self.caches.get(alias)
        if cache is None:
            cache = self.caches[alias] = OwnedCache()
        backend = LocMemBackend(alias, blocking=blocking, clock=self.clock, cache=cache)
        backend.clock = self.clock
        backend.memory.items[AutoSweep] = _no_sweeps
        return backend


_no_sweeps = NoAutoSweep()


@contextmanager
def isolated_stores(*, cache: bool = False) -> Iterator[None]:
    """Keep all stores of this process in memory for a block, whatever `CACHES` says.

    They begin empty; inside another such block, with a copy of what is there. What the
    block changes is gone after it. Tabs of this process are reached without the site's
    channel layer, if that would leave the process; nothing sweeps by itself.

    With `cache`, they are in the site's own cache instead, under a key prefix that no
    other block and no other process uses, which is cleaned at the end. Then it raises
    `InsideTransaction` for a DatabaseCache inside `atomic()`.
    """
    if cache:
        yield from _in_cache()
        return
    outer = current_maker()
    make = MemoryStores(outer if isinstance(outer, MemoryStores) else None)
    with made_by(make), _layer_in_memory():
        try:
            yield
        finally:
            timeline.clear()


def _in_cache() -> Iterator[None]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")[:8]
    with made_by(None), conf.prefixed(f"test-{worker}-{secrets.token_hex(6)}"):
        backend = get_backend(blocking=True)
        if isinstance(backend, DatabaseBackend):
            store: Any = backend.store
            if connections[database_of(store.table)].in_atomic_block:
                raise InsideTransaction(OUTSIDE_ATOMIC)
        try:
            yield
        finally:
            timeline.clear()
            run(get_backend(blocking=True).clear())
            # They would keep a test database from being removed.
            close_connections()


@contextmanager
def no_stores() -> Iterator[None]:
    """Have no stores outside of tests: what wider fixtures put there would leak."""
    with made_by(_refuse):
        yield


def _refuse(alias: str, *, blocking: bool) -> Backend:
    raise RuntimeError(
        "Stores are fresh in every test, and this is outside of one: in a fixture of a "
        "wider scope, in setUpModule, or in a hook. Give the fixture the scope "
        '"function", or "class" for a class of tests. Or let it say itself how long '
        "its stores stay, for all tests that run meanwhile: "
        "with isolated_stores(): yield …"
    )


@contextmanager
def _layer_in_memory() -> Iterator[None]:
    """Have the default channel layer not leave this process in a block."""
    # Loaded where it is used.
    channels: Any = sys.modules.get("channels.layers")
    if channels is None or not _leaves_process(channels):
        yield
        return
    manager = channels.channel_layers
    outer = manager.set(DEFAULT_LAYER, channels.InMemoryChannelLayer())
    try:
        yield
    finally:
        manager.backends.pop(DEFAULT_LAYER, None)
        if outer is not None:
            manager.set(DEFAULT_LAYER, outer)


def _leaves_process(channels: Any) -> bool:
    configured = channels.channel_layers.configs.get(DEFAULT_LAYER)
    if configured is None:
        return False
    try:
        cls = import_string(configured["BACKEND"])
    except ImportError:
        return True
    return not issubclass(cls, channels.InMemoryChannelLayer)


def is_table() -> bool:
    """Return whether the site's cache is a table of a database; reads settings only."""
    with made_by(None):
        return isinstance(get_backend(blocking=True), DatabaseBackend)


def advance(seconds: float) -> None:
    """Let `seconds` pass: for idleness, tokens, keeps, leases and `GUESS_LIMIT`.

    Whoever is connected stays so, as by the heartbeats of that time. Nothing is removed
    before a sweep: call `stores.sweep()` where the site would. Timers of the event loop
    and of the site's own code go on as before. Raises RuntimeError for stores that are
    in a real cache, TypeError for what is no number, and ValueError for less than 0
    seconds, or for ever.
    """
    left = seconds_given(seconds, "advance")
    backend = get_backend(blocking=True)
    clock = backend.clock
    if not isinstance(clock, MovableClock):
        raise RuntimeError(
            "advance() moves the clock of stores in memory, and these are in the cache "
            f"{conf.get().cache!r}, which has its own. Run the test without "
            "sessionstores_cache, the marker or the attribute of its class; outside of "
            "pytest, in isolated_stores(), or in a class that names "
            "SessionStoresTestMixin before its TestCase."
        )
    while left > 0 and (connected := _leases(clock)):
        # More often than records expire, since heartbeats would have renewed them.
        step = min(left, conf.get().idle_timeout)
        clock.moved += step
        left -= step
        run(backend.lease(connected))
    clock.moved += left


def _leases(clock: MovableClock) -> list[Lease]:
    """Return the leases of all tabs that this process serves by that clock."""
    # Loaded where there are tabs.
    module = sys.modules.get("sessionstores.realtime.hub")
    hubs = getattr(module, "hubs", {})
    return [
        connection.lease(process)
        for process, hub in [*hubs.items()]
        for connection in [*hub.connections.values()]
        # Others are of a test that has left them open.
        if connection.backend.clock is clock and not hub.loop.is_closed()
    ]


class SessionStoresTestMixin:
    """Gives each test of a TestCase fresh stores; name it before the TestCase.

    For unittest's runners, `manage.py test` among them, and for any TestCase of
    unittest or Django; under pytest the plugin does it. Each test begins with what
    `setUpTestData` and `setUpClass` have put into stores, which are in memory. With
    `sessionstores_cache = True`, each test has its own in the site's cache: see
    `isolated_stores`.
    """

    sessionstores_cache: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise TypeError for a class whose TestCase would hide this mixin."""
        super().__init_subclass__(**options)
        ahead = cls.__mro__[1 : cls.__mro__.index(SessionStoresTestMixin)]
        if unittest.TestCase not in ahead:
            return
        # The plugin's fixtures do the same, but for the site's cache.
        if PLUGIN not in sys.modules or cls.sessionstores_cache:
            case = next(each for each in ahead if issubclass(each, unittest.TestCase))
            raise TypeError(
                f"{cls.__qualname__} names SessionStoresTestMixin behind "
                f"{case.__name__}, which hides it: its tests would not have stores of "
                "their own. Name the mixin before it: class "
                f"{cls.__name__}(SessionStoresTestMixin, {case.__name__})."
            )

    @classmethod
    def setUpClass(cls) -> None:
        """See `unittest.TestCase.setUpClass`."""
        case: Any = cls
        case.enterClassContext(isolated_stores())
        super().setUpClass()  # type: ignore[misc]
        if cls.sessionstores_cache:
            # Here, where it is reported once for the whole class.
            try:
                with isolated_stores(cache=True):
                    pass
            except BaseException:
                # unittest does so only if this method ends. Django's would leave its
                # transaction open, for all tests that follow.
                super().tearDownClass()  # type: ignore[misc]
                raise

    def run(self, result: Any = None) -> Any:
        """See `unittest.TestCase.run`; around `setUp`, `tearDown` and clean-ups."""
        with isolated_stores(cache=self.sessionstores_cache):
            return super().run(result)  # type: ignore[misc]
