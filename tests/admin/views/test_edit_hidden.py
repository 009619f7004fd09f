"""The edit page and what it hides: nothing of it is shown, changed or lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from typing import Any, Literal

import msgspec
import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionstores import State, field, stores
from sessionstores.state.declaration import registry
from tests.admin.edits import (
    ALICE,
    EDIT,
    VAULT,
    board,
    form,
    form_in,
    left_out_in,
    save,
    user,
    vault_store,
)
from tests.admin.page_forms import PageForm
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)


def test_hidden_fields_are_left_out_and_stay_as_they_were(client: Client) -> None:
    response = client.get(page("edit", *EDIT), {"as": "json"})
    shown, base = form_in(response)
    state = json.loads(shown)
    assert sorted(state) == ["deck", "piles"]
    assert "kept as they are by a save: /notes" in text_of(response)
    save(client, {**state, "deck": []}, base)
    assert board().state == Board(deck=[], notes="secret of alice")


def test_a_hidden_field_cannot_be_written(client: Client) -> None:
    state, base = form(client)
    for guess in ("new", "secret of alice"):
        response = save(client, {**state, "notes": guess}, base)
        assert response.status_code == 200
        assert "/notes is hidden" in text_of(response)
    assert board().rev == base


def test_a_check_of_the_site_cannot_quote_a_hidden_value(client: Client) -> None:
    with registry.isolated():

        class Strict(State, sensitive=("notes",)):
            notes: str = "hidden words"
            title: str = ""

            def __post_init__(self) -> None:
                if self.title:
                    raise ValueError(f"No title beside {self.notes}.")

        store = stores.get(Strict, *ALICE)
        place = (*ALICE, "strict")
        response = save(client, {"title": "x"}, store.snapshot().rev, place)
        assert "A check of the site’s own refuses it." in text_of(response)
        assert "hidden words" not in response.content.decode()
        assert store.state.title == ""


class Free(msgspec.Struct, tag="free"):
    token: str


class Chosen(msgspec.Struct, tag="chosen", forbid_unknown_fields=True):
    token: Literal["one", "two"] = "one"


class Keyed(msgspec.Struct, tag="keyed"):
    token: dict[str, int]


class Nested(msgspec.Struct, tag="nested"):
    token: Chosen


HUNTER = "HUNTER2 - at `$.v` HUNTER2"


@pytest.mark.parametrize(
    ("stored", "other", "complaint"),
    [
        (Free(HUNTER), "chosen", "Invalid enum value - at `$.v.token`"),
        (Keyed({"HUNTER2": 1}), "nested", "unknown field - at `$.v.token`"),
        (Free(HUNTER), "HUNTER", "Invalid value - at `$.v.type`"),
        (Free(HUNTER), "keyed", "Expected `object`, got `str` - at `$.v.token`"),
    ],
)
def test_what_does_not_fit_is_named_without_its_value(
    client: Client, stored: Any, other: str, complaint: str
) -> None:
    with registry.isolated():

        class Odd(State):
            v: Free | Chosen | Keyed | Nested = field(default_factory=Chosen)

        store = stores.get(Odd, *ALICE)
        store.dispatch(lambda state: setattr(state, "v", stored))
        place = (*ALICE, "odd")
        state, base = form(client, place)
        state["v"]["type"] = other
        response = save(client, state, base, place)
        assert complaint in unescape(response.content.decode())
        assert "HUNTER2" not in response.content.decode()
        assert store.snapshot().rev == base


def test_an_error_of_code_of_the_sites_own_is_not_quoted(client: Client) -> None:
    with registry.isolated():

        class Once(State, sensitive=("notes",)):
            notes: str = "hidden words"
            title: str = ""

            def __post_init__(self) -> None:
                # Refused when it is read again only.
                if self.title == "refused":
                    raise ValueError(f"No title beside {self.notes}.")
                self.title = self.title.replace("x", "refused")

        store = stores.get(Once, *ALICE)
        place = (*ALICE, "once")
        response = save(client, {"title": "x"}, store.snapshot().rev, place)
        assert "A check of the site’s own refuses it." in text_of(response)
        assert "hidden words" not in response.content.decode()


@pytest.fixture
def vault() -> Iterator[Any]:
    with vault_store() as store:
        yield store


def test_secrets_in_objects_and_lists_are_left_out_and_kept(
    client: Client, vault: Any
) -> None:
    response = client.get(page("edit", *VAULT))
    assert "secret of" not in unescape(response.content.decode())
    text = text_of(response)
    assert "/users/ada/token , /users/ben/token , /items ." in text
    state, base = form(client, VAULT)
    assert state == {
        "title": "",
        "users": {"ada": {"who": "ada"}, "ben": {"who": "ben"}},
    }
    state["users"]["ben"]["who"] = "Benjamin"
    state["users"]["new"] = {"who": "new", "token": "of a new one"}
    assert save(client, state, base, VAULT).status_code == 302
    assert vault.state.users == {
        "ada": user("ada"),
        "ben": {"who": "Benjamin", "token": "secret of ben"},
        "new": {"who": "new", "token": "of a new one"},
    }
    assert vault.state.items == [user("eve")]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state["users"].pop("ada"), "/users/ada holds hidden values"),
        (lambda state: state.pop("users"), "/users holds hidden values"),
        (lambda state: state["users"]["ada"].update(token="x"), "/users/ada/token is"),
        (lambda state: state.update(items=[]), "/items is hidden, or holds hidden"),
    ],
)
def test_what_would_lose_or_write_a_hidden_value_is_refused(
    client: Client, vault: Any, change: Any, complaint: str
) -> None:
    state, base = form(client, VAULT)
    change(state)
    response = save(client, state, base, VAULT)
    assert complaint in text_of(response)
    assert vault.snapshot().rev == base


def test_a_field_that_another_process_held_sensitive_is_not_lost(
    client: Client,
) -> None:
    with registry.isolated():

        class Old(State, name="plan", sensitive=("notes",)):
            title: str = ""
            notes: str = ""

        old = stores.get(Old, *ALICE)
        old.dispatch(lambda state: setattr(state, "notes", "N"))
        opened = client.get(page("edit", *ALICE, "plan"))
    with registry.isolated():

        class New(State, name="plan"):
            title: str = ""
            notes: str = ""

        paths, base = (
            left_out_in(opened),
            PageForm(opened, "base").sent("save")["base"][0],
        )
        body = {"state": '{"title": "a"}', "base": base, "left_out": paths}
        response = client.post(page("edit", *ALICE, "plan"), body)
        assert "Begin again from what is stored now" in text_of(response)
        assert stores.get(New, *ALICE).state == New(notes="N")
        # Malformed paths count as absent.
        body["left_out"] = '{"/notes": 1}'
        assert client.post(page("edit", *ALICE, "plan"), body).status_code == 302


NAMES = st.sampled_from(["plain", "token", "api_key", "deep"])
TREES = st.recursive(
    st.text("xyz", max_size=3) | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)
HIDDEN = "hidden-value"


def with_secrets(data: Any) -> Any:
    """Put a text that no page may show in each hidden place."""
    if isinstance(data, list):
        return [with_secrets(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        key: f"{HIDDEN}-{key}" if key in ("token", "api_key") else with_secrets(value)
        for key, value in data.items()
    }


@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.dictionaries(NAMES, TREES), other=st.dictionaries(NAMES, TREES))
def test_no_page_shows_a_hidden_value_and_no_save_loses_one(
    client: Client, data: Any, other: Any
) -> None:
    with registry.isolated():

        class Safe(State, sensitive=("notes",)):
            notes: str = f"{HIDDEN}-notes"
            data: dict[str, Any] = field(default_factory=dict[str, Any])
            title: str = ""

        store = stores.get(Safe, *ALICE)
        stored = with_secrets(data)
        # Of the example before, the store still has what it stored.
        store.replace(Safe(data=stored), base=store.snapshot().rev)
        place = (*ALICE, "safe")
        opened = client.get(page("edit", *place), {"as": "json"})
        state = json.loads(form_in(opened)[0])
        store.dispatch(lambda safe: setattr(safe, "title", "newer"))
        mine = json.dumps({**state, "title": "mine"})
        url = page("edit", *place)
        conflict = PageForm(opened, "begun").press(client, url, state=mine)
        pages = [
            opened,
            client.get(url),
            conflict,
            client.get(page("participant", *ALICE)),
            client.get(page("participant_live", *ALICE)),
            client.get(page("download", *place)),
            save(client, json.dumps({"data": other}), store.snapshot().rev, place),
        ]
        for each in pages:
            assert HIDDEN not in each.content.decode()
        exported = b"".join(client.get(page("export", CODE)).streaming_content)
        assert HIDDEN not in exported.decode()
        # The last save was refused, or kept every hidden value.
        kept = json.dumps(store.state.data)
        assert kept.count(HIDDEN) == json.dumps(stored).count(HIDDEN)
        assert store.state.notes == f"{HIDDEN}-notes"
        # What is saved after the conflict keeps all of it.
        store.replace(Safe(data=stored), base=store.snapshot().rev)
        newer = PageForm(conflict, "seen").press(client, url, "apply")
        applied = PageForm(newer, "seen").press(client, url, "apply")
        assert applied.status_code == 302
        assert store.state == Safe(data=stored, title="mine")


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


class Player(msgspec.Struct):
    name: str = ""


class NewerPlayer(msgspec.Struct):
    name: str = ""
    score: int = 0


def test_what_another_release_has_stored_is_hidden_and_kept_by_a_save(
    client: Client,
) -> None:
    place = (*ALICE, "match")
    with registry.isolated():

        class Newer(State, name="match"):
            text: str = "of another release"
            players: dict[str, NewerPlayer] = field(default_factory=dict)

        stores.get(Newer, *ALICE).dispatch(
            lambda state: state.players.update(ada=NewerPlayer("Ada", 77_777_777))
        )
    with registry.isolated():

        class Older(State, name="match"):
            players: dict[str, Player] = field(default_factory=dict)
            step: int = 1

        for shown in ("participant", *ALICE), ("download", *place), ("edit", *place):
            text = text_of(client.get(page(*shown)))
            assert "of another release" not in text
            assert "77777777" not in text
        assert "/text" in text
        assert "/players/ada/score" in text
        state, base = form(client, place)
        assert state == {"players": {"ada": {"name": "Ada"}}, "step": 1}
        state["players"]["ada"]["name"] = "Ada L."
        state["step"] = 2
        assert save(client, state, base, place).status_code == 302
        assert stores.get(Older, *ALICE).state.step == 2
    with registry.isolated(Newer):
        after = stores.get(Newer, *ALICE).state
        assert after.text == "of another release"
        assert after.players == {"ada": NewerPlayer("Ada L.", 77_777_777)}
