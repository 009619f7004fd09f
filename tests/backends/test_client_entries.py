"""Client entries: what a record knows of actions is true, and takes bounded space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores import ActionRejected
from sessionstores.backends import client_entries
from sessionstores.backends.client_entries import (
    MAX_REFUSALS,
    MAX_RUN,
    OUTCOME_UNKNOWN,
    OWN_BYTES,
    RECORD_BYTES,
    RUNS,
    SHARED_BYTES,
    advanced,
    has_run,
    merge,
    merged,
    reduced,
)
from sessionstores.backends.memcached import MAX_VALUE
from sessionstores.backends.types import CLIENT_MEMORY, Attempt, ClientEntry
from sessionstores.conf import Conf

NOW = 1_700_000_000.5

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, ClientEntry]).decode

Clients = Mapping[str, ClientEntry]


def stored(clients: Clients) -> dict[str, ClientEntry]:
    """Return entries as they come back from the cache."""
    return _decode(_encode(clients))


def told(clients: Clients, client: str, id: int) -> Any:
    """Return whether an action sent again has run, or with which code it is refused."""
    try:
        return has_run(clients, Attempt(client, id, {}, resent=True))
    except ActionRejected as refusal:
        return refusal.code


def after(clients: Clients, *attempts: Attempt, now: float = NOW) -> Any:
    return stored(merged(clients, attempts, now))


# For each action in turn, what becomes of it. One without a mark is never seen: the
# frame could not be read, or it was skipped, or another document's.
FATES = st.sampled_from(["applied", "refused", "unchanged", "unseen"])


@given(
    fates=st.lists(st.one_of(FATES, FATES, st.just("applied")), max_size=60),
    heard=st.lists(st.integers(0, 60), max_size=4),
)
def test_what_was_applied_is_known_and_what_was_not_is_never_acknowledged(
    fates: list[str], heard: list[int]
) -> None:
    clients: Clients = {}
    rejected: dict[int, str] = {}
    unchanged: list[int] = []
    floor = last = 0
    for id, fate in enumerate(fates, 1):
        if fate == "refused":
            rejected[id] = f"code {id}"
        elif fate == "unchanged":
            unchanged.append(id)
        elif fate == "applied":
            floor = max([floor, *(each for each in heard if each < id)])
            attempt = Attempt("tab", id, dict(rejected), tuple(unchanged), floor)
            clients = after(clients, attempt)
            last = id
        for each, was in enumerate(fates[:id], 1):
            answer = told(clients, "tab", each)
            if each > last:
                assert answer is False
            elif each <= floor and each != last:
                assert answer == OUTCOME_UNKNOWN
            else:
                assert (
                    answer
                    == {
                        "applied": True,
                        "unchanged": True,
                        "refused": f"code {each}",
                        "unseen": "rejected",
                    }[was]
                )


@given(steps=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=40))
def test_connections_of_one_client_lose_no_refusal_of_each_other(
    steps: list[tuple[int, bool]],
) -> None:
    # Each knows its own refusals only, as two tabs that send the same actions again do.
    clients: Clients = {}
    known: list[dict[int, str]] = [{}, {}]
    fates: dict[int, Any] = {}
    for id, (connection, is_applied) in enumerate(steps, 1):
        mine = known[connection % 2]
        if is_applied:
            clients = after(clients, Attempt("tab", id, dict(mine)))
            fates[id] = True
        else:
            fates[id] = mine[id] = "not_so"
    last = max((id for id, fate in fates.items() if fate is True), default=0)
    for id, fate in fates.items():
        answer = told(clients, "tab", id)
        if id > last:
            assert answer is False
        elif fate is True:
            assert answer is True
        else:
            # One that committed later need not have known the code.
            assert answer in ("not_so", "rejected")


def test_of_an_entry_of_an_older_release_only_what_it_lists_is_known() -> None:
    clients = {"tab": ClientEntry(9, {7: "not_so"}, NOW)}
    assert [told(clients, "tab", id) for id in (6, 7, 8, 9, 10)] == [
        OUTCOME_UNKNOWN,
        "not_so",
        OUTCOME_UNKNOWN,
        True,
        False,
    ]
    clients = after(clients, Attempt("tab", 11, {8: "conflict", 10: "conflict"}))
    assert [told(clients, "tab", id) for id in (7, 8, 9, 10, 11)] == [
        "not_so",
        OUTCOME_UNKNOWN,
        True,
        "conflict",
        True,
    ]


def test_an_older_release_reads_entries_and_finds_the_refusals_in_them() -> None:
    clients = after({}, Attempt("tab", 9, {7: "not_so"}, (5,)))
    ((last, rejected, at),) = msgspec.msgpack.decode(
        _encode(clients), type=dict[str, tuple[int, dict[int, str], float]]
    ).values()
    assert (last, rejected[7], at) == (9, "not_so", NOW + 0.5)
    assert not [id for id in rejected if id not in (7, RUNS)]


@pytest.mark.parametrize("gap", [1, MAX_RUN - 1, MAX_RUN, MAX_RUN + 1, 2**52])
def test_ids_may_be_any_distance_apart(gap: int) -> None:
    clients = after({}, Attempt("tab", 1, {}))
    clients = after(clients, Attempt("tab", 1 + gap, {}))
    clients = after(clients, Attempt("tab", 2 + gap, {}))
    assert told(clients, "tab", 2 + gap) is told(clients, "tab", 1 + gap) is True
    # The ids between the two.
    if gap - 1 <= MAX_RUN:
        assert told(clients, "tab", 1) is True
    else:
        assert told(clients, "tab", 1) == OUTCOME_UNKNOWN
    assert told(clients, "tab", gap) == (True if gap == 1 else "rejected")


def test_so_many_applied_in_a_row_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_entries, "MAX_RUN", 5)
    clients: Clients = {}
    for id in range(1, 9):
        clients = after(clients, Attempt("tab", id, {}))
    answers = [told(clients, "tab", id) for id in range(1, 10)]
    assert answers == [OUTCOME_UNKNOWN] * 3 + [True] * 5 + [False]


def test_of_many_refusals_the_codes_of_the_newest_are_kept() -> None:
    count = MAX_REFUSALS + 40
    codes = dict.fromkeys(range(1, count + 1), "not_so")
    clients = after({}, Attempt("tab", count + 1, codes))
    answers = [told(clients, "tab", id) for id in range(1, count + 2)]
    assert answers == ["rejected"] * 40 + ["not_so"] * MAX_REFUSALS + [True]


# Participants and tabs, few enough that they meet.
actors = st.tuples(st.sampled_from(["ann", "bob", "x" * 64]), st.integers(1, 30))


@given(
    steps=st.lists(
        st.tuples(actors, st.integers(1, 3), st.integers(0, 12), st.integers(0, 400)),
        max_size=60,
    ),
    is_shared=st.booleans(),
)
def test_entries_are_bounded_and_what_is_dropped_never_runs_again(
    steps: list[tuple[tuple[str, int], int, int, int]], is_shared: bool
) -> None:
    clients: Clients = {}
    now = NOW
    sent: dict[str, int] = {}
    applied: dict[str, dict[int, float]] = {}
    for (person, tab), skipped, refused, passed in steps:
        name = f"{person}/{tab:016}" if is_shared else f"{tab:016}"
        now += passed
        low = sent.get(name, 0)
        id = sent[name] = low + skipped + refused
        codes = {low + each: "a_code" * 3 for each in range(1, refused + 1)}
        clients = after(clients, Attempt(name, id, codes), now=now)
        applied.setdefault(name, {})[id] = now
        for owner in {each.rpartition("/")[0] for each in clients}:
            entries = {
                each: entry
                for each, entry in clients.items()
                if each.rpartition("/")[0] == owner
            }
            # Three bytes are the header of a map.
            limit = SHARED_BYTES if is_shared else OWN_BYTES
            assert len(_encode(_as_written(entries))) <= limit + 3
        assert told(clients, name, id) is True
        for other, ids in applied.items():
            for each, at in ids.items():
                if now - at < CLIENT_MEMORY / 2:
                    assert told(clients, other, each) in (True, OUTCOME_UNKNOWN)
                    assert told(clients, other, each - 1) is not False


def _as_written(clients: Clients) -> Clients:
    # Times are whole seconds where they are written.
    return {name: entry._replace(at=int(entry.at)) for name, entry in clients.items()}


def test_one_person_who_makes_up_clients_costs_nobody_else_an_entry() -> None:
    clients: Clients = {}
    for person in range(50):
        for tab in range(8):
            name = f"p{person}/{tab:016}"
            clients = after(clients, Attempt(name, 2, {1: "not_so"}))
    honest = dict(clients)
    for id in range(1, 1_000):
        spoiler = Attempt(f"eve/{id:x}{'z' * 50}", 1 + id % 3, {})
        clients = after(clients, spoiler, now=NOW + id / 100)
    assert honest.items() <= clients.items()
    left = clients.keys() - honest.keys()
    assert len(_encode({name: clients[name] for name in left})) <= SHARED_BYTES + 40
    # Only what the spoiler sends again is in doubt; what is new runs.
    assert told(clients, "eve/1" + "z" * 50, 1) == OUTCOME_UNKNOWN
    assert not has_run(clients, Attempt("eve/new", 1, {}))
    assert told(clients, "p7/new", 1) is False


def test_eight_tabs_of_everybody_fit_into_a_memcached_item_beside_the_states() -> None:
    people = [f"{number:064}" for number in range(Conf().max_participants)]
    clients: dict[str, ClientEntry] = {}
    for person in people:
        mine: Clients = {}
        for tab in range(8):
            mine = merged(mine, [Attempt(f"{person}/{tab:016x}", 40_000, {})], NOW)
        assert len(mine) == 8
        clients |= mine
    size = len(_encode(clients)) + Conf().max_state_bytes
    assert size <= MAX_VALUE - 4_096
    # The next one of somebody's, and the mark of what is dropped, costs only them.
    extra = Attempt(f"{people[0]}/{9:016x}", 1, {})
    full = merged(clients, [extra], NOW)
    oldest = {f"{people[0]}/{tab:016x}" for tab in (0, 1)}
    assert full.keys() >= clients.keys() - oldest
    assert told(full, f"{people[0]}/{9:016x}", 1) is True
    assert len(_encode(full)) + Conf().max_state_bytes <= MAX_VALUE - 4_096


def test_entries_of_a_release_without_bounds_are_trimmed_by_the_next_commit() -> None:
    honest = {f"p{n}/{n:016}": ClientEntry(5, {}, NOW) for n in range(30)}
    made_up = {f"eve/{n:016}": ClientEntry(1, {}, NOW) for n in range(20_000)}
    crowd = {**honest, **made_up}
    merging = merge(crowd, [Attempt("p3/" + f"{3:016}", 6, {})], NOW)
    clients = merging.clients
    assert honest.keys() <= clients.keys()
    assert len(clients) < 60
    assert set(merging.dropped) == crowd.keys() - clients.keys()
    assert told(clients, f"eve/{1:016}", 1) == OUTCOME_UNKNOWN


def test_a_record_of_more_people_than_may_be_there_keeps_the_latest() -> None:
    clients: dict[str, ClientEntry] = {
        f"{n:064}/{n:016}": ClientEntry(5, {}, NOW + n / 100) for n in range(10_000)
    }
    clients = merged(clients, [Attempt("new/1", 1, {})], NOW + 100)
    assert len(_encode(clients)) <= RECORD_BYTES + 4 * len(clients)
    assert f"{9_999:064}/{9_999:016}" in clients
    assert told(clients, f"{0:064}/{0:016}", 5) == OUTCOME_UNKNOWN
    assert told(clients, "new/1", 1) is True


@given(excess=st.integers(1, 2_000))
def test_what_has_to_go_goes_as_far_as_there_is_something(excess: int) -> None:
    clients: Clients = {}
    for tab in range(20):
        codes = dict.fromkeys(range(1, 6), "not_so")
        clients = after(clients, Attempt(f"ann/{tab}", 9, codes), now=NOW + tab)
    # One entry, and the mark of the others, stay in any case.
    size, fewer = len(_encode(clients)), reduced(clients, excess)
    assert len(_encode(fewer)) <= max(size - excess, 60)
    assert told(fewer, "ann/19", 9) is True
    assert told(fewer, "ann/0", 3) in ("not_so", "rejected", OUTCOME_UNKNOWN)


def test_an_entry_is_marked_as_used_when_a_commit_carries_it() -> None:
    clients = merged({}, [Attempt("tab", 1, {})], NOW)
    assert clients["tab"].at == NOW + 0.5
    assert merged(clients, [], NOW + CLIENT_MEMORY) == clients
    assert merged(clients, [], NOW + CLIENT_MEMORY + 1) == {}
    assert advanced(clients, Attempt("tab", 2, {}), NOW + 5).at == NOW + 5.5
