"""What the pages of the documentation show works as shown, and their links lead on."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.contrib import admin, messages
from django.core.mail import mail_admins
from django.dispatch import Signal, receiver
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.test import override_settings
from django.utils.module_loading import import_string

import sessionstores
from sessionstores import State, conf, signals, stores
from sessionstores.models import LiveSession
from sessionstores.realtime import protocol
from sessionstores.realtime.people_frames import (
    gone_frame,
    presence_frame,
    self_frame,
    unwatched_frame,
    watching_frame,
)
from sessionstores.state.declaration import problems_of, registry

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
# Run by the browser, and judged with what it becomes there.
PASTED = "tutorial/planning-poker.md"
# Not needed to develop the package; what uses them is compiled only.
ELSEWHERE = ("whitenoise.", "django.tasks")
SETTINGS = ("CACHES", "SESSIONSTORES", "INSTALLED_APPS", "MIDDLEWARE")


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def blocks(page: str) -> list[str]:
    """Return the Python of a page, each block without the indentation of its list."""
    return [
        re.sub(f"^{indentation}", "", block, flags=re.MULTILINE)
        for indentation, block in BLOCK.findall(text_of(page))
    ]


def imported(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Yield what a block imports: the module, and the name in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, None) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((str(node.module), name.name) for name in node.names)


def is_missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def missing(block: str) -> set[str]:
    """Return the modules of a block that are not installed here."""
    return {name for name, _ in imported(ast.parse(block)) if is_missing(name)}


BOARD = """
class Board(State):
    deck: list[str] = field(default_factory=lambda: ["ace", "king"])
    kept: list[str] = field(default_factory=list[str])
    notes: str = ""

    @action
    def keep(self, card: str) -> None:
        self.deck.remove(card)
        self.kept.append(card)

    @action
    def hand_in(self) -> list[str]:
        return self.kept
"""


class Rows:
    """The manager of a model of the reader's: it keeps the rows that it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def create(self, **row: Any) -> None:
        self.rows.append(row)

    def update_or_create(self, defaults: dict[str, Any], **row: Any) -> None:
        self.create(**row, **defaults)


class Stage(dict[str, Any]):
    """The names that pages take for granted: the reader's site, small but real."""

    def __init__(self) -> None:
        super().__init__({name: getattr(sessionstores, name) for name in PUBLIC})
        # A class that a page declares anew, in the same place, replaces this one's.
        self["__name__"] = __name__
        self.run(BOARD, "stage")
        board = self["Board"]
        self.results = Rows()
        model = SimpleNamespace(objects=self.results)
        code = stores.create_session()
        stores.get(board, code, "alice").dispatch(board.keep, "ace")
        self.update(
            Result=model,
            Archive=model,
            Lost=model,
            code=code,
            PASSWORD="secret",
            URL="redis://cache.internal:6379/0",
            CACHES=dict(settings.CACHES),
            INSTALLED_APPS=list(settings.INSTALLED_APPS),
            MIDDLEWARE=list(settings.MIDDLEWARE),
            app=SimpleNamespace(conf=SimpleNamespace()),
            json=json,
            mail_admins=mail_admins,
            messages=messages,
            old={"bob": ["queen"]},
            os=SimpleNamespace(environ={"STATS_TOKEN": "token"}),
            receiver=receiver,
            redirect=redirect,
            render=render,
            shared_task=lambda function: function,
            **{name: getattr(signals, name) for name in SIGNALS},
        )

    def run(self, block: str, page: str) -> None:
        code = compile(block, page, "exec", dont_inherit=True)
        exec(code, self)


PUBLIC = sessionstores.__all__
SIGNALS = [name for name, each in vars(signals).items() if isinstance(each, Signal)]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A site of the reader's, of which nothing remains."""
    kept = {name: list(getattr(signals, name).receivers) for name in SIGNALS}
    registered = type(admin.site.get_model_admin(LiveSession))
    with registry.isolated():
        yield Stage()
    for name, receivers in kept.items():
        getattr(signals, name).receivers = receivers
        getattr(signals, name).sender_receivers_cache.clear()
    admin.site.unregister(LiveSession)
    admin.site.register(LiveSession, registered)


@pytest.mark.parametrize("page", PAGES)
def test_its_python_can_be_read(page: str) -> None:
    for block in blocks(page):
        compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        lacks = {name for name in missing(block) if not name.startswith(ELSEWHERE)}
        sites = {"poker", "mysite", "workshop.states", "workshop.fragments"}
        assert lacks - sites == set()
        for module, name in imported(ast.parse(block)):
            if module.startswith("sessionstores") and name:
                assert hasattr(importlib.import_module(module), name), name


