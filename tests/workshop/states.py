"""The states of DESIGN's example: a board for each participant, an agenda for all."""

from __future__ import annotations

from sessionstores import ActionRejected, Participant, State, action, field


def new_deck() -> list[str]:
    return ["ace", "king", "queen", "jack", "ten"]


class Board(
    State, name="board", version=1, sensitive=("notes",), watch=("facilitator",)
):
    deck: list[str] = field(default_factory=new_deck)
    piles: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    notes: str = ""

    @action
    def move(self, card: str, pile: str, *, agenda: Agenda) -> None:
        """Put a card from wherever it lies on top of a pile."""
        if agenda.step != 1:
            raise ActionRejected("Sorting is over.", code="wrong_step")
        for place in (self.deck, *self.piles.values()):
            if card in place:
                place.remove(card)
                self.piles.setdefault(pile, []).insert(0, card)
                return
        raise ActionRejected(f"There is no card {card!r}.", code="no_such_card")

    @action
    def clear(self) -> None:
        """Take every card back into the deck."""
        self.deck = new_deck()
        self.piles = {}

    @action
    def note(self, text: str) -> None:
        """Replace the notes."""
        self.notes = text


class Agenda(State, scope="session"):
    step: int = 1
    votes: dict[str, int] = field(default_factory=dict[str, int])

    @action(role="facilitator")
    def advance(self) -> None:
        """Open the next step."""
        self.step += 1

    @action
    def vote(self, card: int, *, by: Participant) -> None:
        """Vote for a card; the last vote of a participant counts."""
        self.votes[by.id] = card
