"""Actions of states as operations: their words, their forms, their effects."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from datetime import date
from html import unescape
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils.translation import gettext_lazy

from sessionstores import ActionRejected, Participant, State, action, injected, stores
from sessionstores.admin.state_operations import offers, slowest
from sessionstores.state.declaration import registry
from tests.admin.acting import (
    act,
    asked,
    buttons,
    levels,
    log_texts,
    on_people,
    on_session,
    text_in,
    told,
)
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db


with registry.isolated():

    class Count(State, scope="session"):
        people: int = 0

        @action
        def take(self, *, boards: Mapping[str, Board] = injected) -> None:
            self.people = len(boards)

    class Way(State):
        """A state of participants that says how far each is."""

        step: int = 1
        mood: str = ""

        @action
        def advance(self) -> None:
            """Go to the next step, whatever
            is left. It is never taken back.

            More for developers: `step` counts from 1.
            """
            if self.step == 9:
                raise ActionRejected("There is no step 10.")
            self.step += 1

        @action
        def go(self, step: int) -> None:
            """Go to a step."""
            if not 1 <= step <= 9:
                raise ActionRejected(f"There is no step {step}.", code="no_such_step")
            self.step = step

        @action(label=gettext_lazy("Message"))
        def feel(self, mood: str = "fine") -> str:
            """Set the mood. For developers."""
            self.mood = mood
            return f"Feels {mood}."

        @action
        def plan(self, stops: list[str], day: date) -> None:
            """Plan a way."""

        @action
        def stumble(self) -> None:
            raise ZeroDivisionError("secret")

        @action
        def stay(self, *, by: Participant = injected) -> None:
            """Stay where one is."""

    class Road(State):
        step: str = "home"

        @action
        def turn(self) -> None:
            """Turn off."""
            self.step = "to Bob’s" if self.step == "on" else "on"


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


@pytest.fixture
def way() -> Iterator[None]:
    with registry.isolated(Way, Board, Agenda):
        yield


def go(**steps: int) -> None:
    for id, step in steps.items():
        stores.get(Way, CODE, id).dispatch(Way.go, step=step)


def steps() -> dict[str, int]:
    return {id: each.state.step for id, each in stores.peek_all(Way, CODE).items()}


def test_buttons_say_what_the_docstring_says(client: Client) -> None:
    fill("alice", "bob")
    shown = buttons(client.get(page("session", CODE)).content.decode())
    assert shown["run:agenda.advance"] == "Open the next step…"
    assert shown["everybody:board.clear"] == "Take every card back into the deck…"
    # It needs to know who votes, and staff are no participants.
    assert "run:agenda.vote" not in shown
    person = buttons(client.get(page("participant", CODE, "alice")).content.decode())
    assert person["run:board.note"] == "Replace the notes…"
    question = asked(client, "session_act", CODE, action="run:agenda.advance")
    assert f"Open the next step: {CODE}?" in question
    assert "Run " not in question
    # What is more than the question says is said too.
    with registry.isolated(Way):
        more = asked(
            client, "participants_act", CODE, action="run:way.advance", chosen="alice"
        )
    assert "Go to the next step, whatever is left. It is never taken back." in more
    assert "More for developers" not in more


def test_a_label_is_stronger_than_a_docstring_and_that_than_the_name(way: None) -> None:
    labels = {each.name: each.label for each in offers("participant")}
    assert labels["way.advance"] == "Go to the next step, whatever is left"
    assert labels["way.feel"] == "Message"
    assert labels["way.stumble"] == "Stumble"


def test_labels_that_are_the_same_are_told_apart_by_their_state() -> None:
    with registry.isolated():

        class First(State):
            @action
            def again(self) -> None:
                """Start again."""

        class Second(First):
            pass

        labels = [each.label for each in offers("participant")]
    assert labels == ["Start again (first)", "Start again (second)"]


def test_the_answer_and_the_log_say_at_which_step_it_is_now(client: Client) -> None:
    fill("alice")
    assert on_session(client, "run:agenda.advance") == ["Now at step 3."]
    assert stores.get(Agenda, CODE).state.step == 3
    assert log_texts() == ["Open the next step (agenda.advance): now at step 3."]


def test_a_step_in_words_is_told_to_those_who_may_see_states(client: Client) -> None:
    with registry.isolated():

        class Stage(State, scope="session"):
            step: str = "Welcome"

            @action
            def rest(self) -> None:
                """Take a break."""
                self.step += " break"

        stores.get(Stage, CODE).snapshot()
        without = signed_in("view_dashboard", "manage_sessions", name="kim")
        assert on_session(without, "run:stage.rest") == ["Take a break: done."]
        said = on_session(client, "run:stage.rest")
    assert said == ["Now at step Welcome break break."]
    # Others read it, too.
    assert log_texts() == ["Take a break (stage.rest): now at another step."] * 2


def test_what_says_nothing_of_itself_is_said_to_be_done(client: Client) -> None:
    fill("alice", "bob")
    stores.get(Board, CODE, "alice").dispatch(lambda board: board.deck.pop())
    assert on_people(client, "run:board.clear", "alice", "bob") == [
        "alice: Take every card back into the deck: done.",
        "bob: Take every card back into the deck: nothing changed.",
    ]
    assert log_texts() == [
        "Take every card back into the deck (board.clear): done.",
        "Take every card back into the deck (board.clear): nothing changed.",
    ]


def test_what_an_action_returns_in_words_is_its_answer(
    client: Client, way: None
) -> None:
    fill("alice", "bob")
    said = on_people(client, "run:way.feel", "alice", "bob", **{"of-mood": "good"})
    assert said == ["2 people (alice, bob): Feels good."]
    # Who may not see states may read the log.
    assert log_texts() == ["Message (way.feel): done."] * 2


def test_who_may_not_see_states_is_told_no_text_that_they_tell(way: None) -> None:
    go(alice=1)
    client = signed_in("view_dashboard", "manage_sessions")
    said = on_people(client, "run:way.feel", "alice", **{"of-mood": "good"})
    assert said == ["alice: Message: done."]
    said = on_people(client, "run:way.advance", "alice")
    assert said == ["alice: Now at step 2."]
    with registry.isolated(Road):
        said = on_people(client, "run:road.turn", "alice")
        assert said == ["alice: Turn off: done."]
        open_to_states = signed_in(*ALL, name="ida")
        said = on_people(open_to_states, "run:road.turn", "alice")
        assert said == ["alice: Now at step to Bob’s."]
    assert not [text for text in log_texts() if "Bob" in text or "good" in text]


def test_an_action_with_arguments_has_a_form_of_their_annotations(
    client: Client, way: None
) -> None:
    fill("alice")
    asks = client.post(
        page("participants_act", CODE), {"action": "run:way.go", "chosen": "alice"}
    )
    html = asks.content.decode()
    assert re.search(r'<input type="number" name="of-step"[^>]*autofocus', html)
    said = on_people(client, "run:way.go", "alice", **{"of-step": "4"})
    assert said == ["alice: Now at step 4."]
    # A default is shown, and holds if it is left empty.
    asks = client.post(
        page("participants_act", CODE), {"action": "run:way.feel", "chosen": "alice"}
    )
    assert 'value="fine"' in asks.content.decode()


def test_what_does_not_fit_is_said_at_its_field_and_kept(
    client: Client, way: None
) -> None:
    fill("alice")
    body = {"action": "run:way.go", "chosen": "alice", "of-step": "soon"}
    html = act(client, "participants_act", CODE, **body).content.decode()
    assert "Enter a whole number." in html
    assert 'value="soon"' in html
    assert 'aria-invalid="true"' in html
    assert stores.get(Way, CODE, "alice").peek() is None
    assert log_texts() == []


def test_a_refusal_is_told_in_its_own_words_with_the_name(
    client: Client, way: None
) -> None:
    fill("alice", "bob")
    stores.set_name(CODE, "alice", "Alice <b>")
    go(alice=9, bob=1)
    response = act(
        client,
        "participants_act",
        CODE,
        action="run:way.advance",
        chosen=["alice", "bob"],
    )
    assert told(response) == ["bob: Now at step 2.", "Alice <b>: There is no step 10."]
    assert levels(response) == ["success", "error"]
    assert "Alice &lt;b&gt;" in response.content.decode()
    assert steps() == {"alice": 9, "bob": 2}
    assert len(log_texts()) == 1


def test_those_who_are_refused_for_one_reason_are_told_together(
    client: Client, way: None
) -> None:
    people = [f"p{number}" for number in range(8)]
    fill(*people)
    said = on_people(client, "run:way.go", *people, **{"of-step": "12"})
    assert said == ["p0, p1, p2, p3, p4 and 3 more: There is no step 12."]


def test_an_action_that_fails_is_logged_and_is_no_error_page(
    client: Client, way: None, caplog: pytest.LogCaptureFixture
) -> None:
    fill("alice")
    with caplog.at_level(logging.ERROR, "sessionstores.admin"):
        said = on_people(client, "run:way.stumble", "alice")
    assert said == ["alice: The action failed. The server’s log says why."]
    assert "K7Q2ZD:alice: the action way.stumble failed" in caplog.text
    assert log_texts() == []


def test_who_acts_is_the_participant_themselves_where_an_action_asks(
    client: Client, way: None
) -> None:
    fill("alice")
    go(alice=2)
    said = on_people(client, "run:way.stay", "alice")
    assert said == ["alice: Stay where one is: nothing changed."]


def test_staff_run_an_action_that_is_given_everybodys_states(client: Client) -> None:
    fill("alice", "bob")
    with registry.isolated(Board, Count):
        shown = buttons(client.get(page("session", CODE)).content.decode())
        assert shown["run:count.take"] == "Take…"
        assert on_session(client, "run:count.take") == ["Take: done."]
        assert stores.get(Count, CODE).state.people == 2


def test_everybody_is_brought_to_a_step_in_three_clicks(
    client: Client, way: None
) -> None:
    fill("alice", "bob", "carol")
    go(alice=1, bob=2, carol=2)
    index = client.get(page("changelist")).content.decode()
    assert page("session", CODE) in index
    shown = buttons(client.get(page("session", CODE)).content.decode())
    assert shown["everybody:way.go"] == "Go to a step…"
    asks = client.post(page("session_act", CODE), {"action": "everybody:way.go"})
    text = text_in(asks.content.decode())
    assert "Go to a step: 3 participants?" in text
    assert "For everybody in the session." in text
    confirm_and(client, asks, **{"of-step": "2"})
    assert steps() == {"alice": 2, "bob": 2, "carol": 2}


def confirm_and(client: Client, asks: Any, **body: str) -> list[str]:
    """Send the form of a page that asks, filled in; return what is said."""
    html = asks.content.decode()
    url = re.search(r'ss-ask" method="post" action="([^"]*)"', html)
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html)
    assert url
    sent = {name: unescape(value) for name, value in hidden}
    return told(client.post(url[1], {**sent, **body}, follow=True))


def test_the_slowest_are_those_at_the_lowest_step_and_are_named(
    client: Client, way: None
) -> None:
    fill("alice", "bob", "carol", "host")
    stores.set_role(CODE, "host", "facilitator")
    go(alice=2, bob=3, carol=2, host=1)
    shown = buttons(client.get(page("session", CODE)).content.decode())
    assert "slowest:way.advance" in shown
    asks = client.post(page("session_act", CODE), {"action": "slowest:way.advance"})
    text = text_in(asks.content.decode())
    assert "For those at the lowest step, 2." in text
    assert "2 participants, 0 online" in text
    said = confirm_and(client, asks)
    assert said == ["2 people (alice, carol): Now at step 3."]
    assert steps() == {"alice": 3, "bob": 3, "carol": 3, "host": 1}


def test_without_a_field_the_steps_that_tabs_show_tell_who_is_slowest() -> None:
    fill("alice", "bob", "carol")
    connect("alice", step=10)
    connect("bob", step="9")
    connect("carol")
    found = slowest(CODE, texts=True)
    assert (found.step, [each.name for each in found.targets]) == ("9", ["bob"])


def test_where_nobody_is_at_a_step_nobody_is_the_slowest(client: Client) -> None:
    fill("alice")
    response = act(client, "session_act", CODE, action="slowest:board.clear")
    assert told(response) == ["Nobody here is at a step."]
    shown = buttons(client.get(page("session", CODE)).content.decode())
    assert not [name for name in shown if name.startswith("slowest:")]


@pytest.mark.parametrize(
    "name", ["everybody:agenda.advance", "slowest:", "everybody:x"]
)
def test_what_is_no_action_of_participants_is_not_run_for_all(
    client: Client, name: str
) -> None:
    fill("alice")
    assert on_session(client, name) == ["Choose an action first."]
    assert log_texts() == []


@override_settings(LANGUAGE_CODE="de")
def test_the_log_is_in_english_whatever_language_staff_read(
    client: Client, way: None
) -> None:
    go(alice=1)
    assert "Nachricht" in [each.label for each in offers("participant")]
    on_people(client, "run:way.feel", "alice", **{"of-mood": "well"})
    on_people(client, "run:way.advance", "alice")
    assert log_texts() == [
        "Message (way.feel): done.",
        "Go to the next step, whatever is left (way.advance): now at step 2.",
    ]


def test_a_form_says_what_is_json_and_why_an_argument_does_not_fit(
    client: Client, way: None
) -> None:
    go(alice=1)
    body = {"action": "run:way.plan", "chosen": "alice"}
    assert "Stops JSON Day" in asked(client, "participants_act", CODE, **body)
    given = {"of-stops": "[1]", "of-day": "2026-05-31"}
    page = act(client, "participants_act", CODE, **body, **given)
    reason = "It does not fit the declaration: “stops[0]: expected str, got int.”"
    assert reason in text_in(page.content.decode())
    given = {"of-stops": "[]", "of-day": "31.05.2026"}
    page = act(client, "participants_act", CODE, **body, **given)
    reason = "“day: Invalid RFC3339 encoded date.”"
    assert reason in text_in(page.content.decode())
