"""Every error, code and end has words for people, in each language, and a hint."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from django.utils import translation
from django.utils.translation import gettext_lazy

import sessionstores
from sessionstores import conf, exceptions
from sessionstores.backends import client_entries, errors
from sessionstores.backends.types import RUNS, Attempt, ClientEntry
from sessionstores.exceptions import (
    MESSAGES,
    ActionRejected,
    InvalidKey,
    OutcomeUnknown,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
    general_message,
)
from sessionstores.keys import StoreKey, check_code
from sessionstores.participants.messages import (
    CLIENT_MESSAGES,
    END_MESSAGES,
    RESTARTED,
    client_messages,
    end_message,
)
from sessionstores.realtime import consumers, dispatcher
from sessionstores.realtime.error_frames import FailureCode
from sessionstores.realtime.frame_throttle import TooManyFrames
from sessionstores.realtime.protocol import BadCode

LANGUAGES = ("en", "de")
# Reasons of a removal, and of what else ends a tab; see `participant_removed`.
REASONS = {"idle", "cleanup", "ended", "kicked", "left", "lost", "disconnected"}
CODE = "K7Q2ZD"
MODULES = Path(sessionstores.__file__).parent / "static/sessionstores"


def error_classes(
    cls: type[SessionStoresError] = SessionStoresError,
) -> Iterator[type[SessionStoresError]]:
    # Subclasses that tests make are not ours.
    if cls.__module__.startswith("sessionstores."):
        yield cls
    for each in cls.__subclasses__():
        yield from error_classes(each)


CODES = sorted(
    {cls.code for cls in error_classes()}
    | {*get_args(BadCode), *get_args(FailureCode)}
    | {"internal", "kicked", "expired"}
)


def specific_errors() -> list[SessionStoresError]:
    """Return errors that have a message of their own."""
    key = StoreKey(CODE, "alice")
    found: list[SessionStoresError] = [
        errors.too_many_sessions(CODE),
        errors.locked(key),
        errors.ended(CODE),
    ]
    for fail in (
        lambda: errors.check_participants(CODE, 5, 5),
        lambda: check_code("nope"),
        lambda: client_entries.has_run(
            {"c": ClientEntry(2, {1: "not_so", RUNS: "\x01\x01"}, 0)},
            Attempt("c", 1, {}),
        ),
    ):
        with pytest.raises(SessionStoresError) as caught:
            fail()
        found.append(caught.value)
    return found


def people_are_told() -> dict[str, Any]:
    """Return every text of ours that a participant may be told, by where it is from."""
    told: dict[str, Any] = {f"code {code}": MESSAGES[code] for code in CODES}
    told |= {f"end {reason}": end_message(reason) for reason in (*REASONS, "other")}
    told |= {f"client {name}": text for name, text in CLIENT_MESSAGES.items()}
    for place, error in enumerate(specific_errors()):
        told[f"{type(error).__name__} {place}"] = error._message or MESSAGES[error.code]
    for module in (consumers, dispatcher):
        for name in ("_FOREIGN", "_TOO_MANY_TABS", "_TOO_FAST", "_FAILED"):
            if hasattr(module, name):
                told[name] = getattr(module, name)
    told["frames"] = TooManyFrames.message
    told["restarted"] = RESTARTED
    return told


def words_for_developers() -> set[str]:
    classes = {cls.__name__ for cls in error_classes()}
    public = {name for name in sessionstores.__all__ if name[0].isupper()}
    settings = {*conf.Conf.__struct_fields__}
    settings |= {name.upper() for name in settings}
    return {"SESSIONSTORES", "sessionstores", *classes, *public, *settings}


@pytest.mark.parametrize("where", sorted(people_are_told()))
def test_people_are_told_in_their_language_and_without_words_of_code(
    where: str,
) -> None:
    text = people_are_told()[where]
    shown = {}
    for language in LANGUAGES:
        with translation.override(language):
            shown[language] = str(text)
    assert len({*shown.values()}) == len(LANGUAGES), "translate it"
    for told in shown.values():
        assert re.fullmatch(r"[^\W\d_].*[.]", told), "a sentence"
        words = set(re.findall(r"\w+", told))
        # Codes of more than one word, settings, and names such as `StoreKey`.
        assert not any("_" in word or re.search(r"[a-z][A-Z]", word) for word in words)
        assert not {word for word in words if word.isupper() and len(word) > 1}
        assert words & words_for_developers() <= {"Session", "State", "Participant"}
        if where.startswith("code "):
            assert where.removeprefix("code ") not in words


def test_every_code_that_tabs_see_has_a_message() -> None:
    assert set(CODES) == set(MESSAGES)
    assert set(END_MESSAGES) >= REASONS - {"lost"}


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.__name__)
def test_each_error_has_a_hint_which_is_its_text_and_another_message(
    cls: type[SessionStoresError],
) -> None:
    if cls is ActionRejected:
        return
    error = cls("MAX_STATE_BYTES is 7: raise it.")
    assert str(error) == error.hint == "MAX_STATE_BYTES is 7: raise it."
    told = {}
    for language in LANGUAGES:
        with translation.override(language):
            told[language] = error.message
    assert len({*told.values(), error.hint}) == 3
    given = cls("hint", message=gettext_lazy("Save"))
    assert (given.hint, given.message) == ("hint", "Save")
    with translation.override("de"):
        assert given.message == "Sichern"
        assert cls("hint", message="As it is.").message == "As it is."


def test_a_refusal_by_an_action_is_shown_as_it_was_written() -> None:
    error = ActionRejected("That card is already placed.", code="not_in_deck")
    assert error.message == error.hint == str(error) == "That card is already placed."
    assert error.code == "not_in_deck"
    assert error.args == ("That card is already placed.",)
    lazy = ActionRejected(gettext_lazy("Save"))
    with translation.override("de"):
        assert lazy.message == lazy.hint == str(lazy) == "Sichern"
        assert ActionRejected().message == "Das ist gerade nicht möglich."
        for code in (None, 5, [], {"a": 1}, object(), b"x", ("x",)):
            odd = ActionRejected(code=code)  # type: ignore[arg-type]
            assert odd.code == str(code)
            assert odd.message == "Das ist gerade nicht möglich."
    assert lazy.message == "Save"
    hinted = ActionRejected("Not yet.", hint="step is 1")
    assert (hinted.message, hinted.hint, str(hinted)) == (
        "Not yet.",
        *["step is 1"] * 2,
    )


@pytest.mark.parametrize(
    "error",
    [
        InvalidKey("hint", message="Told."),
        StoreUnavailable("hint", refused=True),
        StateCorrupt("hint", newer=True),
        OutcomeUnknown("hint"),
        ActionRejected("Told.", code="x", hint="hint"),
        ActionRejected(gettext_lazy("Save")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_copies_of_an_error_tell_the_same(error: SessionStoresError) -> None:
    # Groups of dispatches fail with copies.
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert (other.code, other.hint) == (error.code, error.hint)
        assert other.message == error.message
        assert vars(other).keys() == vars(error).keys()
        with translation.override("de"):
            assert other.message == error.message


def test_a_refusal_that_is_repeated_from_memory_has_the_message_of_its_code() -> None:
    known = ClientEntry(3, {1: "conflict", 2: "site_code", RUNS: "\x01\x02"}, 0)
    for id, code in ((1, "conflict"), (2, "rejected")):
        with pytest.raises(ActionRejected) as caught:
            client_entries.has_run({"c": known}, Attempt("c", id, {}))
        with translation.override("de"):
            assert caught.value.message == str(MESSAGES[code])
        assert f"Action {id} " in caught.value.hint
    assert general_message("site_code") == MESSAGES["rejected"]


def test_an_unknown_outcome_is_not_told_as_a_failure() -> None:
    assert OutcomeUnknown("x").message == str(MESSAGES["outcome_unknown"])


def test_what_the_client_tells_by_itself_is_text_and_short() -> None:
    for language in LANGUAGES:
        with translation.override(language):
            told = client_messages()
        assert all(type(text) is str for text in told.values())
        assert sum(map(len, told.values())) < 1_100
    assert exceptions.MESSAGES["expired"] == CLIENT_MESSAGES["expired"]


def test_what_the_modules_of_the_client_say_is_brought_by_the_page() -> None:
    said: set[str] = set()
    for module in sorted(MODULES.glob("*.js")):
        said |= set(re.findall(r"""\bsay\("(\w+)"\)""", module.read_text()))
    assert len(said) > 5
    assert said <= set(CLIENT_MESSAGES)


def test_the_docs_list_every_code_with_its_message() -> None:
    page = (Path(__file__).parents[1] / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| (.*?) \| .+ \|$", page, re.MULTILINE)
    listed = {
        code: message for codes, message in rows for code in re.findall(r"\w+", codes)
    }
    known = {code: str(message) for code, message in MESSAGES.items()}
    assert {code: listed.get(code) for code in known} == known
