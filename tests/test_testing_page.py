"""What the page on testing a site shows works as shown, and it names all there is."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sessionstores import testing
from sessionstores.testing import (
    SessionStoresTestMixin,
    isolated_stores,
    plugin,
    transports,
)
from tests.workshop import states

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def space(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Run the page's blocks as one module, where `workshop` is the tests' own."""
    plugin.pytest_configure(request.config)
    found: dict[str, Any] = {"__name__": "page"}
    aliases = {"workshop": ModuleType("workshop"), "workshop.states": states}
    before = {name: sys.modules.get(name) for name in aliases}
    sys.modules.update(aliases)
    try:
        for block in BLOCKS:
            exec(compile(block, PAGE.name, "exec", dont_inherit=True), found)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return found


def named(pattern: str) -> list[str]:
    return re.findall(pattern, "\n".join(BLOCKS), re.MULTILINE)


@pytest.mark.parametrize("name", named(r"^(?:async )?def (test_\w+)"))
def test_each_test_that_it_shows_passes(name: str, space: dict[str, Any]) -> None:
    test = space[name]
    marks = [mark.name for mark in getattr(test, "pytestmark", [])]
    assert ("sessionstores_cache" in marks) is (
        name == "test_it_works_on_the_cache_that_we_have"
    )
    with isolated_stores(cache="sessionstores_cache" in marks):
        if inspect.iscoroutinefunction(test):
            asyncio.run(test())
        else:
            test()


@pytest.mark.django_db
@pytest.mark.parametrize("name", named(r"^class (\w+)"))
def test_each_class_that_it_shows_passes(name: str, space: dict[str, Any]) -> None:
    cls = space[name]
    assert issubclass(cls, SessionStoresTestMixin)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
    assert result.testsRun == 2
    assert [*result.errors, *result.failures] == []


def test_it_names_all_that_there_is() -> None:
    for name in testing.__all__:
        # The classes of what `tab` and `blocking_tab` return.
        if name not in {"PageTab", "BlockingTab"}:
            assert name in TEXT, name
    shown = set(re.findall(r"\bpage\.(\w+)", TEXT))
    public = {name for name in dir(testing.PageTab) if not name.startswith("_")}
    assert public - {"open", "close"} <= shown | {"unwatch"}
    assert "websockets>=15" in inspect.getsource(transports)


def test_its_links_lead_somewhere() -> None:
    for link, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", TEXT):
        target = PAGE.parent / link
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        assert not anchor or anchor in {h.lower().replace(" ", "-") for h in headings}
