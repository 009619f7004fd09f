"""The part of the contract about connections: joins, leaves and their reporting."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_django import Settings

from sessionstores.backends.base import Backend, run
from sessionstores.backends.types import EVERYONE, Lease, removed_with
from sessionstores.keys import StoreKey
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    MORE,
    OWN,
    START,
    BackendTests,
    Clock,
    Driven,
    in_threads,
    lease,
)

BOTH = [CODE, ELSEWHERE.session]


def bare(leases: Sequence[Lease]) -> list[Lease]:
    """Return leases without their deadlines."""
    return [found._replace(deadline=0.0) for found in leases]


def ids_of(leases: Sequence[Lease]) -> list[str]:
    return sorted(found.connection for found in leases)


class ConnectionsContract(BackendTests):
    def test_connections_are_listed_until_released(self, backend: Driven) -> None:
        backend.open(ALICE, BOARD)
        backend.open(BOB, BOARD)
        first = lease(ALICE, "c1")._replace(since=START)
        second = lease(ALICE, "c2", "web-2")._replace(since=START)
        third = lease(BOB, "c3", follows=("bob", EVERYONE))._replace(since=START)
        backend.lease([first, second, third])
        backend.lease([first])
        assert set(bare(backend.connections(ALICE))) == {first, second}
        assert set(bare(backend.connections(OWN))) == {first, second, third}
        assert backend.connections(ELSEWHERE) == []
        backend.release(first)
        assert bare(backend.connections(ALICE)) == [second]
        backend.release(first)
        backend.release(second)
        assert backend.connections(ALICE) == []

    def test_a_lease_runs_out_unless_it_is_renewed(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.lease([lease(ALICE, "c1"), lease(ALICE, "c2", "web-2")])
        clock.advance(20)
        backend.lease([lease(ALICE, "c2", "web-2")])
        clock.advance(11)
        assert [found.connection for found in backend.connections(ALICE)] == ["c2"]
        assert backend.followers(ALICE) == {"web-2"}
        assert backend.followers(OWN) == {"web-2"}
        assert backend.participants(CODE)[0].connections == 1
        clock.advance(20)
        assert backend.connections(OWN) == []
        assert backend.followers(ALICE) == frozenset()

    def test_everyone_is_followed_future_ones_too(self, backend: Driven) -> None:
        watcher = lease(ALICE, "c1", "web-9", follows=("alice", EVERYONE))
        backend.open(ALICE, BOARD)
        backend.lease([watcher])
        record = backend.open(BOB, BOARD).record
        answer = backend.commit(record, record.rev.next(), MORE)
        assert answer.followers == {"web-9"}
        assert backend.followers(OWN) == frozenset()
        assert backend.followers(StoreKey("ELSE23", "bob")) == frozenset()
        backend.release(watcher)
        assert backend.followers(BOB) == frozenset()

    def test_what_a_process_follows_through_other_connections_stays(
        self, backend: Driven
    ) -> None:
        backend.open(ALICE, BOARD)
        first, second = lease(ALICE, "c1"), lease(ALICE, "c2")
        backend.lease([first, second])
        backend.release(first._replace(follows=frozenset()))
        assert backend.followers(ALICE) == {"web-1"}
        assert ids_of(backend.connections(ALICE)) == ["c2"]

    def test_what_a_tab_shows_of_itself_comes_back_with_when_it_came(
        self, backend: Driven, clock: Clock
    ) -> None:
        shown = lease()._replace(meta=b'{"name":"Alice"}')
        backend.lease([shown._replace(since=1.0, leaving=True)])
        clock.advance(10)
        (held,) = backend.connections(ALICE)
        assert held == shown._replace(since=START, deadline=START + 30)
        typing = shown._replace(meta=bytes(range(256)) * 4)
        backend.lease([typing, lease(ALICE, "c2")])
        assert set(bare(backend.connections(ALICE))) == {
            typing._replace(since=START),
            lease(ALICE, "c2")._replace(since=START + 10),
        }

    def test_connections_of_several_sessions_are_read_together(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.lease([lease(ALICE, "c1"), lease(BOB, "c2"), lease(ELSEWHERE, "c3")])
        clock.advance(20)
        backend.lease([lease(ALICE, "c1"), lease(ELSEWHERE, "c3")])
        clock.advance(11)
        found = backend.connections_of([CODE, "NOSUCH", ELSEWHERE.session, CODE])
        assert {code: ids_of(leases) for code, leases in found.items()} == {
            CODE: ["c1"],
            "NOSUCH": [],
            ELSEWHERE.session: ["c3"],
        }
        assert found[CODE] == backend.connections(OWN)
        assert backend.connections_of([]) == {}

    # Joining and leaving

    def test_the_first_connection_joins_and_the_last_one_leaves(
        self, backend: Driven
    ) -> None:
        first, second, bobs = lease(ALICE, "c1"), lease(ALICE, "c2"), lease(BOB, "c3")
        assert set(backend.lease([first, second, bobs])) == {ALICE, BOB}
        assert backend.lease([first, second, bobs]) == []
        assert backend.lease([]) == []
        assert backend.release(first) is False
        assert backend.release(first) is False
        assert backend.release(second) is True
        assert backend.release(second) is False
        assert backend.lease([first]) == [ALICE]
        assert backend.reap([CODE]) == []

    def test_an_expired_lease_is_reaped_and_reported_once(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.lease([lease(ALICE), lease(BOB, "c2"), lease(ELSEWHERE, "c3")])
        clock.advance(20)
        backend.lease([lease(BOB, "c2")])
        assert backend.reap(BOTH) == []
        clock.advance(11)
        assert backend.connections(ALICE) == []
        assert set(backend.reap(BOTH)) == {ALICE, ELSEWHERE}
        assert backend.reap(BOTH) == []
        assert backend.reap([]) == []
        assert ids_of(backend.connections(OWN)) == ["c2"]
        assert set(backend.lease([lease(ALICE), lease(BOB, "c2")])) == {ALICE}

    def test_who_comes_back_before_the_reaper_has_neither_left_nor_joined(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.lease([lease(ALICE, "c1")])
        clock.advance(31)
        assert backend.lease([lease(ALICE, "c2")]) == []
        assert backend.reap([CODE]) == []
        assert ids_of(backend.connections(ALICE)) == ["c2"]
        assert backend.release(lease(ALICE, "c2")) is True

    def test_a_lease_waits_for_its_reaper_past_the_idle_timeout(
        self, backend: Driven, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONSTORES = {"IDLE_TIMEOUT": 100}
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        clock.advance(190)
        assert len(backend.evict_idle(CODE, idle_for=100, limit=10)) == 1
        assert backend.reap([CODE]) == [ALICE]
        assert backend.reap([CODE]) == []

    def test_who_leaves_with_grace_has_left_when_that_is_over(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        assert backend.release(lease(), grace=5) is False
        [leaving] = backend.connections(OWN)
        assert (leaving.connection, leaving.leaving) == ("c1", True)
        assert backend.participants(CODE)[0].connections == 0
        assert backend.followers(ALICE) == backend.followers(OWN) == frozenset()
        clock.advance(4)
        assert backend.reap([CODE]) == []
        clock.advance(1)
        assert backend.connections(ALICE) == []
        assert backend.reap([CODE]) == [ALICE]
        assert backend.lease([lease()]) == [ALICE]
        assert backend.connections(ALICE)[0].leaving is False

    def test_who_reloads_within_the_grace_has_neither_left_nor_joined(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.lease([lease(ALICE, "c0")])
        for number in range(20):
            backend.release(lease(ALICE, f"c{number}"), grace=5)
            clock.advance(1)
            assert backend.lease([lease(ALICE, f"c{number + 1}")]) == []
            assert backend.reap([CODE]) == []
        clock.advance(5)
        assert backend.reap([CODE]) == []
        assert ids_of(backend.connections(ALICE)) == ["c20"]
        assert backend.connections(ALICE)[0].leaving is False

    def test_a_connection_that_is_renewed_is_not_leaving(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.lease([lease()])
        backend.release(lease(), grace=5)
        assert backend.lease([lease()]) == []
        clock.advance(6)
        assert backend.reap([CODE]) == []
        (held,) = backend.connections(ALICE)
        assert held == lease()._replace(since=START, deadline=START + 30)

    def test_a_goodbye_ends_the_grace(self, backend: Driven) -> None:
        backend.lease([lease()])
        backend.release(lease(), grace=5)
        assert backend.release(lease()) is True
        assert backend.connections(ALICE) == []
        assert backend.reap([CODE]) == []

    def test_releasing_what_is_not_there_makes_nothing(
        self, backend: Driven, clock: Clock
    ) -> None:
        assert backend.release(lease(), grace=5) is False
        assert backend.release(lease()) is False
        assert backend.connections(OWN) == []
        clock.advance(6)
        assert backend.reap([CODE]) == []

    def test_who_is_leaving_keeps_the_record_until_the_grace_is_over(
        self, backend: Driven, clock: Clock
    ) -> None:
        backend.open(ALICE, BOARD)
        backend.lease([lease()])
        backend.release(lease(), grace=5)
        clock.advance(4)
        assert backend.evict_idle(CODE, idle_for=0, limit=10) == []
        clock.advance(1)
        assert backend.evict_idle(CODE, idle_for=0, limit=10) == [
            removed_with(ALICE, BOARD)
        ]

    def test_of_many_threads_one_reports_the_join_and_one_the_leave(
        self, blocking: Backend
    ) -> None:
        for _ in range(self.RACES):
            joined: list[StoreKey] = []
            left: list[bool] = []

            def come(number: int, joined: list[StoreKey] = joined) -> None:
                joined += run(blocking.lease([lease(ALICE, f"c{number}")]))

            def go(number: int, left: list[bool] = left) -> None:
                left.append(run(blocking.release(lease(ALICE, f"c{number}"))))

            in_threads(self.THREADS, come)
            assert joined == [ALICE]
            assert len(run(blocking.connections(OWN))) == self.THREADS
            in_threads(self.THREADS, go)
            assert sum(left) == 1
            assert run(blocking.connections(OWN)) == []

    def test_joins_and_leaves_alternate_however_threads_cross(
        self, blocking: Backend
    ) -> None:
        joined: list[StoreKey] = []
        left: list[bool] = []

        def work(number: int) -> None:
            for _ in range(self.RACES):
                own = lease(ALICE, f"c{number}")
                joined.extend(run(blocking.lease([own])))
                found = run(blocking.connections(ALICE))
                assert own.connection in ids_of(found)
                left.append(run(blocking.release(own)))

        in_threads(self.THREADS, work)
        assert len(joined) == sum(left) >= 1
        assert run(blocking.connections(OWN)) == []
        assert run(blocking.lease([lease()])) == [ALICE]

    def test_of_many_reapers_one_reports_each_leave(
        self, blocking: Backend, clock: Clock
    ) -> None:
        keys = [StoreKey(CODE, f"p{number}") for number in range(20)]
        for _ in range(max(self.RACES // 5, 1)):
            run(blocking.lease([lease(key) for key in keys]))
            clock.advance(31)
            left: list[StoreKey] = []

            def work(number: int, left: list[StoreKey] = left) -> None:
                left += run(blocking.reap([CODE]))

            in_threads(self.THREADS, work)
            assert sorted(left) == sorted(keys)
