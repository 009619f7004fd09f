"""Build plain-JSON card boards of about 1 KB and 10 KB."""

from __future__ import annotations

from typing import Any

WORDS = ("Honesty", "Curiosity", "Order", "Freedom", "Mastery", "Goal", "Relatedness")
PILES = ("keep", "maybe", "drop", "later")


def card(number: int) -> str:
    return f"{WORDS[number % len(WORDS)]} {number}"


def board(cards: int) -> dict[str, Any]:
    """Return a board whose first half is still in the deck, the rest in piles."""
    half = cards // 2
    names = [card(number) for number in range(cards)]
    piles = {
        pile: names[half + place :: len(PILES)] for place, pile in enumerate(PILES)
    }
    return {
        "deck": names[:half],
        "piles": piles,
        "notes": "Ask about the middle pile before we vote.",
    }


BOARD_1K = board(64)  # 924 B as JSON
BOARD_10K = board(640)  # 8.8 KB
