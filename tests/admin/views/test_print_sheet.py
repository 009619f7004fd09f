"""The print sheet of a session: everybody, by name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sessionstores import State, stores
from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.state.declaration import registry
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db

URL = page("print", CODE)


def table(response: Any) -> list[str]:
    """Return what each row says."""
    sheet = response.content.decode().partition("ss-sheet")[2]
    rows = re.findall(r"<tr>.*?</tr>", sheet, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]


def test_everybody_is_listed_by_name_with_role_step_and_progress() -> None:
    stores.set_label(fill("p9", "p1", "p5"), "Team day")
    stores.set_name(CODE, "p9", "Ada")
    stores.set_role(CODE, "p9", "facilitator")
    stores.set_name(CODE, "p1", "ben")
    connect("p1", step="2")
    with registry.isolated(Agenda, Board):

        class Cards(State, progress="placed"):
            placed: int = 12

        stores.get(Cards, CODE, "p9").snapshot()
        response = signed_in("view_dashboard").get(URL)
    text = text_of(response)
    assert "Team day K7Q2ZD" in text
    assert "1 of 3 participants online" in text
    head, ada, ben, other = table(response)
    assert head == "Participant Role Step Progress Last action"
    assert ada.startswith("Ada facilitator – 12 ")
    assert ben.startswith("ben participant 2 – ")
    # Who has no name comes last, by their id.
    assert other.startswith("p5 participant – – ")


def test_all_are_on_it_however_many_there_are() -> None:
    fill(*(f"p{number:03d}" for number in range(120)))
    rows = table(signed_in(*ALL).get(URL))
    assert len(rows) == 121
    assert rows[-1].startswith("p119")


def test_a_session_that_is_gone_and_an_outage_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = signed_in(*ALL)
    assert client.get(URL).status_code == 404
    fill("alice")

    async def fail(*args: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    monkeypatch.setattr(get_backend(blocking=True), "participants", fail)
    response = client.get(URL)
    assert response.status_code == 200
    assert "The cache does not answer" in text_of(response)
