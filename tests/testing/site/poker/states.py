"""Planning poker: a hand for each participant, and a table for all."""

from __future__ import annotations

from collections.abc import Mapping

from sessionstores import ActionRejected, State, action, field, injected


class Hand(State):
    card: str = ""

    @action
    def choose(self, card: str) -> str:
        if card not in {"1", "2", "3", "5", "8", "13"}:
            raise ActionRejected("There is no such card.", code="no_such_card")
        self.card = card
        return card


class Table(State, scope="session"):
    revealed: dict[str, str] = field(default_factory=dict[str, str])

    @action(role="facilitator")
    def reveal(self, *, hands: Mapping[str, Hand] = injected) -> None:
        self.revealed = {id: hand.card for id, hand in hands.items() if hand.card}
