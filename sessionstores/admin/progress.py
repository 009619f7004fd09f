"""Steps and progress of people, read from their states for staff.

A state tells of its participant by a field `step`, and by what its declaration names as
`progress`. What it says is taken from a copy; an error in it is that row's alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from ..backends.base import Backend, run
from ..exceptions import StateCorrupt
from ..humanize import number_text
from ..state import codec
from ..state.declaration import Scope, State, states_in
from ..state.json_rules import MAX_INTEGER

logger = logging.getLogger("sessionstores.admin")

STEP = "step"
# Characters of a step, or of a text that says how far somebody is.
MAX_TEXT = 40
WANTED = "a pair of integers from 0 on, an integer within 2**53, or a text"


class Progress(NamedTuple):
    """How far somebody is: `done` of `of`; a number without an end; or a text."""

    done: int | None = None
    of: int | None = None
    text: str = ""

    @property
    def words(self) -> str:
        """The same in words, such as "12 of 14"."""
        if self.done is None:
            return self.text
        if self.of is None:
            return number_text(self.done)
        return _("%(done)s of %(of)s") % {
            "done": number_text(self.done),
            "of": number_text(self.of),
        }

    @property
    def has_bar(self) -> bool:
        """Whether it can be drawn as a share of a whole."""
        return self.of is not None and self.of > 0

    @property
    def is_finished(self) -> bool:
        """Whether all is done; False where there is no end."""
        return (
            self.of is not None and self.done is not None and self.done >= self.of > 0
        )

    @property
    def order(self) -> tuple[int, float, str]:
        """The key to sort by: shares, then numbers, then texts."""
        if self.done is None:
            return 2, 0.0, self.text.casefold()
        if self.of is None:
            return 1, self.done, ""
        return 0, self.done / self.of if self.of else 1.0, ""


class Position(NamedTuple):
    """Where somebody is, as their states say: step, "" if none does, and progress."""

    step: str = ""
    progress: Progress | None = None


class ProgressTotal(NamedTuple):
    """The progress of several people together.

    `people`: how many have an end to reach, and `finished` how many of them have.
    """

    whole: Progress
    finished: int
    people: int


NOWHERE = Position()


class _Faults:
    """What was logged of errors in the site's code, each once in a process."""

    def __init__(self) -> None:
        self.told: set[tuple[str, str]] = set()


class PositionReader:
    """Reads positions of a session's people.

    Without `texts`, only numbers are read: for staff who may not see states.
    """

    def __init__(self, backend: Backend, *, texts: bool) -> None:
        self._backend = backend
        self._texts = texts

    def of_people(self, code: str, ids: Sequence[str]) -> dict[str, Position]:
        """Return the positions of participants who have one.

        Takes a round trip for each class that tells of one, for up to `STATES_BATCH`.
        """
        said: dict[str, list[Position]] = {}
        for cls in telling_states("participant") if ids else ():
            name = cls.__sessionstores__.name
            found = run(self._backend.read_states(code, name, ids))
            for id, state in found.items():
                if not isinstance(state, StateCorrupt):
                    said.setdefault(id, []).append(self._said(cls, state.data))
        return {id: _together(positions) for id, positions in said.items()}

    def of_record(self, states: Mapping[str, bytes], scope: Scope) -> Position:
        """Return the position that a record's states tell of."""
        return _together(
            [
                self._said(cls, states[name])
                for cls in telling_states(scope)
                if (name := cls.__sessionstores__.name) in states
            ]
        )

    def _said(self, cls: type[State], stored: bytes) -> Position:
        try:
            state = codec.decode(cls, stored)
        except StateCorrupt:
            return NOWHERE
        step, named = "", cls.__sessionstores__.progress
        if has_step(cls):
            step = self._step(getattr(state, STEP))
        if not named:
            return Position(step)
        return Position(step, self._progress(cls, lambda: getattr(state, named)))

    def _step(self, value: Any) -> str:
        shown = value.value if isinstance(value, Enum) else value
        return step_text(shown) if self._texts or isinstance(shown, int) else ""

    def _progress(self, cls: type[State], read: Callable[[], Any]) -> Progress | None:
        try:
            value = read()
            found = progress_of(value)
        except Exception as error:  # noqa: BLE001 - code of the site's
            self._log(cls, f"raised {type(error).__name__}")
            return None
        if found is None and value not in (None, ""):
            kind = type(value).__name__
            self._log(cls, f"returned {kind}, not {WANTED}")
        if found is not None and found.done is None and not self._texts:
            return None
        return found

    def _log(self, cls: type[State], what: str) -> None:
        """Tell of it once, without the error's text: it may hold what people wrote."""
        told = self._backend.memory.of(_Faults).told
        named = f"{cls.__qualname__}.{cls.__sessionstores__.progress}"
        if (named, what) not in told:
            told.add((named, what))
            text = "The progress of somebody is not shown: %s %s."
            logger.warning(text, named, what)


