"""The consumer beside a raw ASGI echo, a stock Channels echo, and the naive way."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import django
from _rows import Row, show
from servers import Load, serving

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ["BENCH_STATE"] = json.dumps(
    {
        "deck": [f"card-{n:02d}" for n in range(20, 70)],
        "piles": {
            "keep": [f"card-{n:02d}" for n in range(10)],
            "drop": [f"card-{n:02d}" for n in range(10, 20)],
        },
        "notes": "Ask about the middle pile before we vote.",
    }
)
django.setup()

from django.test import override_settings  # noqa: E402

from sessionstores import Participant  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = 1.0
IDLE = (50, 500, 1000)
ACTIONS = (50, 500)


def tokens(count: int) -> list[str]:
    """Sign a token for each of `count` participants, with the servers' key."""
    with override_settings(SECRET_KEY="benchmarks"):
        people = (Participant(f"B{n // 100:05d}", f"p{n}") for n in range(count))
        return [person.token() for person in people]


class Contest(NamedTuple):
    """What each contender got in each round."""

    runs: list[dict[str, Load]]

    def median(self, name: str) -> str:
        """Return a contender's median rate and CPU, to be shown."""
        rate = statistics.median(run[name].rate for run in self.runs)
        cpu = statistics.median(run[name].cpu for run in self.runs)
        return f"{rate:.0f}/s, {cpu:.0f} µs CPU"

    def ratio(self, over: str, under: str) -> float:
        """Return the median of the rounds' ratios of CPU.

        Whoever else uses the machine slows both contenders of a round.
        """
        return statistics.median(run[over].cpu / run[under].cpu for run in self.runs)


def compare(contenders: dict[str, str], connections: int) -> Contest:
    """Measure contenders, given with their kinds of load, each in a server of its own.

    In each of `ROUNDS` rounds they take turns in another order; one more warms up.
    """
    signed = tokens(connections)
    order = list(contenders)
    runs = []
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name)) for name in contenders}
        for _ in range(ROUNDS + 1):
            random.shuffle(order)
            runs.append(
                {
                    name: servers[name].measure(
                        contenders[name], connections, SECONDS, signed
                    )
                    for name in order
                }
            )
    return Contest(runs[1:])


def idle(connections: int) -> Row:
    """Measure a `sync` that is current, answered by a snapshot without states."""
    got = compare({"raw_echo": "echo", "sessionstores": "sync"}, connections)
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
