"""Editing a state by hand: what is accepted, what is refused, who was faster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from sessionstores import State, StoreKey, event_bus, field, stores
from sessionstores.admin.audit import VIEWED
from sessionstores.admin.redaction import MASK
from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.state.declaration import registry
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, fill, page, signed_in
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


def form_in(response: Any) -> tuple[str, str]:
    """Return the text that a page lets edit, and the rev that it is based on."""
    text = unescape(response.content.decode())
    shown = text.partition('name="state"')[2].partition(">")[2].partition("</text")[0]
    return shown, text.partition('name="base" value="')[2].partition('"')[0]


def form(client: Client, place: tuple[str, ...] = EDIT) -> tuple[Any, str]:
    """Return the state as the form shows it, and the rev that it is based on."""
    shown, base = form_in(client.get(page("edit", *place)))
    return json.loads(shown), base


def save(client: Client, state: Any, base: str, place: tuple[str, ...] = EDIT) -> Any:
    text = state if isinstance(state, str) else json.dumps(state)
    return client.post(page("edit", *place), {"state": text, "base": base})


def test_what_is_saved_is_stored_told_and_logged(client: Client) -> None:
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
    assert entry.change_message == f"Edited the state board: {base} to {board().rev}."
    assert "Saved." in text_of(client.get(response["Location"]))


def test_hidden_values_are_not_shown_and_stay_as_they_were(client: Client) -> None:
    state, base = form(client)
    assert state["notes"].startswith(f"{MASK}/notes #")
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
        (f'{{"notes": "{MASK}/elsewhere"}}', "/elsewhere” stands for nothing here"),
        ('{"deck": ["' + "x" * 300_000 + '"]}', "would have more than 256"),
        ('{"deck": ' + "[" * 900 + "]" * 900 + "}", "ss-complaint"),
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


def items(*pairs: str) -> list[dict[str, str]]:
    """Return items from texts such as "A:tA": whose, and the secret of that one."""
    return [dict(zip(("who", "token"), pair.split(":"), strict=True)) for pair in pairs]


@pytest.fixture
def vault() -> Iterator[Any]:
    """A store of items that have a secret each."""
    with registry.isolated():

        class Vault(State):
            items: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

        store = stores.get(Vault, *ALICE)
        store.dispatch(lambda vault: vault.items.extend(items("A:tA", "B:tB")))
        yield store


VAULT = (*ALICE, "vault")


def test_after_a_conflict_each_hidden_value_goes_where_it_was_seen(
    client: Client, vault: Any
) -> None:
    state, base = form(client, VAULT)
    vault.dispatch(lambda vault: vault.items.insert(0, *items("X:tX")))
    state["items"][1]["who"] = "B2"
    shown, newer = form_in(save(client, state, base, VAULT))
    assert save(client, shown, newer, VAULT).status_code == 302
    assert vault.state.items == items("A:tA", "B2:tB")


def test_a_hidden_value_that_has_changed_meanwhile_is_not_put_in_its_place(
    client: Client, vault: Any
) -> None:
    def change(vault: Any) -> None:
        vault.items[0]["token"] = "changed"

    state, base = form(client, VAULT)
    vault.dispatch(change)
    response = save(client, state, base, VAULT)
    assert "Somebody was faster" in text_of(response)
    assert "stands for nothing" in text_of(response)
    shown, newer = form_in(response)
    again = save(client, shown, newer, VAULT)
    assert again.status_code == 200
    assert "stands for nothing" in text_of(again)
    assert vault.state.items == items("A:changed", "B:tB")
    # With the one that stands there now it is accepted.
    state["items"][0]["token"] = form(client, VAULT)[0]["items"][0]["token"]
    save(client, state, newer, VAULT)
    assert vault.state.items == items("A:changed", "B:tB")


def test_what_is_different_is_told_of_values_not_of_their_placeholders(
    client: Client, vault: Any
) -> None:
    state, base = form(client, VAULT)
    vault.dispatch(lambda vault: vault.items.append(*items("C:tC")))
    text = text_of(save(client, state, base, VAULT))
    assert "/items/2" in text
    assert "/items/0/token" not in text.partition("Stored now")[0]


def test_placeholders_tell_nothing_of_other_participants(client: Client) -> None:
    same = "of both"
    for id in ("alice", "bob"):
        stores.get(Board, CODE, id).dispatch(Board.note, same)
    texts = {form(client, (CODE, id, "board"))[0]["notes"] for id in ("alice", "bob")}
    assert len(texts) == 2


def test_both_versions_shown_are_a_look_at_the_state(client: Client) -> None:
    state, base = form(client)
    stores.get(Board, *ALICE).dispatch(lambda state: state.deck.clear())
    before = LogEntry.objects.filter(change_message=VIEWED).count()
    save(client, {**state, "deck": ["joker"]}, base)
    assert LogEntry.objects.filter(change_message=VIEWED).count() == before + 1


@pytest.fixture
def diary() -> Iterator[Any]:
    """Data of version 1 of a state, of which version 2 is declared."""
    with registry.isolated():

        class First(State, name="diary", version=1, sensitive=("diary",)):
            diary: str = ""
            title: str = ""

        first = stores.get(First, *ALICE)
        first.dispatch(lambda state: setattr(state, "diary", "very private"))
        first.dispatch(lambda state: setattr(state, "title", "Monday"))
    with registry.isolated():

        class Diary(State, name="diary", version=2, sensitive=("notes",)):
            notes: str = ""
            heading: str = ""

            @classmethod
            def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
                return {"notes": data["diary"], "heading": data["title"]}

        yield stores.get(Diary, *ALICE)


DIARY = (*ALICE, "diary")


def test_data_of_an_older_version_are_edited_as_the_declared_one_has_them(
    client: Client, diary: Any
) -> None:
    state, base = form(client, DIARY)
    assert state["heading"] == "Monday"
    assert "title" not in state
    assert "private" not in json.dumps(state)
    response = save(client, {**state, "heading": "Tuesday"}, base, DIARY)
    assert response.status_code == 302
    assert diary.state.heading == "Tuesday"
    assert diary.state.notes == "very private"


def test_what_was_written_is_still_there_when_the_cache_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, base = form(client)
    backend = get_backend(blocking=True)

    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    written = {**state, "deck": ["typed for minutes"]}
    for name, outcome in (
        ("read", "nothing was saved"),
        ("commit", "It is not known whether this was saved"),
    ):
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
    shown, base = form_in(client.get(page("edit", *EDIT)))
    assert shown.count("\n") < 10
    assert save(client, shown.replace("card 7", "joker 7"), base).status_code == 302
    assert board().state.deck[7] == "joker 7"
