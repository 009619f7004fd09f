"""Sessions and people of the workshop, for its pages and the demo command."""

from __future__ import annotations

from typing import NamedTuple

from sessionstores import Participant, stores

from .states import Agenda, Board

LABEL = "A better working week"
STEP_TITLES = ("Sort", "Choose", "Weigh")
FACILITATOR = "facilitator"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CAST = ("ada", "ben", "chloe", "dan", "eve", "finn")


def open_workshop(people: int = 2) -> str:
    """Create a session with the first `people` of the cast; return its code."""
    code = stores.create_session(label=LABEL, keep=86_400)
    for person in CAST[:people]:
        board = stores.get(Board, code, person)
        board.dispatch(Board.introduce, person.title())
    return code


def cast_of(code: str) -> list[Participant]:
    """Return the members of the cast who take part, in their order."""
    present = set(stores.participants(code))
    return [Participant(code, person) for person in CAST if person in present]


class Standing(NamedTuple):
    """How far a participant has got, as the facilitator sees it."""

    id: str
    name: str
    placed: int
    wanted: int
    done: bool


class Progress(NamedTuple):
    """How far everybody has got in the step that is open."""

    step: int
    standings: list[Standing]

    @property
    def finished(self) -> int:
        """How many say that they are done."""
        return sum(standing.done for standing in self.standings)


def progress_of(code: str) -> Progress:
    """Return everybody's progress; reads only, so nobody is kept from idling out."""
    agenda = stores.get(Agenda, code).peek()
    step = agenda.state.step if agenda else 1
    standings = []
    for person in stores.participants(code):
        board = stores.get(Board, code, person).peek()
        if board is None or person == FACILITATOR:
            continue
        placed, wanted = board.state.progress(step)
        name = board.state.name or person
        done = step in board.state.done
        standings.append(Standing(person, name, placed, wanted, done))
    return Progress(step, sorted(standings, key=lambda standing: standing.name))
