"""Histories of actions, and what contradicts them in the states that they led to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from sessionstores.keys import StoreKey

ACK = "ack"
# Of an action with this answer, nobody knows.
UNKNOWN = "outcome_unknown"
# What an action may be refused with that would otherwise be applied.
REFUSALS = frozenset({"conflict", "store_unavailable", UNKNOWN})


@dataclass
class Operation:
    """An action that adds a line to a record, and the answer that it was given."""

    key: StoreKey
    line: str
    # The code that it must be refused with; None: it is to be applied.
    refusal: str | None = None
    # `ACK`, or the code of a refusal; None: none has come.
    answer: str | None = None

    @property
    def may_be_in(self) -> bool:
        """Whether the line may be found in the record."""
        if self.refusal is not None:
            return False
        return self.answer in {ACK, UNKNOWN, None}

    @property
    def is_answered_truly(self) -> bool:
        """Whether an action of its kind can have got this answer."""
        if self.answer is None:
            return True
        due = ACK if self.refusal is None else self.refusal
        return self.answer == due or self.answer in REFUSALS


class Contradictions(NamedTuple):
    """Lines by what is wrong with them; nothing is where all is well.

    `lost`: acknowledged or seen by somebody, but not there; `doubled`: there more than
    once; `unasked`: there or seen, though no action can have added it; `misanswered`:
    given an answer that is another action's.
    """

    lost: list[str]
    doubled: list[str]
    unasked: list[str]
    misanswered: list[str]


def contradictions(
    operations: Iterable[Operation],
    final: Mapping[StoreKey, Sequence[str]],
    seen: Mapping[StoreKey, Set[str]],
) -> Contradictions:
    """Hold a history against the lines of each record at its end.

    `seen` are the lines of each that anybody has ever been shown. No line may be asked
    for twice.
    """
    asked: dict[StoreKey, dict[str, Operation]] = {key: {} for key in final}
    for each in operations:
        assert each.line not in asked[each.key], f"{each.line} was asked for twice"
        asked[each.key][each.line] = each
    found = Contradictions([], [], [], [])
    for key, lines in final.items():
        ours, shown = asked[key], seen.get(key, frozenset[str]())
        stored = Counter(lines)
        acknowledged = {line for line, each in ours.items() if each.answer == ACK}
        possible = {line for line, each in ours.items() if each.may_be_in}
        found.lost.extend(sorted((acknowledged | shown) - stored.keys()))
        found.doubled.extend(line for line, times in stored.items() if times > 1)
        found.unasked.extend(sorted((stored.keys() | shown) - possible))
        found.misanswered.extend(
            line for line, each in ours.items() if not each.is_answered_truly
        )
    return found
