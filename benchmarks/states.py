"""The card boards that the benchmarks keep: of about 1 KB, and one of 10 KB."""

from __future__ import annotations

from typing import Any

from sessionstores import State, action, field

WORDS = ("Honesty", "Curiosity", "Order", "Freedom", "Mastery", "Goal", "Relatedness")
PILES = ("keep", "maybe", "drop", "later")
NOTES = "Ask about the middle pile before we vote."
CARDS = [f"card-{number:02d}" for number in range(70)]


def board(cards: int) -> dict[str, Any]:
    """Return a board as plain JSON: half the cards in the deck, the rest in piles."""
    half = cards // 2
    names = [f"{WORDS[number % len(WORDS)]} {number}" for number in range(cards)]
    piles = {
        pile: names[half + place :: len(PILES)] for place, pile in enumerate(PILES)
    }
    return {"deck": names[:half], "piles": piles, "notes": NOTES}


BOARD_1K = board(64)  # 924 B as JSON
BOARD_10K = board(640)  # 8.8 KB


class Board(State):
    """The state that the benchmarked servers keep: seventy cards, some on piles."""

    deck: list[str] = field(default_factory=lambda: CARDS[20:])
    piles: dict[str, list[str]] = field(
        default_factory=lambda: {"keep": CARDS[:10], "drop": CARDS[10:20]}
    )
    notes: str = NOTES

    @action
    def move(self, card: str, pile: str) -> None:
        """Take a card from where it lies and put it on top of a pile."""
        for cards in self.piles.values():
            if card in cards:
                cards.remove(card)
        self.piles[pile].insert(0, card)
