"""Records of processes: written, listed within a lease, and never counted twice."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import pytest
from django.test import override_settings

import sessionstores
from sessionstores import ActionRejected, conf, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import StoreUnavailable
from sessionstores.monitoring import health, workers
from sessionstores.monitoring.health import decode_health
from sessionstores.monitoring.tally import tally_of
from sessionstores.monitoring.workers import NAME, SAMPLED_WITHIN
from sessionstores.realtime.publisher import publisher
from tests.monitoring.site import Process, Site
from tests.sockets import CODE, PATIENCE, Socket, opening_tabs, token
from tests.workshop.states import Board

LEASE = conf.Conf().presence_lease


def drop(process: Process, *names: str) -> None:
    """Remove shared values, as a cache does that is full or was restarted."""
    cache = process.backend.store.cache  # type: ignore[attr-defined]
    for key in [*cache._cache]:
        if any(name in key for name in names):
            cache.delete(key.partition(":1:")[2])


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_process_tells_who_it_is(site: Site) -> None:
    process = site.process()
    process.tally.tabs.add("c1")
    process.beat()
    (worker,) = site.process().stats().workers
    assert (worker.host, worker.pid) == (socket.gethostname(), os.getpid())
    assert (worker.tabs, worker.version) == (1, sessionstores.__version__)
    assert worker.seen == site.clock.time
    assert worker.since <= site.clock.time
    assert worker.rss is None or worker.rss > 1_000_000


def test_a_process_that_falls_silent_with_tabs_is_lost_until_its_record_expires(
    site: Site,
) -> None:
    killed, idle, left = site.process(), site.process(), site.process()
    killed.tally.tabs |= {"c1", "c2"}
    idle.act(0.01)
    for process in (killed, idle):
        process.beat()
    assert left.stats().lost == ()
    site.clock.advance(LEASE)
    # The one without tabs may have nothing to do.
    (lost,) = left.stats().lost
    assert (lost.tabs, lost.seen) == (2, site.clock.time - LEASE)
    assert left.stats().workers == ()
    site.clock.advance(SAMPLED_WITHIN)
    assert left.stats().lost == ()
    # It was only paused.
    killed.beat()
    assert left.stats().lost == ()
    assert len(left.stats().workers) == 1


def test_its_load_is_measured_between_two_heartbeats(site: Site) -> None:
    process = site.process()
    process.beat()
    # What begins is not busy for that.
    (worker,) = site.process().stats().workers
    assert worker.load is None
    with override_settings(SESSIONSTORES={"HEARTBEAT": 1e-9, "AUTO_SWEEP": False}):
        process.beat()
    (worker,) = site.process().stats().workers
    assert worker.load is not None
    assert worker.load >= 0
    # Nor is what is written twice at once.
    process.beat()
    (again,) = site.process().stats().workers
    assert again.load == worker.load


def test_a_killed_process_leaves_the_list_within_a_lease_and_its_tabs_too(
    site: Site,
) -> None:
    killed, left = site.process(), site.process()
    for process in (killed, left):
        process.tally.tabs.add("c1")
        process.act(0.01)
        process.beat()
    assert len(left.stats().workers) == 2
    assert left.stats().health.sockets == 2
    site.clock.advance(LEASE / 2)
    left.beat()
    site.clock.advance(LEASE / 2 + 1)
    stats = left.stats()
    assert len(stats.workers) == 1
    assert (stats.health.sockets, stats.health.actions) == (1, 2)


def test_who_only_reads_is_in_no_list(site: Site) -> None:
    site.process().beat()
    reader = site.process()
    assert len(reader.stats().workers) == 1
    run(workers.report_news(reader.backend))
    assert len(site.process().stats().workers) == 1


def test_a_process_without_tabs_is_listed_once_it_has_counted_something(
    site: Site,
) -> None:
    process = site.process()
    process.tally.refuse("rejected")
    assert len(process.stats().workers) == 1
    assert site.process().stats().workers == ()
    run(workers.report_news(process.backend))
    assert site.process().stats().health.refused == {"rejected": 1}


def test_a_record_that_was_lost_is_begun_anew_and_nothing_counts_twice(
    site: Site,
) -> None:
    process, other = site.process(), site.process()
    process.act(0.01, 0.01)
    process.beat()
    site.clock.advance(30)
    process.beat()
    drop(process, "worker")
    process.act(0.01)
    assert process.stats().health.actions == 3
    site.clock.advance(30)
    process.beat()
    assert process.stats().health.actions == 3
    assert other.stats().health.actions == 3


def test_a_cache_that_forgot_everything_is_told_what_came_since(site: Site) -> None:
    process = site.process()
    process.act(0.01, 0.01)
    process.beat()
    run(process.backend.clear())
    process.act(0.01)
    process.beat()
    assert site.process().stats().health.actions == 1


def test_a_process_that_wakes_up_after_its_record_expired_counts_on(site: Site) -> None:
    sleeper, other = site.process(), site.process()
    sleeper.act(0.01)
    sleeper.tally.fail(("ValueError", "board.move", "states.py:1"), site.clock.time)
    sleeper.beat()
    for _ in range(20):
        site.clock.advance(30)
        other.beat()
    sleeper.act(0.01)
    sleeper.tally.fail(("ValueError", "board.move", "states.py:1"), site.clock.time)
    for beats in range(3):
        for process in (sleeper, other):
            stats = process.stats()
            if beats or process is sleeper:
                assert stats.health.actions == 2
                assert stats.health.errors == 2
                assert [each.count for each in stats.errors] == [2]
        site.clock.advance(30)
        sleeper.beat()
        other.beat()


def test_the_list_forgets_records_that_have_expired(site: Site) -> None:
    gone, other = site.process(), site.process()
    gone.beat()
    for _ in range(10):
        site.clock.advance(30)
        other.beat()
    value = run(other.backend.value(NAME))
    assert len(workers.decode_ids(value.data)) == 1
    assert SAMPLED_WITHIN > 30


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03"])
def test_what_cannot_be_read_is_left_out_and_written_anew(
    site: Site, data: bytes
) -> None:
    process = site.process()
    process.act(0.01)
    process.beat()
    for name in ("workers", workers._own(process.backend).name):
        held = run(process.backend.value(name))
        run(process.backend.swap_value(name, held.token, data, seconds=60))
        assert site.process().stats().workers == ()
        process.beat()
        assert site.process().stats().health.actions == 1


def test_while_the_cache_does_not_answer_nothing_is_raised(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = site.process()

    async def away(*args: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(process.backend, "values", away)
        run(workers.report(process.backend))
    run(workers.report(process.backend))
    assert len(site.process().stats().workers) == 1


def test_one_thread_at_a_time_writes_the_record(site: Site) -> None:
    process = site.process()
    own = workers._own(process.backend)
    assert own.claim()
    run(workers.report(process.backend))
    assert site.process().stats().workers == ()
    own.release()
    run(workers.report(process.backend))
    assert len(site.process().stats().workers) == 1


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_process_without_tabs_writes_its_figures_a_heartbeat_later(
    is_refused: bool,
) -> None:
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        board = stores.get(Board, CODE, "alice")
        if is_refused:
            with pytest.raises(ActionRejected):
                board.dispatch(Board.move, "no such card", pile="keep")
        else:
            board.dispatch(Board.note, "x")
        backend = get_backend(blocking=True)
        deadline = time.monotonic() + PATIENCE
        # It takes the sample, too: there may be nobody else.
        while run(backend.value(health.NAME)).data is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        data = run(backend.value(health.NAME)).data
        (slot,) = decode_health(data, run(backend.now())).slots
        assert slot.counts.refused == ({"no_such_card": 1} if is_refused else {})
        assert slot.counts.actions == 1
        publisher.close()


def test_figures_that_the_cache_did_not_take_are_written_after_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outage = [StoreUnavailable("No answer.")] * 2

    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        writing = get_backend(blocking=False)
        take = writing.swap_value

        async def swap_value(*args: Any, **kwargs: Any) -> bool:
            if outage:
                raise outage.pop()
            return await take(*args, **kwargs)

        monkeypatch.setattr(writing, "swap_value", swap_value)
        with pytest.raises(ActionRejected):
            stores.get(Board, CODE, "alice").dispatch(Board.move, "none", pile="keep")
        backend = get_backend(blocking=True)
        deadline = time.monotonic() + PATIENCE
        # Nothing else happens that would be a reason to write them.
        while not run(workers.read_records(backend, run(backend.value(NAME)))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (record,) = run(
            workers.read_records(backend, run(backend.value(NAME)))
        ).values()
        assert record.counts.refused == {"no_such_card": 1}
        assert not outage
        publisher.close()


async def test_tabs_are_counted_while_they_are_open() -> None:
    async with opening_tabs() as open_tab:
        await open_tab("alice", client="c1")
        socket = await open_tab("bob", client="c2")
        found = await stores.astats()
        assert (found.health.sockets, found.workers[0].tabs) == (2, 2)
        await socket.drop()
        assert (await stores.astats()).health.sockets == 1
    found = await stores.astats()
    assert (found.health.sockets, found.health.reconnects) == (0, 0)


async def test_a_tab_that_has_heard_of_a_server_is_one_that_came_back() -> None:
    async with opening_tabs() as open_tab:
        socket = await open_tab("alice")
        have = {name: frame["rev"] for name, frame in socket.snapshots.items()}
        await socket.drop()
        # A page that is opened has what its view has written there.
        for had, reconnects in (({"have": have}, 0), ({"have": have, "runs": {}}, 1)):
            again = Socket()
            await again.open()
            await again.say(type="hello", token=token("alice"), client="c1", **had)
            await again.expect("welcome")
            await again.act(reconnects + 1, "board.note", text="here")
            assert tally_of(get_backend(blocking=True)).reconnects == reconnects
            await again.drop()
    assert (await stores.astats()).health.reconnects == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_tells_of_itself_only(site: Site) -> None:
    process = site.process()
    process.act(0.01)
    process.beat()
    child = os.fork()
    if not child:
        # Not the parent's record, and none of its counts.
        own = workers._own(process.backend)
        is_own = own.pid == os.getpid() and not own.is_written
        os._exit(0 if is_own and not sum(process.tally.latency) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(process.tally.latency) == 1
