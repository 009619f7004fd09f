"""The edit page: what is accepted and refused, by field and as JSON."""

from __future__ import annotations

import json
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from sessionstores import StoreKey, event_bus, stores
from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from tests.admin.edits import ALICE, EDIT, board, form, form_in, save
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)


def test_a_save_is_stored_announced_and_logged(client: Client) -> None:
    changes: list[event_bus.Event | event_bus.Note] = []
    event_bus.bus.subscribe(changes.append, *event_bus.SESSION_EVENTS)
    try:
        state, base = form(client)
        state["deck"] = ["joker"]
        response = save(client, state, base)
    finally:
        event_bus.bus.unsubscribe(changes.append)
    assert response["Location"] == page("participant", *ALICE)
    assert board().state.deck == ["joker"]
    change, note = changes
    assert isinstance(change, event_bus.Change)
    assert change.base == base
    assert isinstance(note, event_bus.Note)
    assert (note.key, note.kind, note.text) == (StoreKey(*ALICE), "edited", "board")
    entry = LogEntry.objects.latest("pk")
    assert entry.object_repr == "K7Q2ZD:alice"
    revs = f"{base} to {board().rev}"
    assert entry.change_message == f"Edited the state board: deck ({revs})."
    assert "Saved: deck. alice has no tab open now." in text_of(
        client.get(response["Location"])
    )


def test_the_answer_says_who_sees_the_change(client: Client) -> None:
    for number in (1, 2):
        connect("alice", number)
    connect("alice", 3, leaving=True)
    stores.set_name(CODE, "alice", "Alice L.")
    _state, base = form(client)
    saved = save(client, {"deck": [], "piles": {"keep": []}}, base)
    said = "Saved: deck, piles. Alice L.’s 2 tabs show it now."
    assert said in text_of(client.get(saved["Location"]))
    snapshot = stores.get(Agenda, CODE).snapshot()
    saved = save(client, {"step": 7}, snapshot.rev, (CODE, "*", "agenda"))
    said = "Saved: step. 2 open tabs show it now."
    assert said in text_of(client.get(saved["Location"]))


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("{not json", "This is not JSON"),
        ("[]", "A state is a JSON object"),
        ('{"deck": 1}', "expected `array`, got `int`"),
        ('{"deck": ["ace"], "dekc": []}', "/dekc is not declared, so it would be lost"),
        ('{"dekc": []}', "Did you mean “deck”?"),
        ('{"notes": "••••••/notes"}', "/notes is hidden"),
        ('{"deck": ["' + "x" * 300_000 + '"]}', "would have more than 256"),
        ('{"deck": ' + "[" * 900 + "]" * 900 + "}", "ss-complaint"),
        ('{"piles": {"__proto__": []}}', "browsers refuse this key"),
    ],
)
def test_invalid_input_changes_nothing_and_the_page_says_where(
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
    save(client, {"piles": {"keep": ["ace"]}}, board().rev)
    assert board().state == Board(piles={"keep": ["ace"]}, notes="secret of alice")


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


def test_a_participant_who_was_removed_meanwhile_is_not_recreated(
    client: Client,
) -> None:
    state, base = form(client)
    stores.cleanup_participant(*ALICE)
    response = save(client, state, base)
    assert response.status_code == 404
    assert "There is no such participant" in text_of(response)
    assert stores.participants(CODE) == []


def test_what_was_written_is_still_there_when_the_cache_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, base = form(client)
    backend = get_backend(blocking=True)

    written = {**state, "deck": ["typed for minutes"]}
    for name, refused, outcome in (
        ("read", False, "nothing was saved"),
        ("commit", True, "refused this, so nothing was saved"),
        ("commit", False, "It is not known whether this was saved"),
    ):

        async def fail(*args: object, refused: bool = refused, **rest: object) -> None:
            text = "No answer from cache.example:6379 within 1 s."
            raise StoreUnavailable(text, refused=refused)

        with monkeypatch.context() as patched:
            patched.setattr(backend, name, fail)
            response = save(client, written, base)
        assert response.status_code == 200
        assert outcome in text_of(response)
        shown, shown_base = form_in(response)
        assert json.loads(shown) == written
        assert shown_base == base
    assert save(client, shown, base).status_code == 302
    assert board().state.deck == ["typed for minutes"]


def test_a_large_state_is_a_text_of_few_lines(client: Client) -> None:
    def grow(state: Board) -> None:
        state.deck = [f"card {number}" for number in range(9_000)]

    stores.get(Board, *ALICE).dispatch(grow)
    shown, base = form_in(client.get(page("edit", *EDIT), {"as": "json"}))
    assert shown.count("\n") < 10
    assert save(client, shown.replace("card 7", "joker 7"), base).status_code == 302
    assert board().state.deck[7] == "joker 7"