def caught(block: str) -> Iterator[str]:
    """Yield how a block makes text of what it catches, which is for developers."""
    for handler in ast.walk(ast.parse(block)):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            error = re.escape(handler.name)
            for line in map(ast.unparse, handler.body):
                yield from re.findall(rf"\bstr\({error}\)|{{{error}[}}!:]", line)


@pytest.mark.parametrize("page", PAGES)
def test_it_shows_people_no_hint_for_developers(page: str) -> None:
    assert [text for block in blocks(page) for text in caught(block)] == []


@pytest.mark.parametrize("page", PAGES)
def test_its_names_of_the_api_exist(page: str) -> None:
    for name in re.findall(r"\bstores\.(\w+)\(", text_of(page)):
        assert hasattr(stores, name), name
    for key in re.findall(r'SESSIONSTORES\["(\w+)"\]', text_of(page)):
        assert key in conf.KEYS
    for name in re.findall(r"SESSIONSTORES = (\{.*\})", text_of(page)):
        assert set(re.findall(r'"([A-Z_]+)":', name)) <= conf.KEYS.keys()


# These have tests of their own, which set a scene.
STAGED = ("everybody.md", "joining.md", "people.md", "states.md", "testing.md")
RUN = [page for page in PAGES if blocks(page) and page not in (PASTED, *STAGED)]


@pytest.mark.parametrize("page", RUN)
def test_its_python_runs(page: str, stage: Stage) -> None:
    for block in blocks(page):
        if missing(block):
            continue
        stage.run(block, page)
        assert [
            problem for cls in declared(stage) for problem in problems_of(cls)
        ] == []
    given = {name: stage[name] for name in SETTINGS if name in stage}
    assert conf.problems(given.get("SESSIONSTORES", {})) == []
    for cache in given["CACHES"].values():
        assert import_string(cache["BACKEND"])


def declared(stage: Stage) -> list[type[State]]:
    return [
        each
        for name, each in stage.items()
        if isinstance(each, type) and issubclass(each, State) and name != "State"
    ]


def test_keeping_results_keeps_them(stage: Stage) -> None:
    for block in blocks("how-to/keep-results.md"):
        stage.run(block, "how-to/keep-results.md")
    code = stage["code"]
    stores.get(stage["Board"], code, "bob").dispatch(stage["Board"].keep, "king")
    stores.cleanup_participant(code, "bob")
    assert stage.results.rows == [{"code": code, "who": "bob", "kept": ["king"]}]
    stage.results.rows.clear()
    with override_settings(ROOT_URLCONF=SimpleNamespace(urlpatterns=[])):
        stage["redirect"] = lambda name: HttpResponse(name)
        request = SimpleNamespace(participant=SimpleNamespace(id="alice"))
        assert stage["hand_in"](request, code).content == b"thanks"
    stage["finish"](code)
    assert {"code": code, "who": "alice", "kept": ["ace"]} in stage.results.rows
    assert code not in stores.sessions()


def test_coming_from_global_stores_keeps_what_was_live(stage: Stage) -> None:
    for block in blocks("how-to/global-stores.md"):
        stage.run(block, "how-to/global-stores.md")
    step = stores.get(stage["Step1"], stage["code"], "bob")
    step.dispatch(stage["Step1"].finish)
    assert (step.state.cards, step.state.done) == (["queen"], True)


# Links


def headings(path: Path) -> set[str]:
    """Return the anchors of a page, as GitHub and MyST make them."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", each.lower()) for each in found]
    return {each.replace(" ", "-") for each in plain} | set(
        re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for link, anchor in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        target = (DOCS / page).parent / link if link else DOCS / page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), f"{link}#{anchor}"


# Reference


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page's tables, by the code in their first cell."""
    found = {}
    for line in text_of(page).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and (name := re.match(r"`([^`]+)`", cells[0])):
            found[name[1]] = cells
    return found


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = rows("reference/settings.md")
    assert list(table) == list(conf.KEYS)
    for key, (_, default, allowed, meaning) in table.items():
        name = conf.KEYS[key]
        assert ast.literal_eval(default.strip("`")) == getattr(conf.Conf(), name)
        assert allowed == conf._description(conf._TYPES[name])
        assert meaning


def test_every_signal_is_in_the_table() -> None:
    assert list(rows("reference/signals.md")) == SIGNALS


