"""The rules of the house, checked on the source: layout, names, docstrings, memory."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sessionstores
from sessionstores.backends.base import Backend
from tests.module_state import (
    Module,
    changed_at_import,
    functions,
    mutable_objects,
    own_nodes,
    parse,
    resets,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sessionstores"
SCRIPTS = PACKAGE / "static" / "sessionstores"
MODULES_AT_THE_TOP = 17
LINES = 400
# Wires what has to wait until all apps are loaded.
APPS = "sessionstores.apps"
ANCESTORS = 2
# Django finds these by their names.
SHARED_NAMES = {"Command", "Meta"}
NOT_USED = {"engine", "handle", "helper", "util"}
QUESTIONS = {"How", "What", "When", "Where", "Whether", "Which", "Who", "Whom", "Whose"}

# What one process keeps outside of a hub or a backend, and why no test resets it.
PROCESS_WIDE = {
    "backends.cas.keys:_followed_keys": "names, a pure function of its arguments",
    "backends.profiles:_profile": "decoded texts, a pure function of them",
    "backends.database_deadline:watchdog": "knows calls while they are under way",
    "backends.database_pool:_inherited": "in a forked child, what its parent uses",
    "backends.database_pool:_pools": "weak: each lasts as long as a backend uses it",
    "backends.memcached_pool:_pools": "weak: each lasts as long as a backend uses it",
    "backends.redis.scripts:load_script": "the text of a file of the package",
    "backends:_backends": "forgets on setting_changed",
    "backends:_lock": "renewed after a fork",
    "backends:_makers": "ends with its block, which is a test's",
    "conf:_changes": "only ever compared with itself",
    "conf:_choices": "counts contexts that end",
    "conf:_chosen": "ends with its context",
    "conf:_current": "forgets on setting_changed",
    "conf:_lock": "renewed after a fork",
    "conf:_prefix": "ends with its block, which is a test's",
    "contrib.recording:_call": "ends with the call",
    "contrib.recording:_in_step": "ends with the step",
    "contrib.recording:_recording": "of each request by itself, and over with it",
    "event_bus:bus": "wired once, in apps.ready()",
    "event_bus:patches": "counts since the process started, as Prometheus wants it",
    "manager:stores": "holds no data, and its stores by weak references",
    "middleware:_with_participant": "a class made from a class",
    "monitoring.counters:counters": "counts since the process started",
    "monitoring.counters:removed": "counts since the process started",
    "monitoring.counters:resumed": "counts since the process started",
    "participants.private_pages:_watch": "of each request by itself, and over with it",
    "realtime.channel_layer:counters": "counts since the process started",
    "realtime.error_frames:_tells_all": "ends with the connection of a test's tab",
    "realtime.hub:_by_loop": "the hub of each event loop, by weak references",
    "realtime.hub:hubs": "the hubs that have tabs; each ends with its last one",
    "realtime.lobby:_by_loop": "the lobby of each event loop, by weak references",
    "realtime.publisher:publisher": "closes its connections on setting_changed",
    "realtime.roster:NOBODY": "remembers the frame that it was asked for last",
    "realtime.roster:_numbers": "numbers that are only compared",
    "realtime.staff:nudger": "forgets on setting_changed",
    "realtime.timeline:timeline": "forgets on setting_changed",
    "state.actions:_injectable": "types, registered once when they are defined",
    "state.codec:_plan": "what a class looks like",
    "state.declaration:registry": "classes, registered once when they are declared",
    "store.turns:current_turn": "of each context by itself, and over with its block",
}


def sources(*folders: str) -> dict[str, str]:
    """Return the Python sources in folders of the repository, by dotted name."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file.read_text()
        for folder in folders
        for file in sorted((ROOT / folder).rglob("*.py"))
    }


@cache
def package() -> dict[str, Module]:
    """Return the package's modules by dotted name."""
    return parse(sources("sessionstores"))


