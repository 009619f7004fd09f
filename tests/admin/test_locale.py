"""Every text of ours can be translated, and is in German."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.template import engines
from django.template.loader import get_template
from django.test import Client, override_settings
from django.utils import translation
from django.utils.translation.template import templatize

import sessionstores
from sessionstores import (
    ErrorReport,
    Health,
    Sample,
    Stats,
    StoreKey,
    Worker,
    conf,
    stores,
)
from sessionstores.admin.menus import standard_operations
from sessionstores.admin.state_operations import state_operations
from sessionstores.admin.timeline import KINDS
from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import StoreUnavailable
from sessionstores.monitoring.alerts import Alert, recent_alerts, warn_slow
from sessionstores.monitoring.diagnosis import Evictions, of_records
from sessionstores.monitoring.sweeps import LastSweep, Sweep
from tests.admin.views.test_overview import text_of
from tests.admin.views.test_session import connect
from tests.monitoring.test_diagnosis import (
    GROWING,
    MB,
    NOW,
    found,
    samples,
    server,
    summary,
)
from tests.staff import ALL, CODE, fill, page, signed_in
from tests.workshop.states import Board

PACKAGE = Path(sessionstores.__file__).parent
CATALOG = PACKAGE / "locale/de/LC_MESSAGES/django"
PLAIN = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
WITH_CONTEXT = {"pgettext", "pgettext_lazy", "npgettext", "npgettext_lazy"}
STRING = r"(u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\")"
CALL = re.compile(rf"\bn?(p?)gettext\({STRING}(?:, *{STRING})?")

# A text and its context, which is "" for most.
Message = tuple[str, str]


def texts_in_code(folder: Path = PACKAGE) -> Iterator[Message]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            given = [
                each.value
                for each in node.args
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if node.func.id in WITH_CONTEXT:
                yield given[0], given[1]
            elif node.func.id in PLAIN and given:
                yield "", given[0]


def texts_in_templates(folder: Path = PACKAGE) -> Iterator[Message]:
    for path in folder.rglob("*.html"):
        code = templatize(path.read_text(), origin=path.name)
        code = re.sub(r"(?<![\w.])_\(", "gettext(", code)
        for with_context, first, second in CALL.findall(code):
            if with_context:
                yield ast.literal_eval(first), ast.literal_eval(second)
            else:
                yield "", ast.literal_eval(first)


def messages_in_po(catalog: Path = CATALOG) -> dict[Message, str]:
    """Return the texts of the .po file with their (first) translation."""
    found = {}
    entry = re.compile(
        r'^(?:msgctxt (".*")\n)?msgid ((?:"(?:[^"\\]|\\.)*"\n)+)'
        r'(?:msgid_plural (?:".*"\n)+)?'
        r'msgstr(?:\[0\])? ((?:"(?:[^"\\]|\\.)*"\n)+)',
        re.MULTILINE,
    )
    text = catalog.with_suffix(".po").read_text()
    for context, original, translated in entry.findall(text):
        found[joined(context), joined(original)] = joined(translated)
    del found["", ""]
    return found


def joined(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())


def test_the_german_catalog_has_every_text_and_no_other() -> None:
    used = {*texts_in_code(), *texts_in_templates()}
    assert len(used) > 250
    known = messages_in_po().keys()
    assert used - known == set(), "run makemessages, and translate these"
    assert known - used == set()
    assert [text for text, told in messages_in_po().items() if not told] == []


def test_the_compiled_catalog_is_that_of_its_source() -> None:
    with CATALOG.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for (context, text), translated in messages_in_po().items():
        assert translated in (
            {compiled.pgettext(context, text), compiled.npgettext(context, text, "", 1)}
            if context
            else {compiled.gettext(text), compiled.ngettext(text, "", 1)}
        )


def test_no_text_of_another_app_is_shown_in_place_of_ours() -> None:
    # Whichever is installed first wins, and Django's own are before ours here.
    with translation.override("de"):
        shown = {
            (context, text): {
                translation.pgettext(context, text)
                if context
                else translation.gettext(text),
                translation.npgettext(context, text, "", 1)
                if context
                else translation.ngettext(text, "", 1),
            }
            for context, text in messages_in_po()
        }
    wrong = {
        message: shown[message]
        for message, told in messages_in_po().items()
        if told not in shown[message]
    }
    assert wrong == {}, "say it as they do, or give it a context"
    with translation.override("he"):
        assert translation.pgettext("live", "session") == "session"
        assert translation.pgettext("live", "Sessions") == "Sessions"


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
        page("participants_act", CODE), {"action": "kick", "chosen": ["alice"]}
    )
    assert "alice aus der Sitzung entfernen?" in text_of(question)


# What is the same in every language: names, codes, figures, what the site has written,
# and what the log keeps.
SAME = re.compile(
    r"\W*(alice|bob|mia|carol|gone|agenda|board|LocMem|stores|code|[KZ]\w{5})\b.*"
    r"|\W*(deck|notes|piles|step|votes|ace|king|queen|jack|ten|default|\w|"
    r"|[\d\W]*( online| [KM]?B| s| min| ms)?|p\d\d)\W*"
    r"|(Django|from|#|No answer from) .*|KeyError|code\.py:41|too_late|conflict|web-1"
    r"|(Open the next step|Take every card|Put a card|Replace the notes).*"
    r"|Card|Pile|Text"
    r"|ss:\{.*|[\[{]\".*|web-1!x|(Locked|Viewed) the \w+\.|[0-9a-f]{4}\.\d+-\w+|.*==.*",
    re.DOTALL,
)


def texts_of(response: Any) -> set[str]:
    """Return the pieces of text that a page shows, reads out or has as hints."""
    html = response.content.decode()
    html = html.partition('class="ss" id="ss">')[2] or html
    html = re.sub(
        r"<(script|textarea|pre|time)[^>]*>.*?</\1>", "<>", html, flags=re.DOTALL
    )
    attributes = re.findall(r'(?:title|aria-label|placeholder)="([^"]*)"', html)
    pieces = [*re.split(r"<[^>]*>", html), *attributes]
    return {re.sub(r"\s+", " ", unescape(piece)).strip() for piece in pieces} - {""}


def leaks_of_all_kinds() -> list[Alert]:
    """Return each warning that there is, as it really comes about."""
    last = LastSweep(at=NOW - 3_600, by="cron", sweep=Sweep())
    forgotten = summary(oldest=NOW - 840)
    limit = conf.get().max_state_bytes
    key = StoreKey(CODE, "alice")
    backend = get_backend(blocking=True)
    run(warn_slow(backend, "dispatch of Board.move", key, 1.0))
    return [
        *found(forgotten),
        *found(forgotten, last_sweep=last),
        *found(summary(lost=3), last_sweep=last),
        *found(series=samples(*GROWING)),
        *found(server=server(used=95 * MB)),
        *found(
            server=server(evicted=7, policy="allkeys-lru"),
            evictions=Evictions(5, NOW - 60),
        ),
        *of_records([summary(largest=("alice", limit))]),
        *recent_alerts(backend).current(),
    ]


def ill(stats: Stats) -> Stats:
    """Return the figures of a site on which all is wrong that can be."""
    at = stats.at
    busy = Worker("web-1", 8, 3, at - 90, "1.0", 0.93, 90 << 20, at)
    late = Worker("web-1", 9, 3, at - 90, "0.9", 0.2, None, at - 60)
    refused = {"conflict": 3, "too_late": 1}
    series = tuple(
        Sample(at - 30 * ago, 1, 1, 1, 1, 1, None, 9, 1, 1, 0.1, 0.2)
        for ago in (3, 2, 1)
    )
    return msgspec.structs.replace(
        stats,
        health=Health(3_600, 9, 1.0, refused, 2, 9, 9, 0.1, 0.2, 3, 1, 1),
        workers=(busy, late),
        errors=(ErrorReport(at, "KeyError", "board.move", "code.py:41", 2),),
        leaks=(Alert("slow", "", "", CODE),) * 9,
        series=series,
        day=series,
    )


def every_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield what each page and each answer shows, in one order."""
    alice = (CODE, "alice")
    stores.kick(CODE, "carol")
    whole = stores.stats()
    for leak in leaks_of_all_kinds():
        with monkeypatch.context() as patched:
            stats = msgspec.structs.replace(whole, leaks=(leak,))
            patched.setattr(type(stores), "stats", lambda self, stats=stats: stats)
            yield client.get(page("changelist"))
    # Without the name of this machine.
    well = msgspec.structs.replace(whole, workers=())
    for stats in (well, ill(whole)):
        with monkeypatch.context() as patched:
            patched.setattr(type(stores), "stats", lambda self, stats=stats: stats)
            yield client.get(page("changelist"))
            yield client.get(page("health"))
            yield client.get(page("health"), {"range": "day"})
    for query in ({"q": "nothing is called so"}, {"show": "idle"}):
        yield client.get(page("changelist"), query)
        yield client.get(page("session", CODE), query)
    yield client.get(page("session", CODE))
    yield client.get(page("session", "ZZZZZZ"))
    yield client.get(page("participant", *alice))
    yield client.get(page("participant", CODE, "*"))
    yield client.get(page("participant", CODE, "nobody"))
    edit = page("edit", *alice, "board")
    yield client.get(edit)
    for text in ("{", "[]", '{"dekc": 1}', '{"notes": "x"}', '{"deck": 1}'):
        base = stores.get(Board, *alice).snapshot().rev
        yield client.post(edit, {"state": text, "base": base})
    yield client.post(edit, {"state": '{"deck": ["joker"]}', "base": "old"})
    yield client.post(edit, {"state": '{"notes": "x"}', "base": "old"})
    for operation in (*standard_operations("sessions"), *state_operations("sessions")):
        yield client.post(page("session_act", CODE), {"action": operation.name})
    for operation in (
        *standard_operations("participants"),
        *state_operations("participants"),
    ):
        chosen = ["carol" if operation.of_kicked else "alice", "gone"]
        body = {"action": operation.name, "chosen": chosen}
        yield client.post(page("participants_act", CODE), body)
    yield client.post(page("sweep"))
    yield client.get(page("history", CODE))

    async def fail(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("No answer from cache.example:6379 within 1 s.")

    with monkeypatch.context() as patched:
        backend = get_backend(blocking=True)
        for name in ("summaries", "session", "values", "due_sessions"):
            patched.setattr(backend, name, fail)
        yield client.get(page("changelist"))
        yield client.get(page("health"))
        yield client.get(page("session", CODE))
        yield client.post(page("sweep"))


@pytest.mark.django_db
def test_nothing_that_a_page_shows_is_in_english_in_german(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice", "bob")
    connect("alice", 1)
    connect("bob", leaving=True)
    events = [
        {
            "at": 1.0,
            "kind": kind,
            "who": who,
            "text": "idle" if kind == "removed" else "x",
            "count": 2,
        }
        for kind in KINDS
        for who in ("alice", "*")
    ]
    run(get_backend(blocking=True).note(CODE, events))
    client = signed_in(*ALL)
    client.post(page("session_act", CODE), {"action": "lock", "confirm": "yes"})
    shown = {}
    for language in ("en", "de"):
        drop_backends()
        with override_settings(LANGUAGE_CODE=language):
            pages = every_page(client, monkeypatch)
            shown[language] = [texts_of(each) for each in pages]
    the_same = {text for (_, text), said in messages_in_po().items() if said == text}
    left = set()
    for english, german in zip(shown["en"], shown["de"], strict=True):
        left |= {
            text for text in english & german - the_same if not SAME.fullmatch(text)
        }
    assert sorted(left) == []


@pytest.mark.django_db
def test_templates_use_no_variable_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice", "bob")
    connect("alice", 1)
    client = signed_in(*ALL)
    client.post(page("session_act", CODE), {"action": "lock", "confirm": "yes"})
    # Unlike "", it also shows where filters are applied; conditions are not affected.
    monkeypatch.setattr(engines["django"].engine, "string_if_invalid", "INVALID %s")
    for response in every_page(client, monkeypatch):
        # Django's own templates around ours use some.
        html = response.content.decode().partition('class="ss" id="ss">')[2]
        assert html
        assert re.findall(r"INVALID \S+", html) == []


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
