"""The cast and progress of a workshop, for the pages and the demo command."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.translation import gettext_lazy as _

from sessionstores import Participant, stores

from .states import Agenda, Board

LABEL = _("A better working week")
STEP_TITLES = (_("Sort"), _("Choose"), _("Weigh"))
FACILITATOR = "facilitator"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CAST = ("ada", "ben", "chloe", "dan", "eve", "finn")


def open_workshop(people: int = 2) -> str:
    """Create a session with the first `people` of the cast; return its code."""
    code = stores.create_session(label=str(LABEL), keep=86_400)
    for person in CAST[:people]:
        board = stores.get(Board, code, person)
        board.dispatch(Board.introduce, person.title())
        stores.set_name(code, person, person.title())
    return code


def cast_of(code: str) -> list[Participant]:
    """Return the members of the cast who are in the workshop, in their order."""
    present = set(stores.participants(code))
    return [Participant(code, person) for person in CAST if person in present]


class ParticipantProgress(NamedTuple):
    """The progress of a participant in a step: cards placed, of those wanted."""

    id: str
    name: str
    placed: int
    wanted: int
    done: bool


class WorkshopProgress(NamedTuple):
    """The progress of all participants in the current step."""

    step: int
    participants: list[ParticipantProgress]

    @property
    def finished(self) -> int:
        """How many participants say that they are done."""
        return sum(each.done for each in self.participants)


def progress_of(code: str) -> WorkshopProgress:
    """Return everybody's progress. It only peeks, so nobody counts as active."""
    agenda = stores.get(Agenda, code).peek()
    step = agenda.state.step if agenda else 1
    found = []
    for person in stores.participants(code):
        board = stores.get(Board, code, person).peek()
        if board is None or person == FACILITATOR:
            continue
        placed, wanted = board.state.progress(step)
        name = board.state.name or person
        done = step in board.state.done
        found.append(ParticipantProgress(person, name, placed, wanted, done))
    return WorkshopProgress(step, sorted(found, key=lambda each: each.name))
