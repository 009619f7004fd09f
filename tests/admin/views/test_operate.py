"""Operations of staff: offered, confirmed, run, reported and logged."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.test import Client

from sessionstores import StoreUnavailable, UnknownSession, stores
from sessionstores.admin.views.session import MAX_LISTED
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from tests.admin.acting import act, asked, buttons, log, told
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


def test_every_operation_is_confirmed_first(client: Client) -> None:
    fill("alice", "bob")
    connect("alice")
    other = fill("carol", label="Team <day>")
    body = {"action": "end", "chosen": [CODE, other, "ZZZZZZ"]}
    response = client.post(page("act"), body)
    text = text_of(response)
    assert "End 2 sessions?" in text
    assert "3 participants, 1 online." in text
    assert "This cannot be undone." in text
    assert "1 of those chosen was removed meanwhile." in text
    assert "Team &lt;day&gt;" in text
    assert stores.session_count() == 2
    assert log() == []


def test_who_may_only_look_sees_who_is_kept_out_and_lets_nobody_in() -> None:
    fill("alice")
    stores.kick(CODE, "alice")
    stores.kick(CODE, "bob")
    watching = signed_in("view_dashboard", name="watcher")
    response = watching.get(page("session", CODE))
    assert "Kept out" in text_of(response)
    assert "alice" in text_of(response)
    assert 'form="ss-readmit"' not in response.content.decode()
    body = {"action": "readmit", "chosen": ["alice"], "confirm": "yes"}
    assert watching.post(page("participants_act", CODE), body).status_code == 403
    assert sorted(run(get_backend(blocking=True).kicked(CODE))) == ["alice", "bob"]
    stores.readmit(CODE, "alice")
    stores.readmit(CODE, "bob")
    assert "Kept out" not in text_of(watching.get(page("session_live", CODE)))


def test_of_many_who_are_kept_out_the_latest_are_listed(client: Client) -> None:
    fill("alice")
    for number in range(MAX_LISTED + 3):
        stores.kick(CODE, f"mallory-{number:02}")
    text = text_of(client.get(page("session", CODE)))
    assert "and 3 more" in text
    assert f"mallory-{MAX_LISTED + 2:02}" in text


@pytest.mark.parametrize(
    "name",
    [
        "run:board.deck",
        "run:board.dispatch",
        "run:nothing.clear",
        "run:agenda.advance",
        "end",
        "explode",
        "",
    ],
)
def test_what_is_not_offered_is_not_done(client: Client, name: str) -> None:
    fill("alice")
    before = stores.get(Board, CODE, "alice").peek()
    response = act(client, "participants_act", CODE, action=name, chosen=["alice"])
    assert "Choose an action first." in text_of(response)
    assert stores.get(Board, CODE, "alice").peek() == before
    assert stores.sessions() == [CODE]
    assert log() == []


def test_an_empty_or_removed_choice_is_reported(client: Client) -> None:
    fill("alice")
    nothing = act(client, "act", action="end")
    assert "Nothing was chosen" in text_of(nothing)
    odd = act(client, "act", action="end", chosen=["<x>", "K7Q2ZD:alice", "*"])
    assert "Nothing was chosen" in text_of(odd)
    own = act(client, "participants_act", CODE, action="remove", chosen=["*"])
    assert "Nothing was chosen" in text_of(own)
    removed = act(client, "participants_act", CODE, action="remove", chosen=["bob"])
    assert "What was chosen was removed meanwhile" in text_of(removed)
    assert stores.participants(CODE) == ["alice"]


def test_failures_are_reported_beside_successes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [fill("alice", label=f"Table {number}") for number in range(9)]
    lock = type(stores).lock

    def fail(self: Any, code: str) -> None:
        if code != codes[0]:
            raise UnknownSession(f"There is no session {code}.")
        lock(self, code)

    monkeypatch.setattr(type(stores), "lock", fail)
    text = text_of(act(client, "act", action="lock", chosen=codes))
    assert "Locked “Table 0”" in text
    assert text.count("There is no such session any more.") == 1
    assert "and 3 more" in text
    assert [code for code, _text, _flag in log()] == [codes[0]]


@pytest.mark.parametrize(
    ("refused", "reason"), [(False, "does not answer"), (True, "refused this")]
)
def test_a_cache_that_refuses_is_not_said_to_be_silent(
    client: Client, monkeypatch: pytest.MonkeyPatch, refused: bool, reason: str
) -> None:
    fill("alice")

    def fail(self: Any, code: str) -> None:
        raise StoreUnavailable("cache.example:6379: READONLY.", refused=refused)

    monkeypatch.setattr(type(stores), "lock", fail)
    text = text_of(act(client, "act", action="lock", chosen=[CODE]))
    assert f"{CODE}: The cache {reason}." in text
    # It may have been done: whoever looks for what happened finds it.
    tried = "Lock: not known whether it was done, as the cache did not answer."
    assert log() == ([] if refused else [(CODE, tried, CHANGE)])


def test_after_an_operation_on_one_participant_their_page_is_shown(
    client: Client,
) -> None:
    fill("alice")
    body = {"confirm": "yes", "action": "reset", "chosen": "alice", "single": "yes"}
    response = client.post(page("participants_act", CODE), body)
    assert response["Location"] == page("participant", CODE, "alice")
    response = client.post(page("participants_act", CODE), {**body, "action": "remove"})
    assert response["Location"] == page("session", CODE)


def test_the_staff_log_has_times_that_the_browser_puts_into_its_own(
    client: Client,
) -> None:
    fill("alice")
    act(client, "session_act", CODE, action="lock")
    text = client.get(page("history", CODE)).content.decode()
    when = LogEntry.objects.latest("pk").action_time
    assert f'datetime="{when.isoformat(timespec="milliseconds")}"' in text
    assert 'data-ss-time="clock"' in text


def test_the_usual_operations_are_buttons_and_the_others_are_in_a_menu(
    client: Client,
) -> None:
    fill("alice")
    html = client.get(page("session", CODE)).content.decode()
    operations = html.partition('<div id="ss-operations">')[2].partition("</form>")[0]
    at_hand, _more, menu = operations.partition("<details")
    assert list(buttons(at_hand)) == [
        "run:agenda.advance",
        "message",
        "extend",
        "lock",
    ]
    assert list(buttons(menu)) == [
        "everybody:board.clear",
        "everybody:board.move",
        "everybody:board.note",
        "disconnect",
        "end",
    ]
    heads = re.findall(r'class="ss-others-head">(.*?)</p>', menu)
    assert heads[-1] == "Cannot be undone"


def test_one_participant_has_more_operations_than_several(client: Client) -> None:
    fill("alice")
    one = client.get(page("participant", CODE, "alice")).content.decode()
    several = client.get(page("session", CODE)).content.decode()
    assert "name" in buttons(one)
    chosen = re.findall(r'<option value="([\w:.]+)">', several)
    assert {"message", "role", "disconnect", "reset", "remove", "kick"} <= {*chosen}
    assert "run:board.clear" in chosen
    assert "name" not in chosen


def test_more_people_are_confirmed_than_a_form_may_have_fields(
    client: Client, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    people = [f"p{number:02}" for number in range(30)]
    fill(*people)
    html = client.post(
        page("session_act", CODE), {"action": "everybody:board.clear"}
    ).content.decode()
    assert "and 6 more" in html
    (chosen,) = re.findall(r'name="chosen" value="([^"]*)"', html)
    assert chosen.split() == people
    body = {"action": "run:board.clear", "chosen": chosen}
    (said,) = told(act(client, "participants_act", CODE, **body))
    assert said.startswith("30 people (p00, p01, p02, p03, p04 and 25 more): ")


@pytest.mark.parametrize(
    ("action", "focused"),
    [
        ("message", "textarea"),
        ("extend", "input"),
        ("lock", "button"),
        ("end", "a"),
        ("run:agenda.advance", "button"),
    ],
)
def test_a_confirmation_has_the_focus_where_the_next_key_belongs(
    client: Client, action: str, focused: str
) -> None:
    fill("alice")
    response = client.post(page("session_act", CODE), {"action": action})
    html = response.content.decode()
    assert re.findall(r"<(\w+)[^>]*\sautofocus", html) == [focused]
    # What cannot be undone takes one key more: the way back comes first.
    form = html.partition('class="ss-card ss-ask')[2]
    cancel, strong = form.index(">Cancel<"), form.index("ss-button-strong")
    assert (cancel < strong) is (action == "end")


def test_a_field_that_does_not_fit_has_the_focus(client: Client) -> None:
    fill("alice")
    response = act(
        client,
        "participants_act",
        CODE,
        action="run:board.move",
        chosen="alice",
        **{"of-card": "ace"},
    )
    html = response.content.decode()
    assert re.findall(r'name="([\w-]+)"[^>]*\sautofocus', html) == ["of-pile"]
    assert 'value="ace"' in html


def test_a_session_is_named_by_its_label_and_its_code(client: Client) -> None:
    code = fill("alice", label="Team <day>")
    text = asked(client, "session_act", code, action="lock")
    assert f"Lock “Team <day>” ({code})?" in text
    assert told(act(client, "session_act", code, action="lock")) == [
        f"Locked “Team <day>” ({code}). People already in can carry on."
    ]
