"""The consumer beside a raw ASGI echo, a stock Channels echo, and the naive way."""

from __future__ import annotations

import os

from benchmarks._rows import Row, show
from benchmarks.contest import compare

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
IDLE = (50, 500, 1000)
ACTIONS = (50, 500)


def idle(connections: int) -> Row:
    """Measure a `sync` that is current, answered by a snapshot without states."""
    contenders = {"raw_echo": "echo", "sessionstores": "sync"}
    got = compare(contenders, connections, rounds=ROUNDS)
    ratio = got.ratio("raw_echo", "sessionstores")
    return Row(
        f"consumer, idle path, {connections} connections",
        f"raw ASGI echo {got.median('raw_echo')}",
        got.median("sessionstores"),
        f"{ratio:.2f}",
        "≥ 0.85",
        ratio >= 0.85,
    )


def actions(connections: int) -> tuple[Row, Row]:
    """Measure an action that changes a board of 1 KB, answered by its ack."""
    got = compare(
        {"channels_echo": "echo", "naive": "naive", "sessionstores": "action"},
        connections,
        rounds=ROUNDS,
    )
    what = f"action→ack, embedded, {connections} connections"
    ours = got.median("sessionstores")
    ratio = got.ratio("sessionstores", "channels_echo")
    times = got.ratio("naive", "sessionstores")
    return (
        Row(
            what,
            f"Channels echo {got.median('channels_echo')}",
            ours,
            f"{ratio:.2f} of the CPU",
            "≤ 0.7",
            ratio <= 0.7,
        ),
        Row(
            what,
            f"the naive way {got.median('naive')}",
            ours,
            f"{times:.1f} times as many",
            "≥ 4",
            times >= 4,
        ),
    )


def main() -> None:
    """Print the rows."""
    show(
        *(idle(connections) for connections in IDLE),
        *(row for connections in ACTIONS for row in actions(connections)),
    )


if __name__ == "__main__":
    main()
