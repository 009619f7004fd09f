"""A session's page: its people, its timeline, its isolation, its end."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from sessionstores import StoreKey, stores
from sessionstores.admin.audit import log
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from tests.admin.views.test_overview import codes, text_of
from tests.staff import ALL, CODE, fill, member, page, signed_in
from tests.staff import connect as connect
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db


def row_of(response: Any, id: str) -> str:
    found = re.search(
        rf'<tr data-ss-key="{id}">(.*?)</tr>', response.content.decode(), re.DOTALL
    )
    assert found
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[1]))


def test_people_and_tabs_are_counted_apart_and_presence_is_in_words() -> None:
    fill("alice", "bob", "carol", "dora")
    connect("alice", 1, name="Alice <b>", step=2)
    connect("alice", 2)
    connect("bob", leaving=True)
    connect("dora", away=True)
    response = signed_in("view_dashboard").get(page("session", CODE))
    text = text_of(response)
    assert "People online ● 2 of 4 3 tabs" in text
    assert "● Online 2 tabs 2 none yet" in row_of(response, "alice")
    assert "Alice &lt;b&gt;" in row_of(response, "alice")
    assert "◌ Leaving – none yet" in row_of(response, "bob")
    assert "◑ Away – none yet" in row_of(response, "dora")
    assert "○ Offline – none yet" in row_of(response, "carol")
    assert "<b>" not in row_of(response, "alice")


def test_people_have_the_name_and_role_of_their_records_online_or_not() -> None:
    fill("alice", "bob", "carol")
    connect("alice", name="from a tab")
    stores.set_name(CODE, "alice", "Zoë <b>")
    stores.set_role(CODE, "alice", "facilitator")
    stores.set_role(CODE, "bob", "facilitator")
    stores.set_role(CODE, "carol", "participant")
    client = signed_in("view_dashboard")
    response = client.get(page("session", CODE))
    alice = row_of(response, "alice")
    assert alice.startswith(" Zoë &lt;b&gt; · facilitator ● Online")
    assert "from a tab" not in alice
    # An id stands only where there is no name.
    assert "alice" not in alice
    assert "bob · facilitator" in row_of(response, "bob")
    assert "participant" not in row_of(response, "carol")
    assert codes(client.get(page("session", CODE), {"q": "zoë"})) == ["alice"]
    assert codes(client.get(page("session", CODE), {"q": "facil"})) == ["alice", "bob"]
    own = client.get(page("participant", CODE, "alice"))
    assert "Zoë &lt;b&gt; · facilitator" in own.content.decode()
    assert (
        "<h1><bdi>carol</bdi> <span"
        in client.get(page("participant", CODE, "carol")).content.decode()
    )


def test_the_buttons_of_two_people_of_one_name_can_be_told_apart() -> None:
    fill("alice", "bob", "carol")
    for id, name in (("alice", "Sam"), ("bob", "Sam"), ("carol", "Cy")):
        stores.set_name(CODE, id, name)
    html = signed_in(*ALL).get(page("session", CODE)).content.decode()
    labels = re.findall(r'aria-label="((?:Remove|Tick) [^"]+)"', html)
    assert sorted(labels) == [
        "Remove Cy",
        "Remove Sam (alice)",
        "Remove Sam (bob)",
        "Tick Cy",
        "Tick Sam (alice)",
        "Tick Sam (bob)",
        "Tick all rows on this page",
    ]


def test_people_are_searched_by_id_and_name_and_filtered_by_presence() -> None:
    fill("alice", "bob", "carol")
    connect("alice", name="Zoë")
    client = signed_in("view_dashboard")
    base = page("session", CODE)
    assert codes(client.get(base, {"q": "zoë"})) == ["alice"]
    assert codes(client.get(base, {"q": "BO"})) == ["bob"]
    assert codes(client.get(base, {"show": "online"})) == ["alice"]
    assert codes(client.get(base, {"show": "offline"})) == ["bob", "carol"]
    assert codes(client.get(base, {"o": "presence"})) == ["alice", "bob", "carol"]
    assert codes(client.get(base, {"o": "person"})) == ["bob", "carol", "alice"]
    assert "No participants match." in text_of(client.get(base, {"q": "nobody"}))


def test_a_search_and_a_filter_say_how_many_they_have_found() -> None:
    fill("alice", "bob", "carol")
    connect("alice", step="2")
    connect("bob", step="2")
    client = signed_in(*ALL)
    for query, said in (
        ({"q": "ALI"}, "1 of 3 participants matches “ALI” · Show all"),
        ({"q": "o"}, "2 of 3 participants match “o” · Show all"),
        ({"q": "zoe"}, "0 of 3 participants match “zoe” · Show all"),
        ({"show": "step:2"}, "2 of 3 participants · Step 2 · Show all"),
        ({"show": "offline"}, "1 of 3 participants · Offline · Show all"),
    ):
        assert said in text_of(client.get(page("session", CODE), query)), query
    response = client.get(page("session", CODE))
    assert "ss-found" not in response.content.decode()


def test_what_tabs_show_of_themselves_is_shortened_and_may_be_anything() -> None:
    fill("alice", "bob")
    connect("alice", name="x" * 200, step=[1])
    connect("bob", name=None, step=True)
    response = signed_in("view_dashboard").get(page("session", CODE))
    assert "x" * 39 + "…" in row_of(response, "alice")
    assert "x" * 41 not in row_of(response, "alice")
    assert 'class="ss-c-step' not in response.content.decode()


def test_the_timeline_tells_what_happened_the_latest_first() -> None:
    fill("alice")
    note = get_backend(blocking=True).note
    events = [
        {"at": 100.0, "kind": "joined", "who": "alice", "text": "", "count": 1},
        {"at": 200.0, "kind": "changed", "who": "alice", "text": "move", "count": 4},
        {"at": 300.0, "kind": "removed", "who": "bob", "text": "idle", "count": 1},
        {"at": 400.0, "kind": "extended", "who": "*", "text": "3600", "count": 1},
        {"at": 500.0, "kind": "novel", "who": "<i>", "text": "y" * 300, "count": 1},
    ]
    run(note(CODE, events))
    response = signed_in("view_dashboard").get(page("session", CODE))
    text = text_of(response)
    places = [
        text.index(words)
        for words in (
            "&lt;i&gt; novel " + "y" * 79 + "…",
            "session extended 3600",
            "bob removed idle",
            "alice changed move ×4",
            "alice joined",
        )
    ]
    assert places == sorted(places)
    assert "changed move" in row_of(response, "alice")


def test_isolation_holds_and_would_be_seen_to_be_broken() -> None:
    fill("alice", "bob")
    connect("alice")
    client = signed_in("view_dashboard")
    assert "✓ Isolation OK · 3 checks" in text_of(client.get(page("session", CODE)))
    astray = connect("bob")._replace(
        connection="z", follows=frozenset({"alice"}), key=StoreKey(CODE, "bob")
    )
    run(get_backend(blocking=True).lease([astray]))
    text = text_of(client.get(page("session", CODE)))
    assert "✕ Isolation broken" in text
    assert "bob" in text


def test_a_locked_session_says_so_and_offers_to_unlock_it() -> None:
    fill("alice")
    client = signed_in(*ALL)
    stores.lock(CODE)
    response = client.get(page("session", CODE))
    assert "Joining ▣ locked" in text_of(response)
    assert 'value="unlock"' in response.content.decode()
    assert 'value="lock"' not in response.content.decode()
    # So does a page that was already open.
    part = client.get(page("session_live", CODE)).content.decode()
    assert 'value="unlock"' in part
    assert 'value="lock"' not in part


def test_a_page_offers_what_its_reader_may_do_now() -> None:
    fill("alice")
    client = signed_in("view_dashboard", "view_state", "manage_sessions")
    address = page("session_live", CODE)
    assert 'value="end"' in client.get(address).content.decode()
    member("view_dashboard", name="kim")
    kim = Client()
    kim.force_login(User.objects.get(username="kim"))
    for response in (kim.get(address), kim.get(page("session", CODE))):
        html = response.content.decode()
        assert 'name="action"' not in html
        assert ".export" not in html
        assert 'type="checkbox"' not in html


def test_a_confirmation_names_its_session_and_links_back() -> None:
    fill("alice", "bob")
    client = signed_in(*ALL)
    one = client.post(page("session_act", CODE), {"action": "end"})
    assert f"End {CODE}?" in text_of(one)
    several = {"action": "reset", "chosen": ["alice", "bob"]}
    for chosen in (several, {**several, "chosen": "alice"}):
        asked = client.post(page("participants_act", CODE), chosen)
        html = asked.content.decode()
        assert f'<a href="{page("session", CODE)}">{CODE}</a>' in html
    assert "Reset alice?" in text_of(asked)
    assert client.get(page("participant", CODE, "nobody")).status_code == 404


def test_an_ended_session_and_an_unknown_one_have_pages_of_their_own() -> None:
    fill("alice")
    stores.end_session(CODE)
    client = signed_in(*ALL)
    for address in (page("session", CODE), page("participant", CODE, "alice")):
        response = client.get(address)
        assert response.status_code == 404
        assert "This session is over" in text_of(response)
    response = client.get(page("session", "ZZZZZZ"))
    assert response.status_code == 404
    text = text_of(response)
    assert "There is no such session in this process" in text
    assert "sessions of other processes cannot be seen from here" in text
    assert f"process {os.getpid()} answers here" in text
    # A page that was open when it ended shows the same in its place, and no more.
    part = client.get(page("session_live", CODE))
    assert part.status_code == 200
    assert "This session is over" in text_of(part)
    for name in ("export", "operations", "menu", "table", "timeline"):
        assert f'<div data-ss-part="ss-{name}"></div>' in part.content.decode()


def test_an_empty_session_shows_how_people_come_in() -> None:
    code = fill(label="Team day")
    text = text_of(signed_in("view_dashboard").get(page("session", code)))
    assert "Nobody has joined yet" in text
    assert "Team day" in text
    # The symbol agrees with the word.
    assert "○ 0 of 0 0 tabs" in text
    assert "Joining open" in text


@override_settings(SESSIONSTORES={"MAX_PARTICIPANTS": 2_000})
def test_a_session_of_two_thousand_is_paged() -> None:
    fill(*(f"p{number:04}" for number in range(2_000)))
    response = signed_in("view_dashboard").get(page("session", CODE), {"p": "2"})
    assert codes(response)[0] == "p0050"
    # Nobody knows the steps of all, so they cannot be sorted by them.
    assert "o=step" not in response.content.decode()
    assert len(codes(response)) == 50
    assert "51–100 of 2,000" in text_of(response)


def test_the_staff_log_shows_operations_and_views() -> None:
    fill("alice")
    client = signed_in(*ALL)
    assert "No member of staff" in text_of(client.get(page("history", CODE)))
    client.get(page("participant", CODE, "alice"))
    client.post(page("session_act", CODE), {"action": "lock", "confirm": "yes"})
    other = fill("zoe", label="Another")
    client.get(page("participant", other, "zoe"))
    text = text_of(client.get(page("history", CODE)))
    assert "mia the session Locked the session." in text
    assert "mia alice Viewed the state." in text
    assert "zoe" not in text
    assert "The latest" not in text
    log(User.objects.get().pk, [CODE] * 100, "Looked.")
    text = text_of(client.get(page("history", CODE)))
    assert "The latest 100 entries" in text


def test_names_of_participants_are_escaped_wherever_they_stand() -> None:
    # No id can hold markup; what tabs show of themselves can.
    fill("alice")
    connect("alice", name='"><script>x</script>', step="<img src=x>")
    for name, arguments in (
        ("session", (CODE,)),
        ("participant", (CODE, "alice")),
    ):
        client = signed_in(*ALL, name=name)
        text = client.get(page(name, *arguments)).content.decode()
        assert "<script>x" not in text
        assert "<img src=x" not in text


def test_members_are_made_with_just_what_they_are_given() -> None:
    assert member("view_state", name="kim").has_perm("sessionstores.view_state")
    assert stores.get(Board, CODE, "nobody").peek() is None
