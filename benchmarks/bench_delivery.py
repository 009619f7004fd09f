"""Delivery to another tab in the same process, beside handing a frame to a queue."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import django

from benchmarks._rows import Row, show

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from benchmarks.commits import noting_commits  # noqa: E402
from benchmarks.shares import sampled  # noqa: E402
from benchmarks.states import Board  # noqa: E402
from sessionstores import Participant, stores  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from tests.integration.tab import Tab  # noqa: E402

ROUNDS = 7
TURNS = 1_000


async def hand_off() -> float:
    """Seconds from putting a frame in a queue to having it in another task."""
    queue: asyncio.Queue[float] = asyncio.Queue()
    spent = 0.0

    async def take() -> None:
        nonlocal spent
        for _ in range(TURNS):
            put = await queue.get()
            spent += time.perf_counter() - put

    task = asyncio.create_task(take())
    for _ in range(TURNS):
        queue.put_nowait(time.perf_counter())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await task
    return spent / TURNS


async def deliver(code: str) -> float:
    """Seconds from a commit to the frame that another tab's socket is given.

    Without the making of the patch, which has a figure of its own.
    """
    arrived: asyncio.Queue[float] = asyncio.Queue()
    spent = 0.0
    tab = Tab(Participant(code, "alice").token())
    await tab.connect()
    board = stores.get(Board, code, "alice")
    with noting_commits() as last:

        def heard(message: dict[str, Any]) -> None:
            if message["text"].startswith('{"type":"patch"'):
                arrived.put_nowait(last.ago)

        tab.heard = heard
        for turn in range(TURNS):
            await board.adispatch(Board.move, "card-03", "drop" if turn % 2 else "keep")
            spent += await arrived.get()
            tab.inbox.clear()
            if not turn % 100:
                tab.say({"type": "pong", "visible": True})
    await tab.drop()
    return spent / TURNS


def main() -> None:
    """Print the row."""
    with registry.isolated(Board):
        floors, ours = [], []
        for _ in range(ROUNDS):
            floors.append(asyncio.run(hand_off()) * 1e6)
            with sampled("delivery in one process"):
                ours.append(asyncio.run(deliver("K7Q2ZD")) * 1e6)
    floor, figure = statistics.median(floors), statistics.median(ours)
    show(
        Row(
            "other tabs, same process",
            f"queue hand-off {floor:.1f} µs",
            f"{figure:.1f} µs",
            f"{figure / floor:.1f}",
            "≤ 4",
            figure / floor <= 4,
        )
    )


if __name__ == "__main__":
    main()
