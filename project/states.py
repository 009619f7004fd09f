"""States of the workshop: a board for each participant, an agenda for all."""

from __future__ import annotations

from typing import Literal

import msgspec
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from sessionstores import ActionRejected, State, action, field

CARDS = {
    "focus": _("Focus mornings"),
    "meetings": _("Shorter meetings"),
    "tests": _("Faster tests"),
    "customers": _("Customer visits"),
    "docs": _("Writing days"),
    "lunch": _("Team lunch"),
    "oncall": _("Kinder on-call"),
    "learning": _("Learning budget"),
    "tools": _("Fewer tools"),
    "pairing": _("Pair programming"),
    "demos": _("Friday demos"),
    "remote": _("Remote weeks"),
}
STEPS = 3
TOP = 3

Pile = Literal["start", "later", "leave"]
Level = Literal["low", "high"]


class Spot(msgspec.Struct, frozen=True):
    """A place on the matrix of step 3."""

    effort: Level
    value: Level


class Board(State, watch=("facilitator",), progress="placed"):
    """What one participant does with the cards, step by step."""

    name: str = ""
    deck: list[str] = field(default_factory=lambda: list(CARDS))
    piles: dict[Pile, list[str]] = field(
        default_factory=lambda: {"start": [], "later": [], "leave": []}
    )
    top: list[str] = field(default_factory=lambda: [""] * TOP)
    spots: dict[str, Spot] = field(default_factory=dict[str, Spot])
    done: list[int] = field(default_factory=list[int])

    def introduce(self, name: str) -> None:
        """Note a name. Without @action, only the server can call it."""
        self.name = name

    def start_over(self) -> None:
        """Take everything back to the deck."""
        fresh = type(self)(name=self.name)
        for attribute in self.__struct_fields__:
            setattr(self, attribute, getattr(fresh, attribute))

    @action
    def move(self, card: str, pile: Pile | None = None, *, agenda: Agenda) -> None:
        """Put a card on a pile, or back into the deck."""
        self.expect(1, agenda, card)
        for place in (self.deck, *self.piles.values()):
            if card in place:
                place.remove(card)
        (self.deck if pile is None else self.piles[pile]).append(card)
        if pile in (None, "leave"):
            self.forget(card)
        self.reopen(1)

    @action
    def choose(self, card: str, rank: int | None = None, *, agenda: Agenda) -> None:
        """Make a card number `rank` of the top three, or none of them."""
        self.expect(2, agenda, card)
        if card not in self.candidates:
            raise ActionRejected(
                gettext("%(card)s is not on a pile.") % {"card": CARDS[card]},
                code="not_sorted",
            )
        if rank is not None and not 1 <= rank <= TOP:
            raise ActionRejected(
                gettext("There is no number %(rank)d here.") % {"rank": rank},
                code="no_such_rank",
            )
        old = self.top.index(card) if card in self.top else None
        displaced = "" if rank is None else self.top[rank - 1]
        if old is not None:
            self.top[old] = displaced
        if rank is not None:
            self.top[rank - 1] = card
        for dropped in self.spots.keys() - set(self.top):
            del self.spots[dropped]
        self.reopen(2)

    @action
    def place(self, card: str, spot: Spot | None = None, *, agenda: Agenda) -> None:
        """Put one of the top three on the matrix, or take it off."""
        self.expect(3, agenda, card)
        if card not in self.top:
            raise ActionRejected(
                gettext("%(card)s is not among your top three.")
                % {"card": CARDS[card]},
                code="not_chosen",
            )
        if spot is None:
            self.spots.pop(card, None)
        else:
            self.spots[card] = spot
        self.reopen(3)

    @action
    def finish(self, *, agenda: Agenda) -> None:
        """Say that the current step is done."""
        placed, wanted = self.progress(agenda.step)
        if placed < wanted:
            raise ActionRejected(
                gettext("%(open)d of %(wanted)d are still open.")
                % {"open": wanted - placed, "wanted": wanted},
                code="not_finished",
            )
        if agenda.step not in self.done:
            self.done.append(agenda.step)

    @property
    def placed(self) -> tuple[int, int]:
        """How many cards are sorted, of all: what staff see of this board."""
        return self.progress(1)

    @property
    def candidates(self) -> list[str]:
        """The cards that may be among the top three."""
        return [*self.piles["start"], *self.piles["later"]]

    def progress(self, step: int) -> tuple[int, int]:
        """Return how many cards are placed in a step, and of how many."""
        if step == 1:
            return len(CARDS) - len(self.deck), len(CARDS)
        chosen = [card for card in self.top if card]
        if step == 2:
            return len(chosen), min(TOP, len(self.candidates))
        return len(self.spots), len(chosen)

    def expect(self, step: int, agenda: Agenda, card: str) -> None:
        if card not in CARDS:
            raise ActionRejected(
                gettext("There is no such card here."), code="no_such_card"
            )
        if agenda.step != step:
            raise ActionRejected(
                gettext("The workshop is at step %(step)d.") % {"step": agenda.step},
                code="wrong_step",
            )

    def forget(self, card: str) -> None:
        self.top = ["" if chosen == card else chosen for chosen in self.top]
        self.spots.pop(card, None)

    def reopen(self, step: int) -> None:
        if step in self.done:
            self.done.remove(step)


class SharedBoard(Board, scope="session"):
    """The same board bound to the whole session: the bug that isolation prevents."""


class Agenda(State, scope="session"):
    """The current step, for everybody."""

    step: int = 1

    @action(role="facilitator")
    def advance(self) -> None:
        """Open the next step."""
        self.go(self.step + 1)

    @action(role="facilitator")
    def back(self) -> None:
        """Return to the step before."""
        self.go(self.step - 1)

    def go(self, step: int) -> None:
        if not 1 <= step <= STEPS:
            raise ActionRejected(
                gettext("There is no step %(step)d.") % {"step": step},
                code="no_such_step",
            )
        self.step = step
