"""The edit page in a conflict: what each side has changed, and what is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from sessionstores import State, stores
from sessionstores.admin.audit import VIEWED
from sessionstores.backends import get_backend
from sessionstores.state.declaration import registry
from tests.admin.edits import ALICE, EDIT, VAULT, begin, board, save, user, vault_store
from tests.admin.page_forms import PageForm
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, fill, page, signed_in
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db

URL = page("edit", *EDIT)
HEADING = "Someone else changed this first"


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)


@pytest.fixture
def vault() -> Iterator[Any]:
    with vault_store() as store:
        yield store


def edited(opened: PageForm, **changes: Any) -> str:
    """Return the JSON in a form with other fields."""
    return json.dumps({**json.loads(opened.sent("save")["state"][0]), **changes})


def rows(response: Any) -> list[str]:
    """Return what each row of the tables of changes says."""
    found = re.findall(
        r"<tr class=\"ss-by.*?</tr>", response.content.decode(), re.DOTALL
    )
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in found]


def move(state: Board) -> None:
    """Move a card, as somebody does who is there."""
    state.deck.remove("ace")
    state.piles["keep"] = ["ace"]


@pytest.mark.parametrize("mode", ["json", "fields"])
def test_another_s_move_is_theirs_and_stays_when_only_mine_is_applied(
    client: Client, mode: str
) -> None:
    stores.get(Board, *ALICE).dispatch(lambda board: board.piles.update(start=["six"]))
    opened = begin(client, mode=mode)
    stores.get(Board, *ALICE).dispatch(move)
    mine = {"start": ["joker"]}
    typed = (
        {"state": edited(opened, piles=mine)}
        if mode == "json"
        else {"json-piles": json.dumps(mine)}
    )
    response = opened.press(client, URL, **typed)
    assert HEADING in text_of(response)
    assert "secret of alice" not in text_of(response)
    assert rows(response) == [
        '/deck ["ace","king","queen","jack","ten"] ["king","queen","jack","ten"] '
        "not changed theirs",
        '/piles/start ["six"] not changed ["joker"] yours',
        '/piles/keep absent ["ace"] not changed theirs',
    ]
    assert board().state.piles == {"start": ["six"], "keep": ["ace"]}
    saved = PageForm(response, "seen").press(client, URL, "apply")
    assert saved.status_code == 302
    assert board().state.deck == ["king", "queen", "jack", "ten"]
    assert board().state.piles == {"start": ["joker"], "keep": ["ace"]}
    assert board().state.notes == "secret of alice"
    entry = LogEntry.objects.latest("pk").change_message
    assert entry.startswith("Edited the state board: piles (")


@pytest.mark.parametrize(
    ("side", "deck"), [("theirs", ["ten"]), ("mine", ["joker"]), ("", None)]
)
def test_what_both_have_changed_is_chosen_one_by_one(
    client: Client, side: str, deck: list[str] | None
) -> None:
    opened = begin(client)
    stores.get(Board, *ALICE).dispatch(lambda board: setattr(board, "deck", ["ten"]))
    stores.get(Board, *ALICE).dispatch(lambda board: board.piles.update(keep=["ace"]))
    typed = edited(opened, deck=["joker"], piles={"mine": []})
    response = opened.press(client, URL, state=typed)
    assert rows(response)[0] == (
        '/deck ["ace","king","queen","jack","ten"] ["ten"] ["joker"] '
        "Keep at /deck theirs yours"
    )
    choices = {"keep:/deck": side} if side else {}
    answer = PageForm(response, "seen").press(client, URL, "apply", **choices)
    if deck is None:
        assert "Choose which to keep wherever" in text_of(answer)
        assert board().state.deck == ["ten"]
        assert rows(answer) == rows(response)
        return
    assert answer.status_code == 302
    assert board().state.deck == deck
    assert board().state.piles == {"keep": ["ace"], "mine": []}


def test_mine_can_be_discarded_or_edited_on_with_theirs(client: Client) -> None:
    opened = begin(client)
    stores.get(Board, *ALICE).dispatch(lambda board: board.piles.update(keep=["ace"]))
    typed = edited(opened, deck=["joker"])
    response = opened.press(client, URL, state=typed)
    assert f'href="{URL}">Discard mine' in response.content.decode()
    revised = PageForm(response, "seen").press(client, URL, "revise")
    form = PageForm(revised, "begun")
    assert json.loads(form.sent("save")["state"][0]) == {
        "deck": ["joker"],
        "piles": {"keep": ["ace"]},
    }
    assert form.sent("save")["base"] == [board().rev]
    assert form.press(client, URL).status_code == 302
    assert board().state.deck == ["joker"]
    assert board().state.piles == {"keep": ["ace"]}


def test_a_change_between_the_look_and_the_write_is_a_conflict_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = begin(client)
    backend: Any = get_backend(blocking=True)
    inner = backend.commit
    store = stores.get(Board, *ALICE)
    raced: list[str] = []

    async def commit(*args: Any, **kwargs: Any) -> Any:
        if len(raced) < 2:
            raced.append("")
            pile = f"pile {len(raced)}"
            with monkeypatch.context() as patched:
                patched.setattr(backend, "commit", inner)
                store.dispatch(lambda board: board.piles.update({pile: []}))
        return await inner(*args, **kwargs)

    monkeypatch.setattr(backend, "commit", commit)
    response = opened.press(client, URL, state=edited(opened, deck=["joker"]))
    assert HEADING in text_of(response)
    # What was seen is not what is stored any more, and so it is shown again.
    again = PageForm(response, "seen").press(client, URL, "apply")
    assert "The state has changed again" in text_of(again)
    assert "/piles/pile 2" in text_of(again)
    assert PageForm(again, "seen").press(client, URL, "apply").status_code == 302
    assert board().state.deck == ["joker"]
    assert board().state.piles == {"pile 1": [], "pile 2": []}


def test_a_form_that_does_not_say_how_it_began_leaves_every_difference_to_choose(
    client: Client,
) -> None:
    base = board().rev
    stores.get(Board, *ALICE).dispatch(lambda board: board.piles.update(keep=["ace"]))
    mine = {"deck": ["joker"], "piles": {}}
    response = save(client, mine, base)
    assert [row.split()[0] for row in rows(response)] == ["/deck", "/piles/keep"]
    choices = {"keep:/deck": "mine", "keep:/piles/keep": "theirs"}
    saved = PageForm(response, "seen").press(client, URL, "apply", **choices)
    assert saved.status_code == 302
    assert board().state.deck == ["joker"]
    assert board().state.piles == {"keep": ["ace"]}


def test_who_has_changed_nothing_undoes_nothing(client: Client) -> None:
    opened = begin(client)
    stores.get(Board, *ALICE).dispatch(move)
    newer = board()
    response = opened.press(client, URL)
    assert "You have changed nothing" in text_of(response)
    answer = PageForm(response, "seen").press(client, URL, "apply")
    assert "Nothing was different" in text_of(client.get(answer["Location"]))
    assert board() == newer


def test_of_very_many_overlaps_the_rest_is_chosen_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionstores.admin.views.edit_pages.MAX_OVERLAPS", 2)
    store = stores.get(Board, *ALICE)
    names = "abcd"
    store.dispatch(lambda board: board.piles.update({each: [] for each in names}))
    opened = begin(client)
    store.dispatch(lambda board: board.piles.update({each: ["6"] for each in names}))
    piles = {each: ["7"] for each in names}
    response = opened.press(client, URL, state=edited(opened, piles=piles))
    assert "and 2 more places" in text_of(response)
    choices = {"keep:/piles/a": "theirs", "keep:/piles/b": "mine", "keep-rest": "mine"}
    saved = PageForm(response, "seen").press(client, URL, "apply", **choices)
    assert saved.status_code == 302
    assert board().state.piles == {**piles, "a": ["6"]}


def test_an_invalid_union_of_both_is_refused_with_the_reason(client: Client) -> None:
    with registry.isolated():

        class Range(State):
            low: int = 0
            high: int = 9

            def __post_init__(self) -> None:
                if self.low > self.high:
                    raise ValueError("low is above high")

        store = stores.get(Range, *ALICE)
        rev = store.snapshot().rev
        place = (*ALICE, "range")
        opened = begin(client, place, "fields")
        store.dispatch(lambda state: setattr(state, "low", 7))
        response = opened.press(client, page("edit", *place), **{"field-high": "5"})
        assert HEADING in text_of(response)
        answer = PageForm(response, "seen").press(client, page("edit", *place), "apply")
        assert "A check of the site’s own refuses it." in text_of(answer)
        assert HEADING in text_of(answer)
        assert rev != store.snapshot().rev
        assert store.state == Range(low=7)


def swap(vault: Any) -> None:
    vault.users = {"ada": vault.users["ben"], "ben": vault.users["ada"]}


def test_after_a_conflict_hidden_values_cannot_be_swapped(
    client: Client, vault: Any
) -> None:
    url = page("edit", *VAULT)
    opened = begin(client, VAULT)
    users = json.loads(opened.sent("save")["state"][0])["users"]
    users["ada"]["who"] = "Ada"
    vault.dispatch(swap)
    swapped = {"ada": user("ben"), "ben": user("ada")}
    response = opened.press(client, url, state=edited(opened, users=users))
    # However often it is sent, now that it names the newer rev.
    for do in ("apply", "apply", "revise"):
        assert HEADING in text_of(response)
        assert "It holds hidden values, so yours cannot be applied" in text_of(response)
        assert "secret of" not in unescape(response.content.decode())
        form = PageForm(response, "seen")
        assert form.sent(do)["keep:/users/ada/who"] == ["theirs"]
        forged = {"keep:/users/ada/who": "mine", "seen": "none"}
        response = form.press(client, url, do, **forged)
        assert vault.state.users == swapped
    # What is based on the newer state is accepted.
    opened = begin(client, VAULT)
    users["ada"]["who"] = "Benjamin"
    users["ben"]["who"] = "ada"
    saved = opened.press(client, url, state=edited(opened, users=users))
    assert saved.status_code == 302
    assert vault.state.users["ada"] == {"who": "Benjamin", "token": "secret of ben"}


def test_after_a_conflict_newer_hidden_values_are_kept(
    client: Client, vault: Any
) -> None:
    def change(vault: Any) -> None:
        vault.users["ada"]["token"] = "newer secret of ada"
        vault.items.append(user("fay"))

    opened = begin(client, VAULT)
    vault.dispatch(change)
    url = page("edit", *VAULT)
    response = opened.press(client, url, state=edited(opened, title="Mine"))
    assert rows(response) == ['/title "" not changed "Mine" yours']
    assert PageForm(response, "seen").press(client, url, "apply").status_code == 302
    assert vault.state.title == "Mine"
    assert vault.state.users["ada"]["token"] == "newer secret of ada"
    assert vault.state.items == [user("eve"), user("fay")]


def test_a_list_that_was_left_out_is_not_lost_after_a_conflict(
    client: Client, vault: Any
) -> None:
    opened = begin(client, VAULT)
    paths = json.loads(opened.sent("save")["left_out"][0])
    assert paths == ["/users/ada/token", "/users/ben/token", "/items"]
    open_items = [{"who": "eve"}, {"who": "fay"}]
    vault.dispatch(lambda vault: setattr(vault, "items", open_items))
    url = page("edit", *VAULT)
    response = opened.press(client, url, state=edited(opened, title="mine"))
    assert PageForm(response, "seen").press(client, url, "apply").status_code == 302
    assert vault.state.items == open_items
    assert vault.state.title == "mine"


def test_both_versions_shown_are_a_look_at_the_state(client: Client) -> None:
    opened = begin(client)
    stores.get(Board, *ALICE).dispatch(lambda state: state.deck.clear())
    before = LogEntry.objects.filter(change_message=VIEWED).count()
    opened.press(client, URL, state=edited(opened, deck=["joker"]))
    assert LogEntry.objects.filter(change_message=VIEWED).count() == before + 1
