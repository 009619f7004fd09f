"""Client entries: what a record knows of actions is true."""

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
    advanced,
    has_run,
    merged,
)
from sessionstores.backends.types import CLIENT_MEMORY, RUNS, Attempt, ClientEntry

NOW = 1_700_000_000.5

encoded = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, ClientEntry]).decode

Clients = Mapping[str, ClientEntry]


def stored(clients: Clients) -> dict[str, ClientEntry]:
    """Return entries as they come back from the cache."""
    return _decode(encoded(clients))


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
        encoded(clients), type=dict[str, tuple[int, dict[int, str], float]]
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


def test_an_entry_is_marked_as_used_when_a_commit_carries_it() -> None:
    clients = merged({}, [Attempt("tab", 1, {})], NOW)
    assert clients["tab"].at == NOW + 0.5
    assert merged(clients, [], NOW + CLIENT_MEMORY) == clients
    assert merged(clients, [], NOW + CLIENT_MEMORY + 1) == {}
    assert advanced(clients, Attempt("tab", 2, {}), NOW + 5).at == NOW + 5.5
