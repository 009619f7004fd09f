"""The states of the guides: a board with a deck, two piles and notes; an agenda."""

from __future__ import annotations

from sessionstores import ActionRejected, State, action, field

DECK = ("ace", "king", "queen", "jack", "ten", "nine", "eight")


class Board(State):
    deck: list[str] = field(default_factory=lambda: list(DECK))
    piles: dict[str, list[str]] = field(
        default_factory=lambda: {"keep": list[str](), "drop": list[str]()}
    )
    text: str = ""

    @action
    def move(self, card: str, pile: str, *, agenda: Agenda) -> None:
        """Put a card from wherever it lies at the end of a pile."""
        if agenda.step != 1:
            raise ActionRejected("Sorting is over.", code="wrong_step")
        if card not in DECK or pile not in self.piles:
            raise ActionRejected("There is no such card or pile.", code="unknown")
        # Of a double click, the second one may come after other moves.
        if card in self.piles[pile]:
            return
        for place in (self.deck, *self.piles.values()):
            if card in place:
                place.remove(card)
        self.piles[pile].append(card)

    @action
    def write(self, text: str) -> None:
        """Replace the notes."""
        self.text = text


class Agenda(State, scope="session"):
    step: int = 1

    @action(role="facilitator")
    def advance(self) -> None:
        """Open the next step."""
        self.step += 1