def classes(tree: ast.AST) -> Iterator[ast.ClassDef]:
    """Yield all class definitions, those in classes and functions too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def assert_none(faults: Iterable[object]) -> None:
    """Fail with one line for each fault."""
    lines = [str(fault) for fault in faults]
    assert not lines, "\n".join(["", *lines])


# Layout


def test_few_modules_lie_beside_the_packages() -> None:
    modules = sorted(file.name for file in PACKAGE.glob("*.py"))
    assert 1 < len(modules) <= MODULES_AT_THE_TOP, modules


def test_modules_are_short() -> None:
    lengths = {
        name: len(source.splitlines())
        for name, source in sources("sessionstores", "project").items()
    }
    assert_none(each for each in lengths.items() if each[1] > LINES)
    assert max(lengths.values()) > LINES / 2


def local_imports(module: Module) -> Iterator[str]:
    """Yield where functions import, `apps.ready()` and what it calls aside."""
    if module.name == APPS:
        return
    for scope, _ in functions(module.tree):
        name = getattr(scope, "name", "lambda")
        yield from (
            f"{module.name}.{name}"
            for node in own_nodes(scope)
            if isinstance(node, ast.Import | ast.ImportFrom)
        )


def test_functions_import_nothing() -> None:
    assert_none(place for each in package().values() for place in local_imports(each))


def test_an_import_in_a_function_is_found() -> None:
    source = "class A:\n    def b(self):\n        if True:\n            import os"
    (module,) = parse({"m": source}).values()
    assert list(local_imports(module)) == ["m.b"]


# Types


def test_only_the_typed_async_unsafe_is_used() -> None:
    """Django's has no types, and takes those of what it decorates from every site."""
    users = [
        name
        for name, source in sources("sessionstores").items()
        if re.search(r"django\.utils(\.| import )asyncio", source)
    ]
    assert users == ["sessionstores.concurrency.async_unsafe"]


# Classes


def all_classes() -> set[type[Any]]:
    """Import every module, and return the classes that they define."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(sessionstores.__path__, "sessionstores.")
    ]
    return {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def ancestors(cls: type[Any]) -> list[str]:
    """Return the classes of ours that one inherits from, at any distance."""
    return [
        f"{base.__module__}.{base.__qualname__}"
        for base in cls.__mro__[1:]
        if base.__module__.startswith("sessionstores")
    ]


def test_no_class_has_many_ancestors() -> None:
    found = all_classes()
    # Everything that is defined at a module's level was seen.
    assert {name for each in package().values() for name in each.classes} <= {
        cls.__name__ for cls in found
    }
    assert_none(
        f"{cls.__module__}.{cls.__qualname__}: {', '.join(ancestors(cls))}"
        for cls in sorted(found, key=repr)
        if len(ancestors(cls)) > ANCESTORS + issubclass(cls, Backend)
    )


def class_names(
    modules: Iterable[Module], scripts: Iterable[Path]
) -> dict[str, list[str]]:
    """Return where each class name is defined, in Python and in JavaScript."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for cls in classes(module.tree):
            places[cls.name].append(f"{module.name}, line {cls.lineno}")
    for script in scripts:
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", script.read_text(), flags=re.DOTALL)
        for name in re.findall(r"\bclass\s+([A-Za-z_]\w*)", code):
            places[name].append(script.name)
    return places


def test_no_class_name_stands_for_two_things() -> None:
    places = class_names(package().values(), sorted(SCRIPTS.glob("*.js")))
    assert {"StoreManager", "PatchError"} <= places.keys()
    assert_none(
        f"{name}: {'; '.join(at)}"
        for name, at in places.items()
        if len(at) > 1 and name not in SHARED_NAMES
    )


def test_a_class_name_of_python_is_not_one_of_javascript(tmp_path: Path) -> None:
    script = tmp_path / "a.js"
    script.write_text("// class Comment\nexport class Board extends Error {}")
    module = parse({"m": "class Board: ..."})["m"]
    assert class_names([module], [script]) == {"Board": ["m, line 1", "a.js"]}


# Words


def words(name: str) -> set[str]:
    """Return the words of a name, in lower case and without a plural's s."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower().removesuffix("s") for part in parts}


def forbidden_names(module: Module) -> Iterator[str]:
    """Yield the names of a module, its classes and functions that have another word."""
    for name in module.name.split("."):
        if words(name) & NOT_USED:
            yield module.name
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Django calls a command's `handle`.
            required = node.name == "handle" and ".management.commands." in module.name
            if node.name == "SessionStore" or (
                words(node.name) & NOT_USED and not required
            ):
                yield f"{module.name}.{node.name}"


def test_names_avoid_words_that_say_nothing() -> None:
    assert_none(name for each in package().values() for name in forbidden_names(each))
    scripts = [*SCRIPTS.glob("*.js")]
    assert scripts
    for script in scripts:
        named = re.findall(r"\b(?:class|function)\s+(\w+)", script.read_text())
        assert [name for name in [script.stem, *named] if words(name) & NOT_USED] == []


def test_words_that_say_nothing_are_found() -> None:
    source = "class SessionStore: ...\ndef handle_it(): ...\ndef handler(): ..."
    modules = parse({"a.json_utils": source, "a.c": "class HTTPEngine: ..."})
    assert [name for each in modules.values() for name in forbidden_names(each)] == [
        "a.json_utils",
        "a.json_utils.SessionStore",
        "a.json_utils.handle_it",
        "a.c.HTTPEngine",
    ]


def docstring_faults(name: str, source: str) -> list[str]:
    """Return what is wrong with a module's docstring."""
    if not source and name.endswith("__init__"):
        return []
    docstring = ast.get_docstring(ast.parse(source)) or ""
    first, *rest = docstring.splitlines() or [""]
    faults = []
    if first.split(" ")[0].strip("`'’") in QUESTIONS:
        faults.append(f"{name} answers a question: {first}")
    if not first.endswith(".") or re.search(r"[.?!] [A-Z`]", first):
        faults.append(f"{name} does not open with one sentence: {first}")
    if rest and rest[0]:
        faults.append(f"{name} has no blank line after its first")
    return faults


