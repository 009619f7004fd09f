"""The export of a session as files: rows, their redaction, and how they are sent."""

from __future__ import annotations

import csv
import json
import tracemalloc
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.test import AsyncClient, Client

from sessionstores import State, field, stores
from sessionstores.admin import export
from sessionstores.admin.export import BOM, LONG, PERSON, SessionExport
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import StoreUnavailable
from sessionstores.state.declaration import registry
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db

URL = page("export", CODE)


@pytest.fixture
def client() -> Client:
    fill("alice", "bob", "carol")
    stores.set_name(CODE, "alice", "Alice")
    stores.set_role(CODE, "bob", "facilitator")
    connect("alice", step="5")
    connect("carol", name="Carol of a tab")
    return signed_in(*ALL)


def rows(client: Client, layout: str) -> list[dict[str, str]]:
    """Return the rows of the CSV, by column."""
    response = client.get(URL, {"format": "csv", "layout": layout})
    assert response.status_code == 200
    text = response.getvalue().decode()
    assert text.startswith(BOM)
    # Line ends inside of a value are in quotes.
    assert text.endswith("\r\n")
    return list(csv.DictReader(StringIO(text.removeprefix(BOM), newline="")))


def test_wide_is_a_row_a_person_with_a_column_a_field(client: Client) -> None:
    alice, bob, carol = rows(client, "wide")
    assert (carol["name"], alice["step"]) == ("Carol of a tab", "5")
    assert [*alice][: len(PERSON)] == [*PERSON]
    assert alice["person"] == "alice"
    assert (alice["name"], alice["role"], alice["online"]) == (
        "Alice",
        "participant",
        "true",
    )
    assert (bob["name"], bob["role"], bob["online"]) == ("", "facilitator", "false")
    assert len(alice["joined_utc"]) == len("2026-01-31 12:00:00")
    assert json.loads(alice["board.deck"])[0] == "ace"
    assert alice["board.piles"] == "{}"
    assert alice["board.notes"] == "••••••/notes"
    # The session's own state is nobody's.
    assert not [name for name in alice if name.startswith("agenda")]


def test_long_is_a_row_a_value_with_the_session_s_own(client: Client) -> None:
    stores.get(Board, CODE, "alice").dispatch(
        lambda board: board.piles.update({"a/b": ["six", "ten"], "none": []})
    )
    found = rows(client, "long")
    assert [*found[0]] == [*LONG]
    assert {row["session"] for row in found} == {CODE}
    values = {(row["person"], row["state"], row["path"]): row["value"] for row in found}
    assert values["*", "agenda", "/step"] == "2"
    assert values["alice", "board", "/piles/a~1b/1"] == "ten"
    assert values["alice", "board", "/piles/none"] == "[]"
    assert values["alice", "board", "/notes"] == "••••••/notes"
    assert values["bob", "board", "/piles"] == "{}"


def test_json_has_the_same_rows(client: Client) -> None:
    wide = json.loads(client.get(URL, {"format": "json"}).getvalue())
    assert wide["session"] == CODE
    assert wide["states"]["agenda"]["step"] == 2
    alice, bob, carol = wide["people"]
    assert (carol["name"], alice["step"]) == ("Carol of a tab", "5")
    assert (alice["person"], alice["name"], bob["role"]) == (
        "alice",
        "Alice",
        "facilitator",
    )
    assert alice["states"]["board"]["deck"][0] == "ace"
    assert alice["states"]["board"]["notes"] == "••••••/notes"
    query = {"format": "json", "layout": "long"}
    long = json.loads(client.get(URL, query).getvalue())
    assert {tuple(row) for row in long} == {LONG}
    assert {"path": "/step", "value": 2}.items() <= long[0].items()
    plain = json.loads(client.get(URL).getvalue())
    assert [*plain] == ["session", "label", "created", "exported", "records"]
    assert [*plain["records"]] == ["*", "alice", "bob", "carol"]
    assert [*plain["records"]["alice"]] == ["rev", "states"]


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_what_a_spreadsheet_would_run_is_text(client: Client, layout: str) -> None:
    with registry.isolated():

        class Answer(State):
            text: str = ""
            number: float = 0.0

        evil = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "＝1", 'a,"b"\r\nc', "é"]
        for number, text in enumerate(evil):
            store = stores.get(Answer, CODE, f"evil{number}")
            store.dispatch(lambda answer, text=text: setattr(answer, "text", text))
            store.dispatch(lambda answer: setattr(answer, "number", -1.5))
        stores.set_name(CODE, "evil0", "=HYPERLINK(1)")
        found = [row for row in rows(client, layout) if "evil" in row["person"]]
        if layout == "wide":
            assert found[0]["name"] == "'=HYPERLINK(1)"
            texts = [row["answer.text"] for row in found]
            # A number is no formula.
            assert {row["answer.number"] for row in found} == {"-1.5"}
        else:
            texts = [row["value"] for row in found if row["path"] == "/text"]
        assert texts == [*(f"'{text}" for text in evil[:7]), *evil[7:]]


