"""A participant's page: what is shown of states, to whom, and what the log keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from sessionstores import State, StoreKey, stores
from sessionstores.admin.audit import VIEWED
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.state.declaration import registry
from tests.admin.views.test_overview import text_of
from tests.admin.views.test_session import connect, row_of
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db

ALICE = (CODE, "alice")


def views() -> list[str]:
    entries = LogEntry.objects.filter(change_message=VIEWED)
    return sorted(entry.object_repr for entry in entries)


def test_states_are_shown_without_what_is_declared_sensitive() -> None:
    fill("alice")
    response = signed_in(*ALL).get(page("participant", *ALICE))
    text = text_of(response)
    assert "queen" in text
    assert "secret of alice" not in response.content.decode()
    assert "1 value hidden" in text
    assert "schema 1" in text
    assert "ss:{K7Q2ZD}:p:alice in the cache “default”, LocMem" in text
    rev = stores.get(Board, *ALICE).peek()
    assert rev
    assert rev.rev in text


def test_without_view_state_only_what_is_not_state_is_shown() -> None:
    fill("alice")
    response = signed_in("view_dashboard", "manage_sessions").get(
        page("participant", *ALICE)
    )
    text = text_of(response)
    assert "Stored here: board." in text
    assert "queen" not in text
    assert views() == []


def test_each_opening_is_logged_and_a_refresh_is_covered_by_it() -> None:
    fill("alice", "bob")
    client = signed_in(*ALL)
    client.get(page("participant", *ALICE))
    client.get(page("participant_live", *ALICE))
    assert views() == ["K7Q2ZD:alice"]
    client.get(page("participant", *ALICE))
    client.get(page("participant_live", CODE, "bob"))
    client.get(page("participant_live", CODE, "bob"))
    assert views() == ["K7Q2ZD:alice", "K7Q2ZD:alice", "K7Q2ZD:bob"]
    client.get(page("participant", CODE, "*"))
    assert "K7Q2ZD" in views()


def test_the_sessions_own_state_has_a_page_too() -> None:
    fill("alice")
    response = signed_in(*ALL).get(page("participant", CODE, "*"))
    text = text_of(response)
    assert "The session’s own state" in text
    assert "agenda" in text
    assert " step : 2 " in text
    assert page("edit", CODE, "*", "agenda") in response.content.decode()
    assert "Remove" not in text


def test_the_neighbours_are_a_click_away() -> None:
    fill("alice", "bob", "carol")
    client = signed_in("view_dashboard")
    text = client.get(page("participant", CODE, "bob")).content.decode()
    assert f'href="{page("participant", CODE, "alice")}" rel="prev"' in text
    assert f'href="{page("participant", CODE, "carol")}" rel="next"' in text
    first = client.get(page("participant", *ALICE)).content.decode()
    assert f'href="{page("participant", CODE, "*")}" rel="prev"' in first
    last = client.get(page("participant", CODE, "carol")).content.decode()
    assert 'rel="next"' not in last


def test_connections_are_listed_with_what_they_show() -> None:
    fill("alice")
    connect("alice", 1, name="Alice")
    connect("alice", 2, leaving=True)
    text = text_of(signed_in("view_dashboard").get(page("participant", *ALICE)))
    assert "Tab reports" in text
    assert "{&quot;name&quot;: &quot;Alice&quot;}" in text
    assert "◌ Leaving" in text
    assert "1 tab, since" in text


def test_a_large_state_is_cut_and_whole_in_the_download() -> None:
    board = stores.get(Board, *ALICE)
    cards = [f"card number {number}" for number in range(9_000)]
    board.dispatch(lambda state: state.deck.extend(cards))
    client = signed_in(*ALL)
    response = client.get(page("participant", *ALICE))
    assert len(response.content) < 1_000_000
    assert "8905 more · download" in text_of(response)
    assert f'<a href="{page("download", *ALICE, "board")}" download>' in (
        response.content.decode()
    )
    file = client.get(page("download", *ALICE, "board"))
    assert file["Content-Disposition"] == (
        'attachment; filename="K7Q2ZD-alice-board.json"'
    )
    assert file["Content-Type"].startswith("application/json")
    assert json.loads(file.content)["deck"][5:] == cards


def test_downloads_and_exports_are_redacted_and_logged() -> None:
    fill("alice", "bob")
    client = signed_in(*ALL)
    file = client.get(page("download", *ALICE, "board"))
    assert "secret of alice" not in file.content.decode()
    exported = client.get(page("export", CODE)).getvalue().decode()
    assert "secret of" not in exported
    records = json.loads(exported)["records"]
    assert sorted(records) == ["*", "alice", "bob"]
    assert records["*"]["states"]["agenda"]["step"] == 2
    assert records["bob"]["states"]["board"]["deck"][0] == "ace"
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "Downloaded the state board.",
        "Exported the session.",
    ]


@pytest.fixture
def _own_states() -> Iterator[None]:
    """Let a test declare states that no other sees."""
    with registry.isolated(Board, Agenda):
        yield


def write(name: str, stored: bytes) -> None:
    """Put a stored form in place, as another version would have."""
    backend = get_backend(blocking=True)
    key = StoreKey(*ALICE)
    record: Any = run(backend.read(key))
    run(backend.commit(record, record.rev.next(), {name: stored}))


def test_a_state_that_is_not_declared_any_more_is_not_shown() -> None:
    fill("alice")
    write("bygone", b'1:{"diary":"private"}')
    client = signed_in(*ALL)
    response = client.get(page("participant", *ALICE))
    assert "No state of this name is declared any more" in text_of(response)
    assert "private" not in response.content.decode().replace("-private", "")
    assert client.get(page("download", *ALICE, "bygone")).status_code == 404
    assert "private" not in client.get(page("export", CODE)).getvalue().decode()


def test_a_state_that_cannot_be_read_says_so_beside_the_others() -> None:
    fill("alice")
    write("board", b"1:{not json")
    response = signed_in(*ALL).get(page("participant", *ALICE))
    assert response.status_code == 200
    assert "It does not fit its declaration" in text_of(response)


def test_a_state_of_a_newer_version_is_not_shown_since_it_may_hide_other_fields() -> (
    None
):
    fill("alice")
    write("board", b'7:{"diary":"private","deck":["joker"]}')
    client = signed_in(*ALL)
    response = client.get(page("participant", *ALICE))
    assert "schema 7 (declared: 1)" in text_of(response)
    assert "newer version" in text_of(response)
    assert "joker" not in response.content.decode()
    assert page("edit", *ALICE, "board") not in response.content.decode()
    assert client.get(page("download", *ALICE, "board")).status_code == 404
    assert client.get(page("edit", *ALICE, "board")).status_code == 404
    assert "joker" not in client.get(page("export", CODE)).getvalue().decode()


@pytest.mark.usefixtures("_own_states")
def test_data_of_an_older_version_are_redacted_as_the_declared_one_says() -> None:
    fill("alice")

    class Diary(State, name="diary", version=2, sensitive=("notes",)):
        notes: str = ""
        left: str = ""

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            return {"notes": data["diary"], "left": data.get("left", "")}

    client = signed_in(*ALL)
    # In the data of version 2, `diary` is not declared any more.
    for stored in (
        b'1:{"diary":"very private","left":"shown"}',
        b'2:{"diary":"very private","left":"shown"}',
    ):
        write("diary", stored)
        response = client.get(page("participant", *ALICE))
        file = client.get(page("download", *ALICE, "diary"))
        export = client.get(page("export", CODE)).getvalue()
        for content in (response.content, file.content, export):
            assert b"shown" in content
            assert b"very private" not in content
    write("diary", b'1:{"journal":"very private"}')
    response = client.get(page("participant", *ALICE))
    assert "It does not fit its declaration" in text_of(response)
    assert "very private" not in response.content.decode()
    assert client.get(page("download", *ALICE, "diary")).status_code == 404


def test_an_unknown_participant_has_a_page_that_says_so() -> None:
    fill("alice")
    response = signed_in(*ALL).get(page("participant", CODE, "nobody"))
    assert response.status_code == 404
    assert "There is no such participant" in text_of(response)
    assert stores.participants(CODE) == ["alice"]


def test_the_last_action_is_what_they_did_not_that_they_came() -> None:
    fill("alice", "bob")
    backend = get_backend(blocking=True)

    def event(at: float, kind: str, who: str, text: str = "") -> dict[str, Any]:
        return {"at": at, "kind": kind, "who": who, "text": text, "count": 1}

    events = [
        event(1.0, "changed", "alice", "board.move"),
        *(event(2.0, kind, "alice") for kind in ("resumed", "joined", "left")),
        event(3.0, "joined", "bob"),
    ]
    run(backend.note(CODE, events))
    response = signed_in("view_dashboard").get(page("session", CODE))
    did = "Put a card from wherever it lies on top of a pile"
    assert did in row_of(response, "alice")
    assert "none yet" in row_of(response, "bob")
    own = text_of(
        signed_in("view_dashboard", name="kim").get(page("participant", *ALICE))
    )
    assert f"Last action {did}" in own
    assert "Last use" in own


@pytest.mark.parametrize("keeps", [True, False])
def test_the_pages_say_until_when_a_participant_is_kept(keeps: bool) -> None:
    code = fill("alice", keep=86_400, keep_participants=keeps)
    stores.get(Board, code, "bob").snapshot()
    client = signed_in(*ALL)
    for who, is_kept in (("alice", keeps), ("bob", False)):
        text = text_of(client.get(page("participant", code, who)))
        assert ("with the session" in text) is is_kept
        assert ("5 min after the last use" in text) is not is_kept
    ends = {
        row.id: row.until - row.info.seen
        for row in client.get(page("session", code)).context["table"].rows
    }
    assert ends["bob"] == 300
    assert ends["alice"] == 300 if not keeps else ends["alice"] > 86_000


def test_what_tabs_publish_is_masked_for_those_who_may_not_see_states() -> None:
    fill("alice")
    connect("alice", email="a@example.org", password="hunter2", step=3)
    whole = signed_in(*ALL).get(page("participant", *ALICE)).content.decode()
    assert "a@example.org" in whole
    assert "hunter2" not in whole
    client = signed_in("view_dashboard", "manage_sessions", name="kim")
    for name in ("participant", "participant_live"):
        part = client.get(page(name, *ALICE)).content.decode()
        assert "a@example.org" not in part
        assert "hunter2" not in part
        assert "&quot;step&quot;: 3" in part
