"""The benchmarks' crowd: what its tabs show, and what it counts on a real server."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.contest import tokens
from benchmarks.crowd_kinds import KINDS, Frame, Shown
from benchmarks.servers import crowding, serving

REVS = [f"7f3a.{number}-0b77e2d1" for number in range(1, 5)]
PATCHES = [
    Frame(
        base=base,
        rev=rev,
        ops=[{"op": "add", "path": f"/votes/p{place}", "value": place}],
    )
    for place, (base, rev) in enumerate(itertools.pairwise(REVS))
]


def shown() -> Shown:
    tab = Shown()
    tab.take(Frame(rev=REVS[0], state={"votes": {}}), 1.0)
    return tab


@pytest.mark.parametrize("order", list(itertools.permutations(range(len(PATCHES)))))
def test_a_tab_of_the_crowd_shows_changes_in_any_order(order: tuple[int, ...]) -> None:
    tab = shown()
    for at, place in enumerate(order, 2):
        tab.take(PATCHES[place], at)
        tab.take(PATCHES[place], at)
    assert (tab.state, tab.rev) == ({"votes": {"p0": 0, "p1": 1, "p2": 2}}, REVS[-1])
    assert tab.at == 1 + len(order)
    assert not tab.held


def test_a_tab_of_the_crowd_that_misses_a_change_shows_none_after_it() -> None:
    tab = shown()
    tab.take(PATCHES[0], 2.0)
    tab.take(PATCHES[2], 3.0)
    assert (tab.state, tab.rev, tab.at) == ({"votes": {"p0": 0}}, REVS[1], 2.0)
    assert tab.held
    tab.take(Frame(rev=REVS[-1], state={"votes": {}}), 4.0)
    assert (tab.state, tab.rev, tab.at) == ({"votes": {}}, REVS[-1], 4.0)
    assert not tab.held


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_answer_counts_only_if_it_says_that_the_action_is_in(kind: str) -> None:
    answers = {
        "ours": [
            b'{"type":"ack","id":1,"doc":"session","base":"7f3a.1-0b77e2d1",'
            b'"rev":"7f3a.2-0b77e2d1","ops":[],"result":null}',
            b'{"type":"reject","id":1,"code":"conflict","message":"Again."}',
        ],
        "naive": [b'{"type": "ack", "id": 1}', b'{"type": "state", "state": {}}'],
        "socketio": [b'431[{"rev":2,"ops":[]}]', b'42["patch",{"rev":2,"ops":[]}]'],
    }[kind]
    parsed = [KINDS[kind].parse(answer).answer for answer in answers]
    assert parsed == ["ack", "conflict" if kind == "ours" else None]


@pytest.mark.parametrize("kind", ["ours", "naive"])
def test_a_crowd_acts_and_is_sent_a_change(kind: str) -> None:
    app = "crowd_apps:sessionstores" if kind == "ours" else "crowd_apps:naive"
    signed = tokens(3, session="CROWD1")
    with serving(app) as server, crowding(kind, "CROWD1", [server], signed) as crowd:
        came = crowd.tell("act", 7)
        assert came["codes"] == {"ack": came["acked"]} == {"ack": 3}
        assert came["refused"] == 0
        assert 0 < came["p50"] <= came["p99"]
        # The naive way may lose a vote, or show two tabs two orders of them.
        if kind == "ours":
            assert came["lost"] == came["behind"] == 0
            assert came["p99"] <= came["level"]
            assert 1 <= came["commits"] <= 3
        assert len(crowd.tell("change", 1_000_000, 2)["seconds"]) == 2
