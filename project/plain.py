"""The board without scripts: where each card lies, and the forms that move it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from django.utils.translation import gettext_lazy as _

from .states import CARDS, TOP, Board

Move = dict[str, Any]

# The action of each step, and its places: what they are called, and what the action
# is given beside the card.
ACTIONS = ("move", "choose", "place")
PLACES: tuple[dict[Any, Move], ...] = (
    {
        _("Start now"): {"pile": "start"},
        _("Maybe later"): {"pile": "later"},
        _("Leave it"): {"pile": "leave"},
    },
    {rank: {"rank": rank} for rank in range(1, TOP + 1)},
    {
        _("Quick win"): {"spot": {"effort": "low", "value": "high"}},
        _("Big bet"): {"spot": {"effort": "high", "value": "high"}},
        _("On the side"): {"spot": {"effort": "low", "value": "low"}},
        _("Think again"): {"spot": {"effort": "high", "value": "low"}},
    },
)


class CardRow(NamedTuple):
    """A card: what it is called, where it lies, and what may be done with it."""

    title: Any
    place: Any
    moves: list[tuple[Any, Move]]


def rows_of(board: Board, step: int) -> list[CardRow]:
    """Return the cards of a step, and the moves to each place where they are not."""
    rows = []
    for card in cards_of(board, step):
        given = placed(board, step, card)
        places = PLACES[step - 1]
        here = next((name for name, args in places.items() if args == given), "")
        moves = [
            (name, {"card": card, **args})
            for name, args in places.items()
            if args != given
        ]
        rows.append(CardRow(CARDS[card], here, moves))
    return rows


def cards_of(board: Board, step: int) -> list[str]:
    """Return the cards that a step is about."""
    if step == 1:
        return list(CARDS)
    return board.candidates if step == 2 else [card for card in board.top if card]


def placed(board: Board, step: int, card: str) -> Move | None:
    """Return what put a card where it lies, beside the card; None: it lies nowhere."""
    if step == 1:
        piles = board.piles.items()
        return next(({"pile": pile} for pile, cards in piles if card in cards), None)
    if step == 2:
        return {"rank": board.top.index(card) + 1} if card in board.top else None
    spot = board.spots.get(card)
    return None if spot is None else {"spot": msgspec.to_builtins(spot)}