def telling_states(scope: Scope) -> list[type[State]]:
    """Return the declared states that tell where somebody is, or the session is."""
    return [
        cls
        for cls in states_in(scope)
        if cls.__sessionstores__.progress or has_step(cls)
    ]


def has_step(cls: type[State]) -> bool:
    """Return whether a state has a field that says how far somebody is."""
    if STEP not in cls.__struct_fields__:
        return False
    place = cls.__struct_fields__.index(STEP)
    key = cls.__struct_encode_fields__[place]
    return key not in cls.__sessionstores__.sensitive


def progress_of(value: Any) -> Progress | None:
    """Return what a field or property says; None for nothing, or nonsense.

    Less than none of a whole is nonsense. A number without an end may be negative, as a
    score is, and more than the whole is what some sites count. Raises
    `UnicodeEncodeError` for a text that no page can hold.
    """
    if isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value)):
        return Progress(*value) if min(value) >= 0 else None
    if _is_number(value):
        return Progress(value)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | Promise) and (text := str(value)):
        text.encode()
        return Progress(text=shortened(text))
    return None


def total_of(found: Iterable[Progress | None]) -> ProgressTotal | None:
    """Return the sum of pairs, or else of numbers; None if there are none.

    What somebody has done beyond their end is not counted for others.
    """
    numbers = [each for each in found if each and each.done is not None]
    pairs = [each for each in numbers if each.of is not None]
    if not numbers:
        return None
    counted = pairs or numbers
    done = sum(_counted(each) for each in counted)
    of = sum(each.of or 0 for each in pairs) if pairs else None
    finished = sum(each.is_finished for each in pairs)
    return ProgressTotal(Progress(done, of), finished, len(pairs))


def progress_word(scope: Scope) -> str:
    """Return what the progress is of, "placed" for `progress="placed"`; "" if unclear.

    It is if states name several things, or say no more than that it is one. A site may
    translate it, as it may its other texts.
    """
    names = {cls.__sessionstores__.progress for cls in telling_states(scope)} - {""}
    name = names.pop() if len(names) == 1 else ""
    word = "" if name == "progress" else name.strip("_").replace("_", " ")
    return _(word) if word else ""


def step_text(value: Any) -> str:
    """Return a step as it is shown; "" for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return shortened(str(value))


def shortened(text: str) -> str:
    """Return a text of at most `MAX_TEXT` characters."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def step_order(step: str) -> tuple[bool, int, str]:
    """Return the sort key of a step: numbers first, then texts."""
    try:
        return False, int(step), ""
    except ValueError:
        return True, 0, step.casefold()


def _counted(progress: Progress) -> int:
    done, of = progress.done or 0, progress.of
    return done if of is None else min(done, of)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return abs(value) <= MAX_INTEGER


def _together(positions: Sequence[Position]) -> Position:
    """Return what several states of one person say: pairs and numbers are added up."""
    step = next((each.step for each in positions if each.step), "")
    found = [each.progress for each in positions if each.progress]
    if len(found) < 2:
        return Position(step, found[0] if found else None)
    total = total_of(found)
    if total is not None:
        return Position(step, total.whole)
    return Position(step, Progress(text=shortened(" · ".join(p.text for p in found))))
