"""The backend composed of its parts, over stores that fail or are overtaken."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sessionstores.backends.base import run
from sessionstores.exceptions import (
    SessionEnded,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
)
from sessionstores.keys import StoreKey
from tests.backends.cas.stores import (
    CREATIONS,
    Call,
    DictBackend,
    RejectingStore,
    Stepwise,
    check_index,
    fail_at,
    record,
)
from tests.backends.driven import (
    ALICE,
    BOARD,
    BOB,
    CODE,
    ELSEWHERE,
    JUNK,
    MORE,
    OWN,
    Clock,
    lease,
)

CALLS: dict[str, Call] = {
    **CREATIONS,
    "open again": lambda backend: backend.open(BOB, BOARD),
    "read": lambda backend: backend.read(BOB),
    "heads": lambda backend: backend.heads([BOB]),
    "touch": lambda backend: backend.touch(BOB),
    "delete": lambda backend: backend.delete(BOB),
    "delete a session's": lambda backend: backend.delete(OWN),
    "set aside": lambda backend: backend.set_aside(BOB, "board", b"x"),
    "set aside whole": lambda backend: backend.set_aside(ELSEWHERE, None, None),
    "session": lambda backend: backend.session(CODE),
    "update": lambda backend: backend.update_session(CODE, label="x"),
    "end": lambda backend: backend.end_session(CODE),
    "delete session": lambda backend: backend.delete_session(CODE),
    "sessions": lambda backend: backend.sessions(),
    "participants": lambda backend: backend.participants(CODE),
    "session count": lambda backend: backend.session_count(),
    "participant count": lambda backend: backend.participant_count(),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=0, limit=9),
    "evict session": lambda backend: backend.evict_empty_session("EMPTY2", idle_for=0),
    "revoke": lambda backend: backend.revoke(BOB),
    "standings": lambda backend: backend.standings([BOB]),
    "lease": lambda backend: backend.lease([lease(BOB)]),
    "release": lambda backend: backend.release(lease(BOB)),
    "connections": lambda backend: backend.connections(OWN),
    "followers": lambda backend: backend.followers(BOB),
    "value": lambda backend: backend.value("x"),
    "swap": lambda backend: backend.swap_value("x", None, b"x", seconds=9),
    "values": lambda backend: backend.values(["x", "y"]),
    "reap": lambda backend: backend.reap([CODE]),
    "connections of several": lambda backend: backend.connections_of([CODE]),
    "note": lambda backend: backend.note(CODE, [{"kind": "end"}], changes=1),
    "summaries": lambda backend: backend.summaries(),
    "due": lambda backend: backend.due_sessions(idle_for=0, limit=9),
    "orphans": lambda backend: backend.orphans(),
    "reindex": lambda backend: backend.reindex(BOB),
}


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("name", CALLS)
def test_whatever_step_fails_the_store_is_unavailable_or_the_work_done(
    plain: DictBackend, stepwise: Stepwise, clock: Clock, name: str, after: bool
) -> None:
    failures: list[StoreUnavailable] = []
    for step in range(100):
        run(plain.clear())
        run(plain.open(BOB, BOARD))
        run(plain.note(CODE, [{"kind": "start"}]))
        run(plain.open(StoreKey.of_session("EMPTY2"), {}))
        plain.store.plant("ss:{ELSE23}:p:alice", b"junk")
        clock.advance(100)
        fail_at(stepwise, step, after=after)
        with suppress(StateCorrupt):
            try:
                run(CALLS[name](stepwise))
            except StoreUnavailable as error:
                failures.append(error)
        if stepwise.store.steps <= step:
            break
    assert failures
    assert all(isinstance(error.__cause__, OSError) for error in failures)
    assert all("OSError: at step" in str(error) for error in failures)
    # What was cut short, the next access mends.
    for key in (BOB, ALICE):
        with suppress(SessionEnded):
            run(plain.open(key, BOARD))
    run(plain.delete(ELSEWHERE))
    run(plain.evict_idle(CODE, idle_for=0, limit=99))
    run(plain.evict_empty_session(CODE, idle_for=0))
    run(plain.evict_empty_session("EMPTY2", idle_for=0))
    run(plain.evict_empty_session("ELSE23", idle_for=0))
    check_index(plain)


def test_an_error_that_is_not_of_the_connection_passes_through(
    stepwise: Stepwise,
) -> None:
    def fail(step: int, what: str) -> None:
        raise ZeroDivisionError

    stepwise.store.before = fail
    with pytest.raises(ZeroDivisionError):
        run(stepwise.read(ALICE))


RACES: dict[str, Call] = {
    "open": lambda backend: backend.open(ALICE, BOARD),
    "open session": lambda backend: backend.open(OWN, {}),
    "claim": lambda backend: backend.create_session(CODE, label="", keep=0),
    "read": lambda backend: backend.read(ALICE),
    "touch": lambda backend: backend.touch(ALICE),
    "lease": lambda backend: backend.lease([lease()]),
    "delete": lambda backend: backend.delete(ALICE),
    "wipe": lambda backend: backend.delete(OWN),
    "evict": lambda backend: backend.evict_idle(CODE, idle_for=50, limit=9),
    "evict session": lambda backend: backend.evict_empty_session(CODE, idle_for=50),
    "delete session": lambda backend: backend.delete_session(CODE),
    "end": lambda backend: backend.end_session(CODE),
    "update": lambda backend: backend.update_session(CODE, label="x"),
    "release": lambda backend: backend.release(lease()),
    "reap": lambda backend: backend.reap([CODE]),
    "reindex": lambda backend: backend.reindex(ALICE),
}


STARTS: dict[str, list[Call]] = {
    "nothing": [],
    "session": [lambda backend: backend.open(OWN, BOARD)],
    "participant": [
        lambda backend: backend.open(ALICE, BOARD),
        lambda backend: backend.lease([lease()]),
    ],
    "tombstone": [lambda backend: backend.end_session(CODE)],
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("other", RACES)
@pytest.mark.parametrize("name", RACES)
def test_the_index_stays_true_whatever_interleaves(
    plain: DictBackend,
    stepwise: Stepwise,
    clock: Clock,
    name: str,
    other: str,
    start: str,
) -> None:
    for at in range(100):
        run(plain.clear())
        for call in STARTS[start]:
            run(call(plain))
        clock.advance(100)

        def overtake(step: int, what: str, at: int = at) -> None:
            if step == at:
                with suppress(SessionEnded):
                    run(RACES[other](plain))

        stepwise.store.steps, stepwise.store.before = 0, overtake
        with suppress(SessionEnded):
            run(RACES[name](stepwise))
        check_index(plain)
        if stepwise.store.steps <= at:
            return
    raise AssertionError("never came to an end")


@pytest.mark.parametrize(
    "call",
    [
        lambda backend: backend.open(ALICE, BOARD),
        lambda backend: backend.update_session(CODE, label="x"),
        lambda backend: backend.delete(OWN),
        lambda backend: backend.revoke(BOB),
        lambda backend: backend.lease([lease(BOB)]),
        lambda backend: backend.end_session(CODE),
        lambda backend: backend.note(CODE, [{"kind": "start"}]),
        lambda backend: backend.set_aside(ELSEWHERE, None, None),
        lambda backend: backend.commit(
            record(backend, BOB), record(backend, BOB).rev.next(), MORE
        ),
    ],
)
def test_tries_come_to_an_end(
    plain: DictBackend,
    clock: Clock,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(plain.open(BOB, BOARD))
    run(plain.open(OWN, BOARD))
    base = record(plain, OWN)
    run(plain.commit(base, base.rev.next(), BOARD))
    plain.store.plant("ss:{ELSE23}:p:alice", b"junk")
    with pytest.raises(StoreUnavailable, match="64 tries"):
        run(call(DictBackend(RejectingStore(plain.store))))


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize(
    "kind", ["m:", "r:", "t:", "a:", "n:", "c:alice", "f:alice", "f:+", "reg"]
)
def test_junk_in_any_other_value_heals_without_a_crash(
    plain: DictBackend, clock: Clock, kind: str, junk: bytes
) -> None:
    run(plain.open(ALICE, BOARD))
    run(plain.lease([lease()]))
    name = next((k for k in plain.store.values() if "reg" in k), "")
    if kind != "reg":
        name = f"ss:{{{CODE}}}:{kind}"
    plain.store.plant(name, junk)
    clock.advance(100)
    for call in CALLS.values():
        if kind == "m:" or kind == "reg":
            run(plain.touch(ALICE))
        with suppress(SessionStoresError):
            run(call(plain))
