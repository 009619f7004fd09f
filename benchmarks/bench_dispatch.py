"""Dispatch and access on the embedded backend, beside Django's own LocMemCache."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import django

from benchmarks._rows import Row, interleaved, show

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.core.cache.backends.locmem import LocMemCache  # noqa: E402

from benchmarks.states import BOARD_1K  # noqa: E402
from sessionstores import State, action, event_bus, field, stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.base import Backend  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from sessionstores.store.transactions import count_action  # noqa: E402

ROUNDS = 7
CALLS = 2_000
PARTICIPANTS = 50


class Cards(State):
    """A board of about 1 KB."""

    deck: list[str] = field(default_factory=lambda: list(BOARD_1K["deck"]))
    piles: dict[str, list[str]] = field(
        default_factory=lambda: {k: list(v) for k, v in BOARD_1K["piles"].items()}
    )
    notes: str = BOARD_1K["notes"]

    @action
    def move(self, origin: str, pile: str) -> None:
        """Take the top card of one pile and put it on another."""
        self.piles[pile].insert(0, self.piles[origin].pop(0))


def diff(event: event_bus.Change) -> None:
    """Make the patch, as delivery does when another tab is open."""
    assert event.operations


def get_and_set(cache: LocMemCache) -> None:
    """The floor: read a state and write it back, with Django's cache."""
    for _ in range(CALLS):
        cache.set("board", cache.get("board"))


def dispatch(cards: Any) -> None:
    """Move a card there and back."""
    for turn in range(CALLS):
        pair = ("keep", "drop") if turn % 2 else ("drop", "keep")
        cards.dispatch(Cards.move, *pair)


def count(backend: Backend) -> None:
    """Count what as many dispatches count for the figures of health, and nothing else.

    Of durations that differ, so that no bucket is always the one that was found last.
    """
    for number in range(CALLS):
        count_action(backend, 1e-5 * 1.01 ** (number % 1_000))


def p99(seconds: list[float]) -> float:
    """Return the time that 99 % stay below."""
    return statistics.quantiles(seconds, n=100)[98]


def accesses() -> tuple[list[float], list[float]]:
    """Time each participant's first access and later ones, all of them active."""
    first: list[float] = []
    later: list[float] = []
    for round_ in range(20):
        code = stores.create_session()
        boards = [stores.get(Cards, code, f"p{n}") for n in range(PARTICIPANTS)]
        for times in (first, later, later):
            for board in boards:
                started = time.perf_counter()
                board.snapshot()
                times.append(time.perf_counter() - started)
        if round_:
            stores.cleanup_session(code)
    return first, later


def main() -> None:
    """Print the rows."""
    with registry.isolated(Cards):
        cache = LocMemCache("benchmark", {})
        cache.set("board", BOARD_1K)
        cards = stores.get(Cards, stores.create_session(), "alice")
        assert cards.snapshot()
        backend = get_backend(blocking=True)
        event_bus.bus.subscribe(diff, event_bus.Change)
        medians = interleaved(
            ROUNDS,
            floor=lambda: get_and_set(cache),
            ours=lambda: dispatch(cards),
            counted=lambda: count(backend),
        )
        floor, ours, counted = (seconds / CALLS * 1e6 for seconds in medians.values())
        accesses()
        first, later = (p99(times) * 1e3 for times in accesses())
        show(
            Row(
                "dispatch, LocMem, with diff",
                f"LocMemCache get+set {floor:.1f} µs",
                f"{ours:.1f} µs",
                f"{ours / floor:.2f}",
                "≤ 2",
                ours / floor <= 2,
            ),
            Row(
                "of that, the figures of health, alone",
                f"dispatch, LocMem {ours:.1f} µs",
                f"{counted:.2f} µs",
                f"{counted / ours:.3f}",
                "≤ 1 µs",
                counted <= 1,
            ),
            Row(
                "first access, p99, 50 active",
                "the origin's 5 ms",
                f"{first:.3f} ms",
                f"{first / 5:.3f}",
                "≤ 0.2 ms",
                first <= 0.2,
            ),
            Row(
                "access, p99, 50 active",
                "the origin's 5 ms",
                f"{later:.3f} ms",
                f"{later / 5:.3f}",
                "≤ 0.2 ms",
                later <= 0.2,
            ),
        )


if __name__ == "__main__":
    main()
