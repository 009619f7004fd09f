"""Caches that fall silent: many callers at once, each told within about a second."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import pytest
from django.db import connections

from sessionstores.backends.database_pool import close_connections
from sessionstores.exceptions import OutcomeUnknown, StoreUnavailable
from sessionstores.manager import stores
from tests.caches import cache_on

from .counts import FULL
from .proxy import Proxy
from .refusals import database_alias, hang_up
from .test_outage import CALLERS, DEADLINE, Callers
from .writers import Ledger

pytestmark = pytest.mark.usefixtures("ledgers")

Tell = Callable[..., None]
Silence = Callable[[], AbstractContextManager[Any]]

# Which cache falls silent, whether callers have connections, and their flavour.
CASES = [
    (kind, is_open, flavour)
    for kind in ("memcached", "postgres", "sqlite")
    for is_open in (True, False)
    for flavour in ("sync", "async")
]
if not FULL:
    CASES = [each for each in CASES if each[1:] == (True, "sync")]
    CASES += [("postgres", False, "sync"), ("postgres", True, "async")]


@pytest.fixture
def silence(
    kind: str, request: pytest.FixtureRequest, settings: Any
) -> Iterator[Silence]:
    """Keep the records on a cache of that kind; return how it falls silent."""
    if kind == "sqlite":
        with cache_on(kind, request, settings):
            yield lambda: write_locked(connections[database_alias()])
        return
    real = request.getfixturevalue(kind)
    with Proxy(real.port) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(real, "port", proxy.port)
        with cache_on(kind, request, settings):
            yield proxy.swallowing


@contextmanager
def write_locked(connection: Any) -> Iterator[None]:
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def leave_no_connection(callers: Callers) -> None:
    """Close what the threads of `callers` have open: nobody else would."""
    everyone = threading.Barrier(CALLERS)

    def close(number: int) -> None:
        everyone.wait()
        connections.close_all()

    list(callers.threads.map(close, range(CALLERS)))
    close_connections()


@pytest.mark.parametrize(("kind", "is_open", "flavour"), CASES)
def test_many_callers_of_a_silent_cache_are_each_told_in_time(
    kind: str, is_open: bool, flavour: str, silence: Silence, code: str, tell: Tell
) -> None:
    with Callers(code, flavour) as callers:
        try:
            callers.add_at_last(1)
            if not is_open:
                leave_no_connection(callers)
            with silence():
                told = callers.add(2)
            if kind != "memcached":
                # This thread's connection was cut, too.
                connections[database_alias()].close()
            recovered = callers.add_at_last(3)
            states = [store.state for store in callers.stores]
        finally:
            leave_no_connection(callers)
            if kind != "memcached":
                connections[database_alias()].close()
    unknown = sum(not done for done, _ in told)
    lost = sum(state.last != {"caller": 3} for state in states)
    doubled = sum(state.total + state.lost - 3 for state in states)
    slowest = max(seconds for _, seconds in told)
    how = "with" if is_open else "without"
    tell(
        f"silent, {CALLERS} {flavour} callers {how} connections, {slowest:.2f} s",
        kind,
        CALLERS,
        lost=lost,
        doubled=doubled,
        unknown=unknown,
    )
    assert (unknown, lost, doubled) == (CALLERS, 0, 0)
    assert slowest < DEADLINE
    # Nothing is to be waited for, once it answers again.
    assert max(recovered) < DEADLINE


@pytest.mark.parametrize("kind", ["postgres"])
def test_a_blocking_commit_into_a_black_hole_is_given_up_and_unknown(
    silence: Silence, code: str
) -> None:
    store = stores.get(Ledger, code, "alice")
    store.dispatch(Ledger.add, "us", 1)
    outage = silence()

    def add(ledger: Ledger) -> None:
        ledger.add("us", 2)
        outage.__enter__()

    with pytest.raises(OutcomeUnknown):
        store.dispatch(add)
    outage.__exit__(None, None, None)
    assert store.state.last == {"us": 1}
    hang_up()


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_the_sites_connection_is_left_as_it_was(silence: Silence, code: str) -> None:
    connection = connections[database_alias()]
    store = stores.get(Ledger, code, "alice")
    store.dispatch(Ledger.add, "us", 1)
    raw = connection.connection
    with silence(), pytest.raises(StoreUnavailable):
        store.dispatch(Ledger.add, "us", 2)
    store.dispatch(Ledger.add, "us", 2)
    assert connection.connection is not raw
    assert "get_new_connection" not in vars(connection)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            patience = cursor.execute("PRAGMA busy_timeout").fetchone()
        assert patience == (20_000,)
    hang_up()