def test_states_that_nobody_declares_are_named_and_hidden(client: Client) -> None:
    with registry.isolated():

        class Bygone(State):
            words: str = "private"

        stores.get(Bygone, CODE, "alice").snapshot()
    alice, bob, _carol = rows(client, "wide")
    assert json.loads(alice["other"]) == {"bygone": "••••••"}
    assert bob["other"] == ""
    hidden = [row for row in rows(client, "long") if row["state"] == "bygone"]
    assert [(row["path"], row["value"]) for row in hidden] == [("", "••••••")]


def test_steps_and_progress_have_columns_of_their_own(client: Client) -> None:
    with registry.isolated(Agenda):

        class Cards(State, progress="placed"):
            step: int = 3
            text: str = ""

            @property
            def placed(self) -> tuple[int, int]:
                return 12, 14

        stores.get(Cards, CODE, "alice").snapshot()
        alice, bob, _carol = rows(client, "wide")
        wide = json.loads(client.get(URL, {"format": "json"}).getvalue())
    columns = ("step", "progress", "progress_of")
    assert [alice[name] for name in columns] == ["5", "12", "14"]
    assert [bob[name] for name in columns] == ["", "", ""]
    assert wide["people"][0]["progress"] == {"done": 12, "of": 14}
    assert wide["people"][1]["progress"] is None
    assert wide["step"] == "2"


def test_each_export_is_logged_with_its_kind(client: Client) -> None:
    client.get(URL)
    client.get(URL, {"format": "csv"})
    client.get(URL, {"format": "json", "layout": "long"})
    entries = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert [*entries] == [
        "Exported the session.",
        "Exported the session as csv, wide.",
        "Exported the session as json, long.",
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"format": "xml"}, "format is csv or json, not 'xml'."),
        ({"format": "csv", "layout": "tall"}, "layout is wide or long, not 'tall'."),
    ],
)
def test_an_unknown_kind_is_refused_in_words(
    client: Client, query: dict[str, str], said: str
) -> None:
    response = client.get(URL, query)
    assert (response.status_code, response.content.decode()) == (400, said)
    assert not LogEntry.objects.exists()


def test_the_page_offers_every_kind_to_those_who_may_see_states(client: Client) -> None:
    shown = client.get(page("session", CODE)).content.decode()
    for query in ("?format=csv&amp;layout=wide", "?format=json&amp;layout=long", ""):
        assert f'href="{URL}{query}"' in shown
    other = signed_in("view_dashboard", name="ned")
    assert URL not in other.get(page("session", CODE)).content.decode()


def test_an_outage_is_a_page_and_no_broken_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    monkeypatch.setattr(get_backend(blocking=True), "read_records", fail)
    for query in ({}, {"format": "csv"}, {"format": "json", "layout": "long"}):
        response = client.get(URL, query)
        assert "The cache does not answer" in response.content.decode()
    assert not LogEntry.objects.exists()


async def test_under_asgi_it_is_sent_part_by_part(
    transactional_db: None,
) -> None:
    staff = await export_client()
    response = await staff.get(URL, {"format": "csv", "layout": "long"})
    assert response.is_async
    parts = [part async for part in response.streaming_content]
    assert len(parts) > 1
    assert b"alice" in b"".join(parts)


async def export_client() -> AsyncClient:
    """Return a client of an event loop, for which somebody is signed in."""

    def prepare() -> AsyncClient:
        fill("alice")
        client = AsyncClient()
        client.cookies = signed_in(*ALL).cookies
        return client

    return await sync_to_async(prepare)()


with registry.isolated():

    class Large(State, name="large"):
        """Much to hold for everybody at once."""

        text: str = "x" * 10_000
        items: list[int] = field(default_factory=lambda: [*range(200)])


@pytest.mark.parametrize("layout", ["wide", "long", "records"])
def test_everybody_takes_few_round_trips_and_bounded_memory(
    layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = stores.create_session(label="Many", keep=60)
    people = 3 * export.BATCH + 1
    with registry.isolated(Large):
        for number in range(people):
            stores.get(Large, code, f"p{number}").snapshot()
        backend = get_backend(blocking=True)
        inner, asked = backend.read_records, []

        async def read_records(code: str, ids: list[str]) -> Any:
            asked.append(len(ids))
            return await inner(code, ids)

        monkeypatch.setattr(backend, "read_records", read_records)
        info, listed = run(backend.session(code)), run(backend.participants(code))
        assert info is not None
        format = "json" if layout == "records" else "csv"
        size = people * 10_000
        tracemalloc.start()
        try:
            chunks = SessionExport(backend, info, listed, {}).chunks(format, layout)
            assert sum(map(len, chunks)) > size
            _now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Each is asked for once, and the session's own record.
    assert sum(asked) == people + 1
    assert len(asked) == 4
    # Far less than all of it, with what is made of each batch.
    assert peak < size * 2
