"""Every text of the admin can be translated, and is in German."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.template.loader import get_template
from django.test import override_settings
from django.utils import translation
from django.utils.translation.template import templatize

import sessionstores
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.test_admin_overview import text_of

PACKAGE = Path(sessionstores.__file__).parent
CATALOG = PACKAGE / "locale/de/LC_MESSAGES/django"
MARKERS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
CALL = re.compile(r"\bn?gettext\((u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\")")


def texts_in_code() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in MARKERS
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                yield node.args[0].value


def texts_in_templates() -> Iterator[str]:
    for path in PACKAGE.rglob("*.html"):
        code = templatize(path.read_text(), origin=path.name)
        code = re.sub(r"(?<![\w.])_\(", "gettext(", code)
        yield from (ast.literal_eval(each) for each in CALL.findall(code))


def messages_in_po() -> dict[str, str]:
    """Return the texts of the .po file with their (first) translation."""
    found = {}
    entry = re.compile(
        r'^msgid ((?:"(?:[^"\\]|\\.)*"\n)+)(?:msgid_plural (?:".*"\n)+)?'
        r'msgstr(?:\[0\])? ((?:"(?:[^"\\]|\\.)*"\n)+)',
        re.MULTILINE,
    )
    for original, translated in entry.findall(CATALOG.with_suffix(".po").read_text()):
        found[joined(original)] = joined(translated)
    return found


def joined(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())


def test_the_german_catalog_has_every_text_and_no_other() -> None:
    used = {*texts_in_code(), *texts_in_templates()}
    assert len(used) > 250
    known = messages_in_po().keys() - {""}
    assert used - known == set(), "run makemessages, and translate these"
    assert known - used == set()
    assert [text for text, told in messages_in_po().items() if not told] == []


def test_the_compiled_catalog_is_that_of_its_source() -> None:
    with CATALOG.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for text, told in messages_in_po().items():
        if text:
            assert told in {compiled.gettext(text), compiled.ngettext(text, "", 1)}


@pytest.mark.django_db
@override_settings(LANGUAGE_CODE="de")
def test_pages_speak_german_with_its_numbers() -> None:
    fill("alice")
    client = signed_in(*ALL)
    text = text_of(client.get(page("changelist")))
    assert "Live-Sitzungen" in text
    assert "Gespeicherter Zustand" in text
    assert "Nur dieser Prozess" in text
    inspected = text_of(client.get(page("participant", CODE, "alice")))
    assert "von höchstens 256 KB" in inspected
    question = client.post(
        page("participants_act", CODE), {"action": "remove", "chosen": ["alice"]}
    )
    assert "1 Person entfernen?" in text_of(question)


@pytest.mark.django_db
def test_a_language_without_a_catalog_falls_back_to_english_from_right_to_left() -> (
    None
):
    fill("alice")
    client = signed_in(*ALL)
    with override_settings(LANGUAGE_CODE="he"):
        assert translation.get_language_bidi()
        response = client.get(page("changelist"))
    assert 'dir="rtl"' in response.content.decode()
    assert "Stored state" in text_of(response)


def test_templates_compile() -> None:
    for path in PACKAGE.rglob("templates/**/*.html"):
        get_template(str(path.relative_to(PACKAGE / "templates")))
