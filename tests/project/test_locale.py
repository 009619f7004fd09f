"""Every text of the demo is in German: of its code, templates and scripts."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

import pytest

import project
from tests.admin.test_locale import messages_in_po, texts_in_code, texts_in_templates

DEMO = Path(project.__file__).parent
CATALOGS = DEMO / "locale/de/LC_MESSAGES"
# Of a board; its server runs them, and no tab may.
SERVER_ACTIONS = ("introduce", "start_over")


def texts_in_scripts() -> set[tuple[str, str]]:
    return {
        ("", text)
        for path in DEMO.rglob("static/**/*.js")
        for text in re.findall(r'\bgettext\("([^"]+)"\)', path.read_text())
    }


def deeds() -> set[tuple[str, str]]:
    """Return what the admin calls the actions of the demo by: their docstrings.

    They are read, since an import would declare the demo's states beside the tests'.
    """
    tree = ast.parse((DEMO / "states.py").read_text())
    return {
        ("", ast.get_docstring(each) or "")
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef)
        and (
            each.name in SERVER_ACTIONS
            or any("action" in ast.unparse(one) for one in each.decorator_list)
        )
    }


def progress_words() -> set[tuple[str, str]]:
    """Return what the admin says that the demo's progress is of; read, too."""
    return {
        ("", word)
        for word in re.findall(r'progress="(\w+)"', (DEMO / "states.py").read_text())
    }


def test_the_german_catalogs_have_every_text_and_no_other() -> None:
    used = {
        *texts_in_code(DEMO),
        *texts_in_templates(DEMO),
        *deeds(),
        *progress_words(),
    }
    assert messages_in_po(CATALOGS / "django").keys() == used
    assert messages_in_po(CATALOGS / "djangojs").keys() == texts_in_scripts()
    assert len(used) > 80


@pytest.mark.parametrize("name", ["django", "djangojs"])
def test_the_compiled_catalogs_are_those_of_their_sources(name: str) -> None:
    with (CATALOGS / f"{name}.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for (_, text), told in messages_in_po(CATALOGS / name).items():
        assert told
        assert compiled.gettext(text) == told
        # What is filled in is the same in both.
        assert sorted(re.findall(r"%\(?\w*\)?[sd]|<[^>]+>", told)) == sorted(
            re.findall(r"%\(?\w*\)?[sd]|<[^>]+>", text)
        )
