"""Replies that are lost: every commit is in once, or said to be unknown."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from sessionstores.backends.redis.scripts import RETRY_SECONDS
from sessionstores.exceptions import Conflict, StoreUnavailable
from sessionstores.manager import stores
from sessionstores.state.revisions import RING_LENGTH
from tests.servers import Server

from . import writers
from .counts import FULL
from .proxy import Proxy
from .sites import on_memcached, on_redis
from .writers import Roll, Writer

pytestmark = pytest.mark.usefixtures("ledgers")

SITES = {"valkey": on_redis, "memcached": on_memcached}
# What is cut of a commit; of the two, also of the retry that makes up for the first.
CUTS = [{"replies": 1}, {"requests": 1}] * 2 + [{"replies": 2}, {"requests": 2}]
# A dispatch this short, in seconds, retries at once, and meanwhile its rival cannot
# commit as often as the record remembers: so it makes up for a single loss.
SHORT = min(RETRY_SECONDS, RING_LENGTH * writers.PAUSE) / 2


# Of each kind of server and caller; elsewhere they make a tenth of one together.
TIMES = 1_000 if FULL else 25


def enter(roll: Roll, number: int, proxy: Proxy, cuts: list[dict[str, int]]) -> None:
    """Add a number, and let the first of `cuts` happen to what comes next: the commit.

    Takes it from the list, so that the run after a conflict is left alone.
    """
    roll.numbers.append(number)
    if cuts:
        proxy.cut(**cuts.pop())


@pytest.mark.parametrize("flavour", ["sync", "async"])
@pytest.mark.parametrize("name", list(SITES))
def test_a_commit_whose_reply_is_lost_is_in_once_or_said_to_be_unknown(
    name: str,
    flavour: str,
    request: pytest.FixtureRequest,
    settings: Any,
    start: Callable[..., Writer],
    code: str,
    rng: random.Random,
    tell: Callable[..., None],
) -> None:
    server: Server = request.getfixturevalue(name)
    other = start(SITES[name](server.port), writers.rival, code, "alice", "other")
    assert other.hear() == "begun"
    done: set[int] = set()
    refused: set[int] = set()
    # Nobody was told whether these are in; what a read said right after.
    unknown: dict[int, bool] = {}
    # Those that lost one message, and were over so soon that they had to be done.
    mended: set[int] = set()
    plan: list[dict[str, int]] = []
    number = 0
    with Proxy(server.port) as proxy, asyncio.Runner() as runner:
        settings.CACHES = SITES[name](proxy.port)["CACHES"]
        store = stores.get(Roll, code, "alice")
        while proxy.cuts < TIMES:
            number += 1
            plan = plan or rng.sample(CUTS, len(CUTS))
            cuts = [plan.pop()]
            cut_before, started = proxy.cuts, time.monotonic()
            try:
                if flavour == "sync":
                    store.dispatch(enter, number, proxy, cuts)
                else:
                    runner.run(store.adispatch(enter, number, proxy, cuts))
                done.add(number)
            except Conflict:
                refused.add(number)
            except StoreUnavailable:
                unknown[number] = False
            spent = time.monotonic() - started
            proxy.cut()
            if number in unknown:
                unknown[number] = number in store.state.numbers
            if proxy.cuts == cut_before + 1 and spent < SHORT:
                mended.add(number)
        numbers = store.state.numbers
        other.say("stop")
        other.hear()
    lost = done - set(numbers)
    doubled = len(numbers) - len(set(numbers))
    tell(
        f"reply or request lost, {flavour}",
        name,
        proxy.cuts,
        lost=len(lost),
        doubled=doubled,
        unknown=len(unknown),
        conflicts=len(refused),
        tries=number,
    )
    assert not lost
    assert not doubled
    assert not refused & set(numbers), "false conflicts"
    assert unknown == {number: number in numbers for number in unknown}
    assert mended
    assert mended <= done
