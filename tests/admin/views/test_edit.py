"""The edit page: what is accepted and refused, and what happens in a conflict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import unescape
from typing import Any, Literal

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionstores import State, StoreKey, event_bus, field, stores
from sessionstores.admin.audit import VIEWED
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
    """Return the text in the form of a page, and the rev that it is based on."""
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
    assert entry.change_message == f"Edited the state board: {base} to {board().rev}."
    assert "Saved." in text_of(client.get(response["Location"]))


def test_hidden_fields_are_left_out_and_stay_as_they_were(client: Client) -> None:
    response = client.get(page("edit", *EDIT))
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


def test_fields_that_are_left_out_take_their_default(client: Client) -> None:
    save(client, {"piles": {"keep": ["ace"]}}, board().rev)
    assert board().state == Board(piles={"keep": ["ace"]}, notes="secret of alice")


def test_a_conflict_shows_both_versions_and_lets_staff_decide(client: Client) -> None:
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


def test_a_conflict_lists_each_difference_with_both_values(client: Client) -> None:
    state, base = form(client)
    store = stores.get(Board, *ALICE)
    store.dispatch(lambda state: setattr(state, "piles", {"keep": ["king"]}))
    state["deck"] = ["joker", "ace", "queen", "jack", "ten"]
    text = text_of(save(client, state, base))
    rows = text.partition("Yours")[2].partition("Stored now")[0].split()
    # From deck ace, king, queen, jack, ten.
    assert " ".join(rows) == (
        "/deck/1 &quot;king&quot; removed /deck/0 absent &quot;joker&quot; "
        "/piles/keep [&quot;king&quot;] removed"
    )


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


def test_a_participant_who_was_removed_meanwhile_is_not_recreated(
    client: Client,
) -> None:
    state, base = form(client)
    stores.cleanup_participant(*ALICE)
    response = save(client, state, base)
    assert response.status_code == 404
    assert "There is no such participant" in text_of(response)
    assert stores.participants(CODE) == []


@pytest.fixture
def vault() -> Iterator[Any]:
    """A store with secrets in objects, and in items of a list."""
    with registry.isolated():

        class Vault(State):
            title: str = ""
            users: dict[str, dict[str, str]] = field(
                default_factory=dict[str, dict[str, str]]
            )
            items: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

        def fill(vault: Vault) -> None:
            vault.users = {each: user(each) for each in ("ada", "ben")}
            vault.items = [user("eve")]

        store = stores.get(Vault, *ALICE)
        store.dispatch(fill)
        yield store


def user(name: str) -> dict[str, str]:
    return {"who": name, "token": f"secret of {name}"}


VAULT = (*ALICE, "vault")


def swap(vault: Any) -> None:
    vault.users = {"ada": vault.users["ben"], "ben": vault.users["ada"]}


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


def test_after_a_conflict_hidden_values_cannot_be_swapped(
    client: Client, vault: Any
) -> None:
    state, base = form(client, VAULT)
    state["users"]["ada"]["who"] = "Ada"
    vault.dispatch(swap)
    swapped = {"ada": user("ben"), "ben": user("ada")}
    response = save(client, state, base, VAULT)
    assert "Somebody was faster" in text_of(response)
    assert "Begin again from what is stored now" in text_of(response)
    assert "secret of" not in unescape(response.content.decode())
    # However often it is sent, now that it names the newer rev.
    for _attempt in range(2):
        shown, newer = form_in(response)
        assert 'name="stale" value="yes"' in response.content.decode()
        body = {"state": shown, "base": newer, "stale": "yes"}
        response = client.post(page("edit", *VAULT), body)
        assert "/users holds hidden values" in text_of(response)
        assert vault.state.users == swapped
    # What is based on the newer state is accepted.
    state, base = form(client, VAULT)
    state["users"]["ada"]["who"] = "Benjamin"
    assert save(client, state, base, VAULT).status_code == 302
    assert vault.state.users["ada"] == {"who": "Benjamin", "token": "secret of ben"}


def test_after_a_conflict_newer_hidden_values_are_kept(
    client: Client, vault: Any
) -> None:
    def change(vault: Any) -> None:
        vault.users["ada"]["token"] = "newer secret of ada"
        vault.items.append(user("fay"))

    state, base = form(client, VAULT)
    vault.dispatch(change)
    response = save(client, {**state, "title": "Mine"}, base, VAULT)
    text = text_of(response).partition("Stored now")[0]
    assert "/title" in text
    assert "/users/ada" not in text
    shown, newer = form_in(response)
    body = {"state": shown, "base": newer, "stale": "yes"}
    assert client.post(page("edit", *VAULT), body).status_code == 302
    assert vault.state.title == "Mine"
    assert vault.state.users["ada"]["token"] == "newer secret of ada"
    assert vault.state.items == [user("eve"), user("fay")]


def left_out_in(response: Any) -> str:
    """Return the paths left out that the form of a page posts."""
    text = response.content.decode()
    return unescape(text.partition('name="left_out" value="')[2].partition('"')[0])


def test_a_list_that_was_left_out_is_not_lost_after_a_conflict(
    client: Client, vault: Any
) -> None:
    opened = client.get(page("edit", *VAULT))
    paths = left_out_in(opened)
    assert json.loads(paths) == ["/users/ada/token", "/users/ben/token", "/items"]
    shown, base = form_in(opened)
    open_items = [{"who": "eve"}, {"who": "fay"}]
    vault.dispatch(lambda vault: setattr(vault, "items", open_items))
    text = json.dumps({**json.loads(shown), "title": "mine"})
    # However often it is sent; the pages pass on what the form began with.
    extra: dict[str, str] = {}
    for _attempt in range(3):
        body = {"state": text, "base": base, "left_out": paths, **extra}
        response = client.post(page("edit", *VAULT), body)
        assert "/items holds hidden values" in text_of(response)
        assert json.loads(left_out_in(response)) == json.loads(paths)
        text, base = form_in(response)
        paths, extra = left_out_in(response), {"stale": "yes"}
    assert vault.state.items == open_items
    assert vault.state.title == ""


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

        paths, base = left_out_in(opened), form_in(opened)[1]
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


@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
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
        store.dispatch(lambda safe: setattr(safe, "data", stored))
        place = (*ALICE, "safe")
        opened = client.get(page("edit", *place))
        shown, base = form_in(opened)
        state = json.loads(shown)
        store.dispatch(lambda safe: setattr(safe, "title", "newer"))
        mine = json.dumps({**state, "title": "mine"})
        conflict = save(client, mine, base, place)
        pages = [
            opened,
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
        body = {"state": mine, "base": store.snapshot().rev, "stale": "yes"}
        assert client.post(page("edit", *place), body).status_code == 302
        assert store.state == Safe(data=stored, title="mine")


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
    shown, base = form_in(client.get(page("edit", *EDIT)))
    assert shown.count("\n") < 10
    assert save(client, shown.replace("card 7", "joker 7"), base).status_code == 302
    assert board().state.deck[7] == "joker 7"


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
