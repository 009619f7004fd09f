"""Editing a state by hand: what is accepted, what is refused, who was faster."""

from __future__ import annotations

import json
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from sessionstores import StoreKey, signals, stores
from sessionstores.admin.redaction import MASK
from sessionstores.backends import get_backend
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.test_admin_overview import text_of
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db

ALICE = (CODE, "alice")
EDIT = (*ALICE, "board")


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)


def board() -> Any:
    """Return the snapshot of what is stored."""
    snapshot = stores.get(Board, *ALICE).peek()
    assert snapshot
    return snapshot


def form(client: Client) -> tuple[dict[str, Any], str]:
    """Return the state as the form shows it, and the rev that it is based on."""
    response = client.get(page("edit", *EDIT))
    text = unescape(response.content.decode())
    shown = text.partition('name="state"')[2].partition(">")[2].partition("</text")[0]
    base = text.partition('name="base" value="')[2].partition('"')[0]
    return json.loads(shown), base


def save(client: Client, state: Any, base: str) -> Any:
    text = state if isinstance(state, str) else json.dumps(state)
    return client.post(page("edit", *EDIT), {"state": text, "base": base})


def test_what_is_saved_is_stored_told_and_logged(client: Client) -> None:
    changes: list[signals.Event | signals.Note] = []
    signals.outlet.subscribers.append(changes.append)
    try:
        state, base = form(client)
        state["deck"] = ["joker"]
        response = save(client, state, base)
    finally:
        signals.outlet.subscribers.remove(changes.append)
    assert response["Location"] == page("participant", *ALICE)
    assert board().state.deck == ["joker"]
    change, note = changes
    assert isinstance(change, signals.Change)
    assert change.base == base
    assert isinstance(note, signals.Note)
    assert (note.key, note.kind, note.text) == (StoreKey(*ALICE), "edited", "board")
    entry = LogEntry.objects.latest("pk")
    assert entry.object_repr == "K7Q2ZD:alice"
    assert entry.change_message == f"Edited the state board: {base} to {board().rev}."
    assert "Saved." in text_of(client.get(response["Location"]))


def test_hidden_values_are_not_shown_and_stay_as_they_were(client: Client) -> None:
    state, base = form(client)
    assert state["notes"] == f"{MASK}/notes"
    save(client, {**state, "deck": []}, base)
    assert board().state.notes == "secret of alice"
    state, base = form(client)
    save(client, {**state, "notes": "new"}, base)
    assert board().state.notes == "new"


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("{not json", "This is not JSON"),
        ("[]", "A state is a JSON object"),
        ('{"deck": 1}', "expected `array`, got `int`"),
        ('{"deck": ["ace"], "dekc": []}', "/dekc is not declared, so it would be lost"),
        ('{"dekc": []}', "Did you mean “deck”?"),
        (f'{{"notes": "{MASK}/elsewhere"}}', "a placeholder that stands for nothing"),
        ('{"deck": ["' + "x" * 300_000 + '"]}', "262144 are allowed"),
        ('{"piles": {"__proto__": []}}', "browsers refuse this key"),
    ],
)
def test_what_is_no_such_state_changes_nothing_and_says_where(
    client: Client, state: str, complaint: str
) -> None:
    before = board()
    response = save(client, state, before.rev)
    assert response.status_code == 200
    text = unescape(response.content.decode())
    assert complaint.lower() in text.lower()
    assert 'role="alert"' in text
    assert state[:200] in text
    assert board() == before


def test_fields_that_are_left_out_take_their_default(client: Client) -> None:
    save(client, {"deck": []}, board().rev)
    assert board().state == Board(deck=[])


def test_who_was_slower_sees_both_versions_and_decides(client: Client) -> None:
    state, base = form(client)
    stores.get(Board, *ALICE).dispatch(lambda state: state.piles.update(keep=["ace"]))
    newer = board()
    response = save(client, {**state, "deck": ["joker"]}, base)
    assert response.status_code == 200
    text = text_of(response)
    assert "Somebody was faster" in text
    assert newer.rev in text
    assert "/piles/keep" in text
    assert "joker" in text
    assert "secret of alice" not in text
    assert board() == newer
    again = save(client, {**state, "deck": ["joker"]}, newer.rev)
    assert again.status_code == 302
    assert board().state.deck == ["joker"]
    assert board().state.notes == "secret of alice"


def test_a_change_between_the_look_and_the_write_is_a_conflict_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, base = form(client)
    backend: Any = get_backend(blocking=True)
    inner = backend.commit
    raced: list[bool] = []

    async def commit(*args: Any, **kwargs: Any) -> Any:
        if not raced:
            raced.append(True)
            store = stores.get(Board, *ALICE)
            store.dispatch(lambda state: state.piles.update(keep=["king"]))
        return await inner(*args, **kwargs)

    monkeypatch.setattr(backend, "commit", commit)
    response = save(client, {**state, "deck": ["joker"]}, base)
    assert "Somebody was faster" in text_of(response)
    assert board().state.piles == {"keep": ["king"]}


def test_saving_what_is_there_changes_nothing(client: Client) -> None:
    state, base = form(client)
    response = save(client, state, base)
    assert "Nothing was different" in text_of(client.get(response["Location"]))
    assert board().rev == base
    assert not LogEntry.objects.filter(change_message__startswith="Edited").exists()


def test_the_sessions_own_state_can_be_edited(client: Client) -> None:
    snapshot = stores.get(Agenda, CODE).peek()
    assert snapshot
    body = {"state": '{"step": 7}', "base": snapshot.rev}
    response = client.post(page("edit", CODE, "*", "agenda"), body)
    assert response["Location"] == page("participant", CODE, "*")
    assert stores.get(Agenda, CODE).state.step == 7


def test_who_was_removed_meanwhile_is_not_made_anew(client: Client) -> None:
    state, base = form(client)
    stores.cleanup_participant(*ALICE)
    response = save(client, state, base)
    assert response.status_code == 404
    assert "This participant is not there" in text_of(response)
    assert stores.participants(CODE) == []