def examples(section: str) -> dict[str, list[dict[str, Any]]]:
    """Return the frames that a section shows, by their types."""
    text = text_of("reference/frames.md").partition(f"## {section}\n")[2]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in text.split("```")[1].splitlines()[1:]:
        frame = json.loads(line)
        found.setdefault(frame["type"], []).append(frame)
    return found


def test_the_frames_from_a_tab_are_read_as_shown() -> None:
    shown = examples("From a tab")
    assert set(shown) == protocol._TYPES
    for type, frames in shown.items():
        for frame in frames:
            read = protocol.parse(json.dumps(frame))
            assert read.__struct_config__.tag == type
            assert frame.keys() - {"type"} <= set(read.__struct_fields__)
        assert set(read.__struct_fields__) <= set().union(*frames)


ABOUT_PEOPLE: dict[str, Callable[..., str]] = {
    "presence": presence_frame,
    "self": self_frame,
    "watching": watching_frame,
    "gone": gone_frame,
    "unwatched": unwatched_frame,
}
# What the page shows of each, in the arguments that make it.
SENT: dict[str, dict[str, Any]] = {
    "welcome": {
        "session": "K7Q2ZD",
        "participant": "alice",
        "role": "participant",
        "name": "Ada",
        "client": "c8f2",
        "ping": 10,
        "now": 1_700_000_000.5,
        "rate": (20, 40),
        "frame": 65_536,
    },
    "snapshot": {
        "doc": "me",
        "rev": "7f3a.44-9f3ac21b",
        "run": "9c",
        "done": {"c8f2": 17},
        "states": {"board": msgspec.Raw(b'{"deck":["ace"]}')},
    },
    "patch": {
        "doc": "me",
        "base": "7f3a.44-9f3ac21b",
        "rev": "7f3a.45-51d0aa37",
        "ops": b'[{"op":"remove","path":"/board/deck/0"}]',
    },
    "ack": {
        "id": 18,
        "doc": "me",
        "base": "7f3a.44-9f3ac21b",
        "result": b"null",
        "rev": "7f3a.45-51d0aa37",
        "ops": b'[{"op":"remove","path":"/board/deck/0"}]',
    },
    "reject": {
        "id": 19,
        "code": "not_in_deck",
        "message": "That card is already placed.",
    },
    "ping": {"heads": {"me": "7f3a.45-51d0aa37"}},
    "presence": {
        "joined": {"bob": [b'{"step":2}']},
        "left": ["carol"],
        "people": {"bob": ("Bob", "participant")},
    },
    "self": {"name": "Ada", "role": "facilitator"},
    "watching": {
        "participant": "*",
        "states": ["board"],
        "people": {"bob": ("Bob", "participant")},
    },
    "gone": {"participant": "bob", "reason": "kicked"},
    "unwatched": {"participant": "*", "reason": "forbidden"},
    "message": {"data": b'{"announcement":"Lunch"}'},
    "token": {"text": "…"},
    "end": {"reason": "ended", "message": "This session is over."},
    "error": {"code": "bad_json", "message": "…"},
}


def test_the_frames_to_a_tab_are_written_as_shown() -> None:
    shown = examples("To a tab")
    assert set(shown) == set(SENT)
    for type, (frame,) in shown.items():
        write = ABOUT_PEOPLE.get(type) or getattr(protocol, type)
        assert json.loads(write(**SENT[type])) == frame


def test_every_public_name_has_a_place_in_the_reference() -> None:
    text = "".join(map(text_of, PAGES))
    directive = r"^\s*\.\. (?:auto\w+|py:\w+):: sessionstores\.(\w+)"
    documented = set(re.findall(directive, text, re.MULTILINE))
    assert set(PUBLIC) - documented == set()


def test_every_cell_of_the_comparison_has_its_source() -> None:
    text = text_of("explanation/peers.md")
    notes = set(re.findall(r"^\[\^(\w+)\]: ", text, re.MULTILINE))
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(table) == len(notes)
    for line in table:
        _, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        for cell in cells:
            assert cell == "–" or set(re.findall(r"\[\^(\w+)\]", cell)) <= notes
            assert cell == "–" or "[^" in cell, cell


def test_every_command_is_in_the_table_with_its_options() -> None:
    table = rows("reference/commands.md")
    folder = Path(sessionstores.__file__).parent / "management" / "commands"
    for file in folder.glob("[a-z]*.py"):
        options = set(re.findall(r'"(--[a-z-]+)"', file.read_text()))
        (row,) = [cells for name, cells in table.items() if file.stem in name]
        assert set(re.findall(r"`(--[a-z-]+)`", row[2])) == options
