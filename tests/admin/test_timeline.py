"""The timeline in words: like things together, deeds by their docstring, by person."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores import stores
from sessionstores.admin.timeline import deed_of, describe
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from tests.admin.views.test_overview import text_of
from tests.staff import CODE, fill, page, signed_in
from tests.workshop.states import Agenda, Board

DECLARED = (Board, Agenda)


def event(at: float, who: str, text: str = "", **changes: Any) -> dict[str, Any]:
    given = {"at": at, "kind": "changed", "who": who, "text": text, "count": 1}
    return {**given, **changes}


def test_only_the_same_action_of_the_same_person_in_a_row_is_one_entry() -> None:
    entries = describe(
        [
            event(1.0, "alice", "board.move", count=2),
            event(2.0, "alice", "board.move"),
            event(3.0, "alice", "board.clear"),
            event(4.0, "bob", "board.clear"),
            event(5.0, "bob", "board.clear"),
            event(6.0, "alice", "board.clear"),
        ]
    )
    assert [(each.who, each.text, each.times, each.at) for each in entries] == [
        ("alice", "board.clear", 1, 6.0),
        ("bob", "board.clear", 2, 5.0),
        ("alice", "board.clear", 1, 3.0),
        ("alice", "board.move", 3, 2.0),
    ]
    # An entry that grows is the same one for a page that refreshes itself.
    grown = describe(
        [event(1.0, "alice", "board.move"), event(2.0, "alice", "board.move")]
    )
    assert [each.key for each in grown] == [entries[-1].key]


@pytest.mark.parametrize(
    ("text", "deed"),
    [
        ("board.move", "Put a card from wherever it lies on top of a pile"),
        ("agenda.vote", "Vote for a card"),
        ("agenda.advance", "Open the next step"),
        ("board.deck", ""),
        ("board.no_such", ""),
        ("nothing.move", ""),
        ("board", ""),
        ("", ""),
    ],
)
def test_an_action_is_told_by_the_first_clause_of_its_docstring(
    text: str, deed: str
) -> None:
    assert deed_of(text) == deed


@pytest.mark.django_db
def test_the_timeline_has_names_and_can_be_that_of_one_person() -> None:
    fill("alice", "bob")
    stores.set_name(CODE, "alice", "Zoë <b>")
    events = [
        event(1.0, "alice", "board.move"),
        event(2.0, "bob", "board.clear"),
        event(3.0, "gone", "idle", kind="removed"),
        event(4.0, "*", "agenda.advance"),
    ]
    run(get_backend(blocking=True).note(CODE, events))
    client = signed_in("view_dashboard")
    whole = client.get(page("session", CODE), {"show": "offline"})
    html = whole.content.decode().partition('id="ss-timeline"')[2]
    assert "Zoë &lt;b&gt;</bdi></a>" in html
    assert 'href="?show=offline&amp;who=alice#ss-timeline-title"' in html
    assert 'href="?show=offline&amp;who=gone#ss-timeline-title"' in html
    # It scrolls, so the keyboard has to reach it.
    assert 'class="ss-timeline ss-brief" role="group" tabindex="0"' in html
    only = client.get(page("session", CODE), {"who": "alice"})
    part = text_of(only).rpartition("Timeline")[2]
    assert "Only Zoë &lt;b&gt; · Show everybody" in part
    assert "Take every card" not in part
    nobody = text_of(client.get(page("session", CODE), {"who": '"><script>'}))
    assert "Nothing has happened yet." in nobody
    own = text_of(client.get(page("participant", CODE, "bob")))
    assert "Take every card back into the deck" in own
    assert "Open the next step" not in own


@pytest.mark.django_db
def test_where_there_is_little_room_the_rest_is_a_link_away() -> None:
    fill("alice", "bob")
    events = [event(float(n), ("alice", "bob")[n % 2], "board.move") for n in range(20)]
    run(get_backend(blocking=True).note(CODE, events))
    client = signed_in("view_dashboard")
    text = text_of(client.get(page("session", CODE)))
    assert "Show all 20 entries" in text
    whole = client.get(page("session", CODE), {"timeline": "all"}).content.decode()
    assert "ss-brief" not in whole
    assert "Show all 20 entries" not in whole
