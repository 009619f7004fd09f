"""Operations on participants: what they ask, do, say and log."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, DELETION
from django.test import Client

from sessionstores import Kicked, event_bus, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from tests.admin.acting import (
    act,
    asked,
    events_of,
    log,
    log_texts,
    on_people,
    text_in,
    told,
)
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


def person(id: str) -> tuple[str | None, str]:
    (found,) = (each for each in stores.people(CODE) if each.id == id)
    return found.name, found.role


def test_a_message_reaches_those_who_were_chosen(client: Client) -> None:
    fill("alice", "bob", "carol")
    connect("alice")
    text = "Lunch at <12>"
    sent = events_of(
        lambda: told(
            act(
                client,
                "participants_act",
                CODE,
                action="message",
                chosen=["alice", "bob"],
                text=text,
            )
        )
    )
    messages = [each for each in sent if isinstance(each, event_bus.Message)]
    assert [str(each.key) for each in messages] == ["K7Q2ZD:alice", "K7Q2ZD:bob"]
    assert messages[0].data == {"announcement": text}
    assert log() == [
        ("K7Q2ZD:alice", f"Sent a message to 1 person, 1 tab: {text}", CHANGE),
        ("K7Q2ZD:bob", f"Sent a message, which nobody got: {text}", CHANGE),
    ]


def test_a_message_to_somebody_who_is_away_is_told_by_name(client: Client) -> None:
    fill("alice", "bob")
    stores.set_name(CODE, "bob", "Bob")
    connect("alice")
    assert on_people(client, "message", "alice", "bob", text="hi") == [
        "Sent to 1 person, 1 tab.",
        "Away, and not reached: Bob.",
    ]


def test_a_name_that_only_a_tab_shows_is_used_too(client: Client) -> None:
    fill("alice")
    connect("alice", name="Ada")
    asks = asked(client, "participants_act", CODE, action="reset", chosen="alice")
    assert "Reset Ada?" in asks


def test_somebody_is_renamed(client: Client) -> None:
    fill("alice")
    stores.set_name(CODE, "alice", "Alice")
    response = client.post(
        page("participants_act", CODE), {"action": "name", "chosen": "alice"}
    )
    assert "Rename Alice?" in text_in(response.content.decode())
    assert 'value="Alice"' in response.content.decode()
    said = on_people(client, "name", "alice", called="  Ada Lovelace ")
    assert said == ["Renamed Alice to Ada Lovelace."]
    assert person("alice") == ("Ada Lovelace", "participant")
    said = on_people(client, "name", "alice", called="Ada Lovelace")
    assert said == ["Ada Lovelace is called so already: nothing changed."]
    assert log_texts() == [
        "Renamed to Ada Lovelace (was Alice).",
        "Already called Ada Lovelace: nothing changed.",
    ]


@pytest.mark.parametrize("name", ["", "   ", "a\u202eb", "x" * 81])
def test_what_is_no_name_is_asked_for_again(client: Client, name: str) -> None:
    fill("alice")
    response = act(
        client, "participants_act", CODE, action="name", chosen="alice", called=name
    )
    html = response.content.decode()
    assert 'aria-invalid="true"' in html
    assert 'class="errorlist"' in html
    assert person("alice") == (None, "participant")
    assert log() == []


def test_only_one_at_a_time_is_renamed(client: Client) -> None:
    fill("alice", "bob")
    said = on_people(client, "name", "alice", "bob", called="Ada")
    assert said == ["Choose one participant for this."]
    assert person("alice")[0] is None


def test_roles_are_changed_and_those_that_states_name_are_suggested(
    client: Client,
) -> None:
    fill("alice", "bob")
    stores.set_role(CODE, "bob", "facilitator")
    response = client.post(
        page("participants_act", CODE), {"action": "role", "chosen": "alice"}
    )
    html = response.content.decode()
    assert "Now the role is participant." in html
    assert '<option value="facilitator">' in html
    assert on_people(client, "role", "alice", "bob", role="facilitator") == [
        "The role of alice is facilitator now.",
        "The role of bob was facilitator already: nothing changed.",
    ]
    assert person("alice") == (None, "facilitator")
    assert on_people(client, "role", "alice", "bob", role="guest") == [
        "The role of 2 participants is guest now."
    ]
    assert log_texts()[:2] == [
        "Made facilitator (was participant).",
        "The role was facilitator already: nothing changed.",
    ]


def test_what_is_no_role_is_asked_for_again(client: Client) -> None:
    fill("alice")
    response = act(
        client, "participants_act", CODE, action="role", chosen="alice", role="a\x01"
    )
    assert 'aria-invalid="true"' in response.content.decode()
    assert person("alice") == (None, "participant")


def test_participants_are_disconnected_reset_and_removed(client: Client) -> None:
    fill("alice", "bob", "carol")
    connect("alice")
    sent = events_of(lambda: on_people(client, "disconnect", "alice"))
    assert event_bus.Disconnection in map(type, sent)
    assert on_people(client, "reset", "bob") == ["Reset bob: they start afresh."]
    assert stores.get(Board, CODE, "bob").state.notes == ""
    assert stores.get(Board, CODE, "carol").state.notes == "secret of carol"
    said = on_people(client, "remove", "alice", "carol")
    assert said == ["Removed 2 participants, who may come back."]
    assert stores.participants(CODE) == ["bob"]
    assert log() == [
        ("K7Q2ZD:alice", "Disconnected 1 person, 1 tab.", CHANGE),
        ("K7Q2ZD:bob", "Reset the state.", CHANGE),
        ("K7Q2ZD:alice", "Removed the participant.", DELETION),
        ("K7Q2ZD:carol", "Removed the participant.", DELETION),
    ]


def test_participants_are_kept_out_and_readmitted(client: Client) -> None:
    fill("alice", "bob", "carol")
    chosen = {"action": "kick", "chosen": ["alice", "bob"]}
    question = asked(client, "participants_act", CODE, **chosen)
    assert "Remove 2 participants from the session?" in question
    assert "until they are readmitted" in question
    assert "This cannot be undone." in question
    assert stores.participants(CODE) == ["alice", "bob", "carol"]
    response = act(client, "participants_act", CODE, **chosen)
    assert told(response) == [
        "Removed 2 participants from the session: they are kept out."
    ]
    assert stores.participants(CODE) == ["carol"]
    with pytest.raises(Kicked):
        stores.get(Board, CODE, "alice").snapshot()
    body = response.content.decode()
    for id in ("alice", "bob"):
        assert f'form="ss-readmit" name="chosen" value="{id}"' in body
    # Whom it does not keep out is nobody to readmit, and nothing is offered in menus.
    assert 'value="readmit">' not in body.replace('name="action" value="readmit">', "")
    chosen = {"action": "readmit", "chosen": ["alice", "carol"]}
    question = asked(client, "participants_act", CODE, **chosen)
    assert "Readmit alice?" in question
    assert "1 of those chosen was removed meanwhile." in question
    assert "This cannot be undone." not in question
    response = act(client, "participants_act", CODE, **chosen)
    assert told(response) == ["Readmitted alice: they can join again."]
    assert stores.get(Board, CODE, "alice").state.notes == ""
    assert 'value="alice" aria-label="Readmit alice"' not in response.content.decode()
    assert log() == [
        ("K7Q2ZD:alice", "Removed the participant from the session.", DELETION),
        ("K7Q2ZD:bob", "Removed the participant from the session.", DELETION),
        ("K7Q2ZD:alice", "Readmitted the participant.", CHANGE),
    ]


def test_a_troublemaker_is_removed_for_good_by_a_button_of_their_row(
    client: Client,
) -> None:
    fill("alice", "bob")
    html = client.get(page("session", CODE)).content.decode()
    assert 'name="one" value="kick bob"' in html
    asks = asked(client, "participants_act", CODE, action="", one="kick bob")
    assert "Remove bob from the session?" in asks
    said = on_people(client, "kick", "bob")
    assert said == ["Removed bob from the session: they are kept out."]
    assert run(get_backend(blocking=True).kicked(CODE)).keys() == {"bob"}


def test_who_was_removed_meanwhile_is_counted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice", "bob")
    monkeypatch.setattr(type(stores), "reset", lambda self, code, id: id == "alice")
    assert on_people(client, "reset", "alice", "bob") == [
        "Reset alice: they start afresh.",
        "1 was removed meanwhile.",
    ]
    assert log_texts() == ["Reset the state."]