@pytest.mark.parametrize("folder", ["sessionstores", "project", "benchmarks"])
def test_modules_open_with_one_plain_sentence(folder: str) -> None:
    found = sources(folder)
    assert found
    assert_none(
        fault for name in found for fault in docstring_faults(name, found[name])
    )


def test_faulty_docstrings_are_found() -> None:
    assert docstring_faults("m", '"""Token bucket: starts full."""') == []
    assert docstring_faults("a.__init__", "") == []
    for source in (
        "",
        '"""Token bucket"""',
        '"""Is it full?"""',
        '"""One. Two."""',
        '"""What a bucket is."""',
        '"""A bucket.\nFull at first."""',
    ):
        assert len(docstring_faults("m", source)) == 1, source


# Memory


def test_no_module_holds_what_tests_would_have_to_reset() -> None:
    found = mutable_objects(package(), wired_by=APPS)
    kept = {f"sessionstores.{name}" for name in PROCESS_WIDE}
    assert_none(f"{name}: {found[name]}" for name in sorted(found.keys() - kept))
    assert kept - found.keys() == set(), "not there, or no longer changed"


def test_importing_a_module_changes_no_other() -> None:
    assert_none(changed_at_import(package()))


MEMORY = {
    "p.__init__": "from .a import log as journal",
    "p.a": """
import functools
from collections import deque
CONSTANT = {"a": 1}
log, seen = [], set()
log = []
queue: deque = deque()
current = None
class Clock:
    zones = {}
    def __init__(self): self.offset = 0
    def tick(self): self.offset += 1
    def place(self): self.zones["here"] = 1
class Chime(Clock): ...
class Frozen:
    def __init__(self): self.names = []; self.names.append(1)
clock, frozen = Chime(), Frozen()
clock = Chime()
frozen = Frozen()
@functools.cache
def table(): return CONSTANT["a"]
def write(log):
    log.append(1)
def switch():
    global current
    current = 1
def turn():
    def inner(): queue[0] = 1
    return inner
""",
    "p.b": """
from . import a, journal
from .a import CONSTANT
def write(): journal.append(1)
def read(): return CONSTANT["b"]
a.queue.append(1)
""",
}


def test_what_modules_hold_is_found() -> None:
    modules = parse(MEMORY)
    assert set(mutable_objects(modules)) == {
        "p.a:log",
        "p.a:queue",
        "p.a:current",
        "p.a:clock",
        "p.a:table",
        "p.a:Clock.zones",
    }
    assert changed_at_import(modules) == ["p.a:queue by importing p.b"]
    assert "p.a:log" not in mutable_objects(modules, wired_by="p.b")


def test_no_page_is_polled_by_a_text_that_it_evaluates() -> None:
    """A page's strict policy forbids that from the second time on.

    So that a test by Playwright's method passes if what it waits for is there at once.
    """
    method = "wait_for" + "_function"
    assert [
        each for each in (ROOT / "tests").rglob("*.py") if method in each.read_text()
    ] == []


def test_no_fixture_resets_a_module() -> None:
    everything = parse(sources("sessionstores", "tests"))
    objects = {
        f"{module.name}:{name}"
        for module in package().values()
        for name in module.assigned
    }
    # A test that listens takes its own subscription back, which resets nothing.
    objects.remove("sessionstores.event_bus:bus")
    tests = [each for name, each in everything.items() if name.startswith("tests")]
    assert len(tests) > 100
    assert_none(place for each in tests for place in resets(each, objects))


def test_a_fixture_that_resets_is_found() -> None:
    source = """
import pytest
from p import a
from p.a import log, queue, table
@pytest.fixture
def fresh(monkeypatch):
    log.clear()
    a.current = None
    monkeypatch.setattr(queue, "due", None)
    yield
    queue[:] = []
def test_log():
    log.clear()
"""
    modules = parse({**MEMORY, "tests.test_a": source})
    objects = {"p.a:log", "p.a:queue", "p.a:current"}
    found = resets(modules["tests.test_a"], objects)
    assert [place.partition(" ")[2] for place in found] == [
        "line 7: p.a:log",
        "line 8: p.a:current",
        "line 9: p.a:queue",
        "line 11: p.a:queue",
    ]
