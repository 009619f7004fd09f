"""Operations of staff: confirmed, run, reported and logged."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.test import Client

from sessionstores import (
    Kicked,
    State,
    StoreUnavailable,
    UnknownSession,
    action,
    event_bus,
    injected,
    stores,
)
from sessionstores.admin import LiveSessionAdmin
from sessionstores.admin.views.session import MAX_LISTED
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.state.declaration import registry
from tests.admin.views.test_overview import text_of
from tests.admin.views.test_session import connect
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db


with registry.isolated():

    class Count(State, scope="session"):
        people: int = 0

        @action
        def take(self, *, boards: Mapping[str, Board] = injected) -> None:
            self.people = len(boards)


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


def act(client: Client, name: str, *arguments: str, **body: Any) -> Any:
    """Post, confirmed; return the page that follows."""
    return client.post(page(name, *arguments), {"confirm": "yes", **body}, follow=True)


def log() -> list[tuple[str, str, int]]:
    return [
        (entry.object_repr, entry.change_message, entry.action_flag)
        for entry in LogEntry.objects.order_by("pk")
    ]


def events_of(call: Any) -> list[Any]:
    """Return what `call` publishes."""
    seen: list[Any] = []
    event_bus.bus.subscribe(seen.append, *event_bus.SESSION_EVENTS)
    try:
        call()
    finally:
        event_bus.bus.unsubscribe(seen.append)
    return seen


def test_every_operation_is_confirmed_first(client: Client) -> None:
    fill("alice", "bob")
    connect("alice")
    other = fill("carol", label="Team <day>")
    body = {"action": "end", "chosen": [CODE, other, "ZZZZZZ"]}
    response = client.post(page("act"), body)
    text = text_of(response)
    assert "End 2 sessions?" in text
    assert "3 participants, 1 online, " in text
    assert "This cannot be undone." in text
    assert "1 of those chosen was removed meanwhile." in text
    assert "Team &lt;day&gt;" in text
    assert stores.session_count() == 2
    assert log() == []


def test_sessions_are_ended_by_the_dozen(client: Client) -> None:
    codes = [fill("alice", label=f"Table {number}") for number in range(30)]
    question = client.post(page("act"), {"action": "end", "chosen": codes})
    assert "and 6 more" in text_of(question)
    # What is confirmed is all that was chosen, not just what was shown.
    hidden = re.findall(r'name="chosen" value="(\w+)"', question.content.decode())
    assert sorted(hidden) == sorted(codes)
    response = act(client, "act", action="end", chosen=hidden)
    assert "Ended 30 sessions." in text_of(response)
    assert stores.sessions() == []
    assert len(log()) == 30
    assert {(text, flag) for _code, text, flag in log()} == {
        ("Ended the session.", DELETION)
    }


def test_a_session_is_locked_unlocked_and_extended(client: Client) -> None:
    fill("alice")
    session = get_backend(blocking=True).session
    assert "Locked 1 session." in text_of(
        act(client, "session_act", CODE, action="lock")
    )
    info = run(session(CODE))
    assert info
    assert info.locked
    act(client, "session_act", CODE, action="unlock")
    response = act(client, "session_act", CODE, action="extend", minutes="90")
    assert "Extended 1 session." in text_of(response)
    question = client.post(page("session_act", CODE), {"action": "extend"})
    assert "Who only looked in is still removed when idle" in text_of(question)
    info = run(session(CODE))
    assert info
    assert not info.locked
    assert info.keep >= 5_400
    assert [text for _code, text, _flag in log()] == [
        "Locked the session.",
        "Unlocked the session.",
        "Extended the session: kept 90 minutes from then.",
    ]


@pytest.mark.parametrize("minutes", ["0", "-5", "soon", "", "999999999", "1.5"])
def test_invalid_minutes_are_asked_for_again(client: Client, minutes: str) -> None:
    fill("alice")
    response = act(client, "session_act", CODE, action="extend", minutes=minutes)
    assert "is not a number of minutes" in text_of(response)
    assert 'aria-invalid="true"' in response.content.decode()
    assert log() == []


def test_a_message_reaches_those_who_were_chosen(client: Client) -> None:
    fill("alice", "bob", "carol")
    text = "Lunch at <12>"

    def send() -> None:
        act(
            client,
            "participants_act",
            CODE,
            action="message",
            chosen=["alice", "bob"],
            text=text,
        )

    messages = [each for each in events_of(send) if isinstance(each, event_bus.Message)]
    assert [str(each.key) for each in messages] == ["K7Q2ZD:alice", "K7Q2ZD:bob"]
    assert messages[0].data == {"announcement": text}
    assert log() == [
        (f"K7Q2ZD:{name}", f"Sent a message: {text}", CHANGE)
        for name in ("alice", "bob")
    ]
    empty = act(client, "session_act", CODE, action="message", text="  ")
    assert "Write a message first." in text_of(empty)
    long = act(client, "session_act", CODE, action="message", text="x" * 2_001)
    assert "at most 2000 characters" in text_of(long)


def test_a_site_may_send_messages_in_a_form_of_its_own(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice")
    monkeypatch.setattr(
        LiveSessionAdmin, "announcement", lambda self, text: ["news", text]
    )
    sent = events_of(
        lambda: act(client, "session_act", CODE, action="message", text="hi")
    )
    data = [each.data for each in sent if isinstance(each, event_bus.Message)]
    assert data == [["news", "hi"]]


def test_participants_are_disconnected_reset_and_removed(client: Client) -> None:
    fill("alice", "bob", "carol")

    def disconnect() -> None:
        act(client, "participants_act", CODE, action="disconnect", chosen=["alice"])

    kinds = [type(each) for each in events_of(disconnect)]
    assert event_bus.Disconnection in kinds
    act(client, "participants_act", CODE, action="reset", chosen=["bob"])
    assert stores.get(Board, CODE, "bob").state.notes == ""
    assert stores.get(Board, CODE, "carol").state.notes == "secret of carol"
    response = act(
        client, "participants_act", CODE, action="remove", chosen=["alice", "carol"]
    )
    assert "Removed 2 participants." in text_of(response)
    assert stores.participants(CODE) == ["bob"]
    assert log() == [
        ("K7Q2ZD:alice", "Disconnected.", CHANGE),
        ("K7Q2ZD:bob", "Reset the state.", CHANGE),
        ("K7Q2ZD:alice", "Removed the participant.", DELETION),
        ("K7Q2ZD:carol", "Removed the participant.", DELETION),
    ]


def test_participants_are_kept_out_and_readmitted(client: Client) -> None:
    fill("alice", "bob", "carol")
    chosen = {"action": "kick", "chosen": ["alice", "bob"]}
    question = text_of(client.post(page("participants_act", CODE), chosen))
    assert "Remove 2 participants from the session?" in question
    assert "until they are readmitted" in question
    assert "This cannot be undone." in question
    assert stores.participants(CODE) == ["alice", "bob", "carol"]
    response = act(client, "participants_act", CODE, **chosen)
    assert "Removed 2 participants from the session." in text_of(response)
    assert stores.participants(CODE) == ["carol"]
    with pytest.raises(Kicked):
        stores.get(Board, CODE, "alice").snapshot()
    body = response.content.decode()
    for id in ("alice", "bob"):
        assert f'form="ss-readmit" name="chosen" value="{id}"' in body
    # Whom it does not keep out is nobody to readmit, and nothing is offered in menus.
    assert 'value="readmit">' not in body.replace('name="action" value="readmit">', "")
    chosen = {"action": "readmit", "chosen": ["alice", "carol"]}
    question = text_of(client.post(page("participants_act", CODE), chosen))
    assert "Readmit: alice?" in question
    assert "1 of those chosen was removed meanwhile." in question
    assert "This cannot be undone." not in question
    response = act(client, "participants_act", CODE, **chosen)
    assert "Readmitted 1 participant." in text_of(response)
    assert stores.get(Board, CODE, "alice").state.notes == ""
    assert 'value="alice" aria-label="Readmit alice"' not in response.content.decode()
    assert log() == [
        ("K7Q2ZD:alice", "Removed the participant from the session.", DELETION),
        ("K7Q2ZD:bob", "Removed the participant from the session.", DELETION),
        ("K7Q2ZD:alice", "Readmitted the participant.", CHANGE),
    ]


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


def test_actions_of_the_site_that_need_no_argument_are_at_hand(client: Client) -> None:
    fill("alice", "bob")
    page_text = client.get(page("session", CODE)).content.decode()
    assert 'value="run:agenda.advance"' in page_text
    # It needs to know who votes, and staff are no participants.
    assert "agenda.vote" not in page_text
    assert 'value="run:board.clear"' in page_text
    assert "board.move" not in page_text
    question = client.post(page("session_act", CODE), {"action": "run:agenda.advance"})
    assert "Run agenda.advance: K7Q2ZD?" in text_of(question)
    assert "Open the next step." in text_of(question)
    act(client, "session_act", CODE, action="run:agenda.advance")
    assert stores.get(Agenda, CODE).state.step == 3
    act(
        client,
        "participants_act",
        CODE,
        action="run:board.clear",
        chosen=["alice"],
    )
    assert log()[-1] == ("K7Q2ZD:alice", "Ran board.clear.", CHANGE)


@pytest.mark.parametrize(
    "name",
    [
        "run:board.move",
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
    assert "Locked 1 session." in text
    assert text.count("There is no session") == 5
    assert "3 more failed." in text
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
    assert f"{CODE}: the cache {reason}." in text
    assert log() == []


def test_after_an_operation_on_one_participant_their_page_is_shown(
    client: Client,
) -> None:
    fill("alice")
    body = {"confirm": "yes", "action": "reset", "chosen": "alice", "single": "yes"}
    response = client.post(page("participants_act", CODE), body)
    assert response["Location"] == page("participant", CODE, "alice")
    response = client.post(page("participants_act", CODE), {**body, "action": "remove"})
    assert response["Location"] == page("session", CODE)


def test_a_sweep_shows_first_what_it_would_remove(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice", "bob")
    later = time.time() + 301
    backend: Any = get_backend(blocking=True)
    monkeypatch.setattr(backend.store, "clock", lambda: later)
    question = text_of(client.post(page("sweep")))
    assert "At present: 2 participants" in question
    assert stores.participants(CODE) == ["alice", "bob"]
    response = act(client, "sweep")
    assert "Swept: 2 participants" in text_of(response)
    assert stores.participant_count() == 0
    assert log() == [("sessions", "Swept: 2 participants removed.", CHANGE)]


def test_the_staff_log_has_times_that_the_browser_puts_into_its_own(
    client: Client,
) -> None:
    fill("alice")
    act(client, "session_act", CODE, action="lock")
    text = client.get(page("history", CODE)).content.decode()
    when = LogEntry.objects.latest("pk").action_time
    assert f'datetime="{when.isoformat(timespec="milliseconds")}"' in text
    assert 'data-ss-time="clock"' in text


def test_staff_run_an_action_that_is_given_everybodys_states(client: Client) -> None:
    fill("alice", "bob")
    with registry.isolated(Board, Count):
        answer = client.get(page("session", CODE))
        assert 'value="run:count.take"' in answer.content.decode()
        act(client, "session_act", CODE, action="run:count.take")
        assert stores.get(Count, CODE).state.people == 2
