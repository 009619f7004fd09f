"""The checker of histories finds what it is there to find."""

from __future__ import annotations

import pytest

from sessionstores.keys import StoreKey

from .history import ACK, UNKNOWN, Operation, contradictions

WALL = StoreKey.of_session("K7Q2ZD")
LOG = StoreKey("K7Q2ZD", "alice")


def history() -> list[Operation]:
    """Actions of every kind, with every answer that they may be given."""
    return [
        Operation(WALL, "in", answer=ACK),
        Operation(LOG, "in", answer=ACK),
        Operation(WALL, "perhaps, and in", answer=UNKNOWN),
        Operation(WALL, "perhaps, and not", answer=UNKNOWN),
        Operation(WALL, "unanswered, and in"),
        Operation(WALL, "unanswered, and not"),
        Operation(WALL, "contended", answer="conflict"),
        Operation(WALL, "declined", "declined", "declined"),
        Operation(WALL, "declined and unanswered", "declined"),
        Operation(WALL, "declined, perhaps", "declined", UNKNOWN),
    ]


def final() -> dict[StoreKey, list[str]]:
    """What is stored when all is well."""
    return {WALL: ["in", "perhaps, and in", "unanswered, and in"], LOG: ["in"]}


def test_of_a_true_history_nothing_is_said() -> None:
    seen = {key: set(lines) for key, lines in final().items()}
    assert contradictions(history(), final(), seen) == ([], [], [], [])
    assert contradictions(history(), final(), {}) == ([], [], [], [])


@pytest.mark.parametrize("key", [WALL, LOG])
def test_what_was_acknowledged_and_is_not_there_is_lost(key: StoreKey) -> None:
    stored = final()
    stored[key].remove("in")
    assert contradictions(history(), stored, {}).lost == ["in"]


@pytest.mark.parametrize("line", ["perhaps, and not", "unanswered, and not"])
def test_what_was_seen_and_is_not_there_is_lost(line: str) -> None:
    found = contradictions(history(), final(), {WALL: {line}})
    assert found == ([line], [], [], [])


@pytest.mark.parametrize("line", ["in", "perhaps, and in", "unanswered, and in"])
def test_what_is_there_twice_is_doubled(line: str) -> None:
    stored = final()
    stored[WALL].append(line)
    assert contradictions(history(), stored, {}) == ([], [line], [], [])


@pytest.mark.parametrize(
    "line",
    [
        "contended",
        "declined",
        "declined and unanswered",
        "declined, perhaps",
        "out of thin air",
    ],
)
def test_what_no_action_can_have_added_is_unasked(line: str) -> None:
    stored = final()
    stored[WALL].append(line)
    assert contradictions(history(), stored, {}) == ([], [], [line], [])
    found = contradictions(history(), final(), {WALL: {line}})
    assert found.unasked == [line]


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [("declined", ACK), (None, "declined"), ("declined", "state_too_large")],
)
def test_an_answer_of_another_action_is_misanswered(
    refusal: str | None, answer: str
) -> None:
    operations = [*history(), Operation(WALL, "mixed up", refusal, answer)]
    stored = final()
    if answer == ACK:
        stored[WALL].append("mixed up")
    assert contradictions(operations, stored, {}).misanswered == ["mixed up"]


def test_a_line_that_is_asked_for_twice_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="asked for twice"):
        contradictions([*history(), Operation(WALL, "in")], final(), {})
