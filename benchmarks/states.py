"""The state that the benchmark servers keep; about 1 KB."""

from __future__ import annotations

from sessionstores import State, action, field

CARDS = [f"card-{number:02d}" for number in range(70)]


class Board(State):
    """Seventy cards, some on piles."""

    deck: list[str] = field(default_factory=lambda: CARDS[20:])
    piles: dict[str, list[str]] = field(
        default_factory=lambda: {"keep": CARDS[:10], "drop": CARDS[10:20]}
    )
    notes: str = "Ask about the middle pile before we vote."

    @action
    def move(self, card: str, pile: str) -> None:
        """Take a card from where it lies and put it on top of a pile."""
        for cards in self.piles.values():
            if card in cards:
                cards.remove(card)
        self.piles[pile].insert(0, card)
