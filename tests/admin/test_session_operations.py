"""Operations on sessions: what they ask, do, say and log."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import DELETION
from django.test import Client, override_settings

from sessionstores import event_bus, stores
from sessionstores.admin import LiveSessionAdmin
from sessionstores.admin.session_operations import MAX_MINUTES
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import SessionInfo
from sessionstores.realtime.publisher import Publisher
from tests.admin.acting import act, asked, events_of, log, log_texts, on_session, told
from tests.staff import ALL, CODE, connect, fill, page, signed_in

pytestmark = pytest.mark.django_db

CLOCK = r"\d\d:\d\d"


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


def info(code: str = CODE) -> SessionInfo:
    found = run(get_backend(blocking=True).session(code))
    assert found
    return found


def test_a_message_says_how_many_people_and_tabs_it_reached_and_who_missed_it(
    client: Client,
) -> None:
    fill("alice", "bob", "carol")
    stores.set_name(CODE, "carol", "Carol <3")
    connect("alice")
    connect("alice", 1)
    connect("bob")
    connect("bob", 1, leaving=True)
    text = asked(client, "session_act", CODE, action="message")
    assert f"Send a message to {CODE}?" in text
    assert "2 people, 3 tabs get it at once." in text
    assert "Who is away misses it: Carol <3." in text
    assert on_session(client, "message", text="Lunch") == [
        "Sent to 2 people, 3 tabs.",
        "Away, and not reached: Carol <3.",
    ]
    assert log_texts() == ["Sent a message to 2 people, 3 tabs: Lunch"]


@pytest.mark.parametrize("action", ["message", "disconnect"])
def test_nobody_is_said_to_be_reached_while_the_channel_layer_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(Publisher, "is_cut_off", True)
    fill("alice")
    connect("alice")
    assert on_session(client, action, text="Lunch") == [
        "The channel layer takes no messages now. Whoever is connected to another "
        "process than this one may not have been reached. Try again later."
    ]
    (text,) = log_texts()
    assert text.endswith("took no messages: other processes may not be reached.")


def test_a_message_to_nobody_is_not_said_to_be_sent(client: Client) -> None:
    fill("alice")
    text = asked(client, "session_act", CODE, action="message")
    assert "Nobody has a tab open now: nobody would get it." in text
    said = on_session(client, "message", text="Lunch")
    assert said == ["Nobody has a tab open: nobody got the message."]
    assert log_texts() == ["Sent a message, which nobody got: Lunch"]


def test_a_message_to_several_sessions_counts_their_people(client: Client) -> None:
    fill("alice", "bob")
    connect("alice")
    other = fill("carol", label="Team day")
    body = {"action": "message", "chosen": [CODE, other], "text": "Lunch"}
    assert told(act(client, "act", **body)) == ["Sent to 1 person, 1 tab."]
    assert sorted(log_texts()) == [
        "Sent a message to 1 person, 1 tab: Lunch",
        "Sent a message, which nobody got: Lunch",
    ]


def test_a_message_needs_a_text_that_is_not_too_long(client: Client) -> None:
    fill("alice")
    empty = act(client, "session_act", CODE, action="message", text="  ")
    assert "Write a message first." in empty.content.decode()
    long = act(client, "session_act", CODE, action="message", text="x" * 2_001)
    assert "at most 2000 characters" in long.content.decode()
    assert "x" * 2_001 in long.content.decode()
    assert log() == []


def test_a_site_may_send_messages_in_a_form_of_its_own(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice")
    monkeypatch.setattr(
        LiveSessionAdmin, "announcement", lambda self, text: ["news", text]
    )
    sent = events_of(lambda: on_session(client, "message", text="hi"))
    data = [each.data for each in sent if isinstance(each, event_bus.Message)]
    assert data == [["news", "hi"]]


def test_a_session_is_kept_longer_and_until_when_is_said(client: Client) -> None:
    fill("alice")
    question = asked(client, "session_act", CODE, action="extend")
    assert "Now it is removed once everybody in it has been idle for long." in question
    assert "Who only looked in is still removed when idle." in question
    (said,) = on_session(client, "extend", minutes="90")
    assert re.fullmatch(rf"{CODE} is kept until .*{CLOCK}.*\.", said)
    assert 5_400 <= info().keep < 5_500
    question = asked(client, "session_act", CODE, action="extend")
    assert re.search(rf"It is kept until .*{CLOCK}.* now\.", question)
    assert re.fullmatch(rf"Kept until \d{{4}}-\d\d-\d\d {CLOCK} UTC\.", log_texts()[0])


def test_a_session_that_is_kept_longer_already_is_said_not_to_have_changed(
    client: Client,
) -> None:
    fill("alice")
    stores.extend(CODE, 7_200)
    before = info().keep
    response = act(client, "session_act", CODE, action="extend", minutes="30")
    (said,) = told(response)
    assert re.fullmatch(rf"Already kept until .*{CLOCK}.*: nothing changed\.", said)
    # In the visitor's time, as on the rest of the page.
    assert 'data-ss-time="until"' in response.content.decode()
    assert info().keep == before
    assert re.fullmatch(
        rf"Already kept until \S+ {CLOCK} UTC: nothing changed\.", log_texts()[0]
    )


def test_of_several_sessions_those_that_were_kept_longer_are_counted_apart(
    client: Client,
) -> None:
    codes = [fill(label=f"Table {number}") for number in range(3)]
    stores.extend(codes[0], 7_200)
    first, second = told(act(client, "act", action="extend", chosen=codes, minutes="5"))
    assert re.fullmatch(r"2 sessions are kept until .*\.", first)
    assert re.fullmatch(r"Already kept until .*: nothing changed\.", second)


@pytest.mark.parametrize(
    "minutes", ["0", "-5", "soon", "", "999999999", "1.5", "9" * 5_000]
)
def test_invalid_minutes_are_asked_for_again(client: Client, minutes: str) -> None:
    fill("alice")
    response = act(client, "session_act", CODE, action="extend", minutes=minutes)
    html = response.content.decode()
    assert f"Give a number of minutes from 1 to {MAX_MINUTES}." in html
    assert 'aria-invalid="true"' in html
    assert f'value="{minutes}"' in html or not minutes
    assert log() == []


def test_a_session_is_locked_and_unlocked_and_a_second_time_changes_nothing(
    client: Client,
) -> None:
    fill("alice")
    question = asked(client, "session_act", CODE, action="lock")
    assert f"Lock {CODE}?" in question
    assert "People already in can carry on." in question
    locked = f"Locked {CODE}. People already in can carry on."
    assert on_session(client, "lock") == [locked]
    assert info().locked
    already = f"{CODE} was locked already: nothing changed."
    assert events_of(lambda: on_session(client, "lock")) == []
    assert on_session(client, "lock") == [already]
    assert on_session(client, "unlock") == [f"Unlocked {CODE}. People can join again."]
    assert not info().locked
    assert on_session(client, "unlock") == [f"{CODE} was not locked: nothing changed."]
    assert log_texts() == [
        "Locked the session.",
        "Already locked: nothing changed.",
        "Already locked: nothing changed.",
        "Unlocked the session.",
        "Already unlocked: nothing changed.",
    ]


def test_everybody_is_disconnected_and_counted(client: Client) -> None:
    fill("alice", "bob")
    connect("alice")
    connect("alice", 1)
    question = asked(client, "session_act", CODE, action="disconnect")
    assert "It concerns 1 person, 2 tabs." in question
    assert on_session(client, "disconnect") == ["Disconnected 1 person, 2 tabs."]
    assert log_texts() == ["Disconnected 1 person, 2 tabs."]


def test_where_nobody_is_connected_nothing_is_said_to_have_happened(
    client: Client,
) -> None:
    fill("alice")
    said = on_session(client, "disconnect")
    assert said == ["Nobody had a tab open: nothing changed."]


def test_a_session_that_is_ended_is_named(client: Client) -> None:
    code = fill("alice", label="Team day")
    question = asked(client, "session_act", code, action="end")
    assert f"End “Team day” ({code})?" in question
    assert "This cannot be undone." in question
    response = act(client, "session_act", code, action="end")
    assert told(response) == [f"Ended “Team day” ({code})."]
    assert log() == [(code, f"Ended “Team day” ({code}).", DELETION)]


@override_settings(LANGUAGE_CODE="de")
def test_a_session_is_named_with_the_quotes_of_the_language_and_logged_in_english(
    client: Client,
) -> None:
    code = fill("alice", label="Team day")
    response = act(client, "session_act", code, action="end")
    assert told(response) == [f"„Team day“ ({code}) ist beendet."]
    assert log() == [(code, f"Ended “Team day” ({code}).", DELETION)]
    assert response.redirect_chain[-1][0] == page("changelist")


def test_sessions_are_ended_by_the_dozen(client: Client) -> None:
    codes = [fill("alice", label=f"Table {number}") for number in range(30)]
    question = client.post(page("act"), {"action": "end", "chosen": codes})
    html = question.content.decode()
    assert "and 6 more" in html
    # What is confirmed is all that was chosen, not just what was shown.
    (hidden,) = re.findall(r'name="chosen" value="([\w ]+)"', html)
    assert sorted(hidden.split()) == sorted(codes)
    assert told(act(client, "act", action="end", chosen=hidden)) == [
        "Ended 30 sessions."
    ]
    assert stores.sessions() == []
    assert len({text for _code, text, _flag in log()}) == 30
    assert {flag for _code, _text, flag in log()} == {DELETION}
