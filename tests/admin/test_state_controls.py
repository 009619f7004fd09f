"""State controls: which control a field has, and that switching loses nothing."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from django.test import Client
from msgspec import Meta

from sessionstores import State, field, stores
from sessionstores.state.declaration import registry
from tests.admin.edits import ALICE
from tests.admin.page_forms import PageForm
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, fill, page, signed_in

pytestmark = pytest.mark.django_db

POLL = (*ALICE, "poll")
URL = page("edit", *POLL)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.fixture
def client() -> Client:
    fill("alice")
    return signed_in(*ALL)


@pytest.fixture
def poll() -> Iterator[Any]:
    with registry.isolated():

        class Poll(State, sensitive=("notes",)):
            title: str = "Where?"
            intro: str = "two\nlines"
            step: Annotated[int, Meta(ge=1, le=9, description="1 to <9>")] = 2
            weight: float = 0.5
            open: bool = True
            sure: bool | None = None
            colour: Colour = Colour.RED
            mode: Literal["one", "many"] = "one"
            winner: str | None = None
            options: list[str] = field(default_factory=lambda: ["Lisbon", "Porto"])
            votes: dict[str, int] = field(default_factory=lambda: {"Lisbon": 3})
            notes: str = "secret"

        store = stores.get(Poll, *ALICE)
        store.snapshot()
        yield store


TYPED = {
    "field-title": "Who? <b>",
    "field-intro": "three\r\nmore\r\nlines",
    "field-step": "3",
    "field-weight": "1.5",
    "field-sure": "false",
    "field-colour": "blue",
    "field-mode": "many",
    "field-winner": "Ada",
    "lines-options": "Faro\r\n\r\n Braga ",
    "json-votes": '{"Faro": 1}',
}
SAVED = {
    "title": "Who? <b>",
    "intro": "three\nmore\nlines",
    "step": 3,
    "weight": 1.5,
    "open": False,
    "sure": False,
    "colour": "blue",
    "mode": "many",
    "winner": "Ada",
    "options": ["Faro", " Braga "],
    "votes": {"Faro": 1},
}


def plain(store: Any) -> Any:
    """Return what is stored, as JSON has it, without what is hidden."""
    state = store.state
    assert state.notes == "secret"
    shown = {name: getattr(state, name) for name in SAVED}
    return {**shown, "colour": state.colour.value}


def test_every_plain_field_has_a_control_of_its_kind(client: Client, poll: Any) -> None:
    response = client.get(URL)
    form = PageForm(response, "controls")
    kinds = {
        given["name"]: (tag, given.get("type", ""))
        for tag, given in form.controls
        if given.get("type") != "hidden" and given["name"] != "do"
    }
    assert kinds == {
        "field-title": ("input", "text"),
        "field-intro": ("textarea", ""),
        "field-step": ("input", "text"),
        "field-weight": ("input", "text"),
        "field-open": ("input", "checkbox"),
        "field-sure": ("select", ""),
        "field-colour": ("select", ""),
        "field-mode": ("select", ""),
        "field-winner": ("input", "text"),
        "lines-options": ("textarea", ""),
        "json-votes": ("textarea", ""),
    }
    assert "Whole number · 1 to &lt;9&gt;" in response.content.decode()
    assert "secret" not in text_of(response)


@pytest.mark.parametrize("ways", [[], ["json"], ["json", "fields"]])
def test_what_was_typed_is_saved_whichever_form_it_went_through(
    client: Client, poll: Any, ways: list[str]
) -> None:
    form = PageForm(client.get(URL), "controls")
    # A box that is not ticked is not sent.
    form.controls = [each for each in form.controls if each[1]["name"] != "field-open"]
    typed = TYPED
    for way in ways:
        form, typed = PageForm(form.press(client, URL, way, **typed), "base"), {}
    assert form.press(client, URL, **typed).status_code == 302
    assert plain(poll) == SAVED


WRONG = {
    "field-step": "abc",
    "field-weight": "1,5,5",
    "field-colour": "pink",
    "json-votes": '{"Faro": ',
}


def test_what_does_not_fit_is_said_beside_it_and_stays(
    client: Client, poll: Any
) -> None:
    rev = poll.snapshot().rev
    form = PageForm(client.get(URL), "controls")
    response = form.press(client, URL, **WRONG)
    assert response.status_code == 200
    text = response.content.decode()
    assert text.count('aria-invalid="true"') == len(WRONG)
    # The first of them has the focus.
    assert text.count(" autofocus") == 1
    assert "Enter a whole number." in text
    shown = PageForm(response, "controls").sent("save")
    # A list of choices cannot hold what is no choice.
    for name in WRONG.keys() - {"field-colour"}:
        assert shown[name] == [WRONG[name]]
    assert poll.snapshot().rev == rev


def test_what_does_not_fit_is_not_lost_by_a_switch(client: Client, poll: Any) -> None:
    form = PageForm(client.get(URL), "controls")
    as_json = PageForm(form.press(client, URL, "json", **WRONG), "state")
    state = json.loads(as_json.sent("save")["state"][0])
    assert state["step"] == "abc"
    assert state["votes"] == '{"Faro": '
    refused = as_json.press(client, URL)
    assert "Expected `int`, got `str` - at `$.step`" in text_of(refused)
    again = PageForm(as_json.press(client, URL, "fields"), "controls").sent("save")
    # No control of numbers holds it: it is JSON here, too.
    assert again["json-step"] == ['"abc"']


def test_json_that_is_none_stays_as_it_was_typed(client: Client, poll: Any) -> None:
    form = PageForm(client.get(URL, {"as": "json"}), "state")
    response = form.press(client, URL, "fields", state='{"title": ')
    assert "This is not JSON" in text_of(response)
    assert PageForm(response, "state").sent("save")["state"] == ['{"title": ']
    response = form.press(client, URL, "fields", state='{"title": 1, "tilte": "x"}')
    shown = PageForm(response, "controls").sent("save")
    assert (shown["json-title"], shown["json-tilte"]) == (["1"], ['"x"'])
    refused = PageForm(response, "controls").press(client, URL)
    assert "Expected `str`, got `int`" in text_of(refused)


def test_a_limit_of_the_declaration_is_told_at_its_field(
    client: Client, poll: Any
) -> None:
    form = PageForm(client.get(URL), "controls")
    response = form.press(client, URL, **{"field-step": "12"})
    text = response.content.decode()
    assert text.count('aria-invalid="true"') == 1
    assert "less than or equal to 9" in text


def test_forged_controls_are_no_error_of_the_server(client: Client, poll: Any) -> None:
    names = ["field-title", "lines-step", "field-votes", "x", "", "json-", "field-no"]
    begun = PageForm(client.get(URL), "base").sent("save")
    for do in ("save", "json", "fields"):
        body = {"controls": names, "base": begun["base"], "do": do}
        assert client.post(URL, body).status_code == 200
        assert client.post(URL, {"controls": "", "do": do}).status_code == 200
