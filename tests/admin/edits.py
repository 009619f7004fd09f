"""Edits of a state in the tests of the edit page: its JSON, and a save of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.test import Client

from sessionstores import State, field, stores
from sessionstores.state.declaration import registry
from tests.admin.page_forms import PageForm
from tests.staff import CODE, page
from tests.workshop.states import Board

ALICE = (CODE, "alice")
EDIT = (*ALICE, "board")
VAULT = (*ALICE, "vault")


def board() -> Any:
    """Return the snapshot of what is stored."""
    snapshot = stores.get(Board, *ALICE).peek()
    assert snapshot
    return snapshot


def form_in(response: Any) -> tuple[str, str]:
    """Return the text in the form of a page, and the rev that it is based on."""
    sent = PageForm(response, "base").sent("save")
    return sent["state"][0].replace("\r\n", "\n"), sent["base"][0]


def form(client: Client, place: tuple[str, ...] = EDIT) -> tuple[Any, str]:
    """Return the state as the form shows it, and the rev that it is based on."""
    shown, base = form_in(client.get(page("edit", *place), {"as": "json"}))
    return json.loads(shown), base


def save(client: Client, state: Any, base: str, place: tuple[str, ...] = EDIT) -> Any:
    """Send the form as it is, but for its text."""
    text = state if isinstance(state, str) else json.dumps(state)
    return client.post(page("edit", *place), {"state": text, "base": base})


def begin(
    client: Client, place: tuple[str, ...] = EDIT, mode: str = "json"
) -> PageForm:
    """Open the form of a state."""
    return PageForm(client.get(page("edit", *place), {"as": mode}), "base")


with registry.isolated():

    class Vault(State):
        """Holds secrets in objects, and in items of a list."""

        title: str = ""
        users: dict[str, dict[str, str]] = field(
            default_factory=dict[str, dict[str, str]]
        )
        items: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@contextmanager
def vault_store() -> Iterator[Any]:
    """Declare a state with secrets; yield a store of it that holds some."""

    def fill(vault: Vault) -> None:
        vault.users = {each: user(each) for each in ("ada", "ben")}
        vault.items = [user("eve")]

    with registry.isolated(Vault):
        store = stores.get(Vault, *ALICE)
        store.dispatch(fill)
        yield store


def user(name: str) -> dict[str, str]:
    """Return somebody with a secret."""
    return {"who": name, "token": f"secret of {name}"}


def left_out_in(response: Any) -> str:
    """Return the paths left out that the form of a page posts."""
    return PageForm(response, "left_out").sent("save")["left_out"][0]
