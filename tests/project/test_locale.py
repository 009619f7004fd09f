"""Every text of the demo is in German: of its code, templates and scripts."""

from __future__ import annotations

import gettext
import re
from inspect import getdoc
from pathlib import Path

import pytest

import project
from project.states import Agenda, Board
from tests.admin.test_locale import messages_in_po, texts_in_code, texts_in_templates

DEMO = Path(project.__file__).parent
CATALOGS = DEMO / "locale/de/LC_MESSAGES"


def texts_in_scripts() -> set[tuple[str, str]]:
    return {
        ("", text)
        for path in DEMO.rglob("static/**/*.js")
        for text in re.findall(r'\bgettext\("([^"]+)"\)', path.read_text())
    }


def deeds() -> set[tuple[str, str]]:
    """Return what the admin calls the actions of the demo by: their docstrings."""
    functions = [
        Board.introduce,
        Board.start_over,
        *(action.function for action in Board.__sessionstores__.actions.values()),
        *(action.function for action in Agenda.__sessionstores__.actions.values()),
    ]
    return {("", getdoc(each) or "") for each in functions}


def test_the_german_catalogs_have_every_text_and_no_other() -> None:
    used = {*texts_in_code(DEMO), *texts_in_templates(DEMO), *deeds()}
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
