"""The consumer beside a raw ASGI echo, a stock Channels echo, and the naive way."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
from pathlib import Path

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

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = 1.5
IDLE = (50, 500, 1000)
ACTIONS = (50, 500)


def tokens(count: int) -> list[str]:
    """Sign a token for each of `count` participants, with the servers' key."""
    with override_settings(SECRET_KEY="benchmarks"):
        people = (Participant(f"B{n // 100:05d}", f"p{n}") for n in range(count))
        return [person.token() for person in people]


def medians(runs: list[dict[str, Load]]) -> dict[str, Load]:
    """Return each contender's median rate and median CPU."""
    return {
        name: Load(
            statistics.median(run[name].rate for run in runs),
            statistics.median(run[name].cpu for run in runs),
        )
        for name in runs[0]
    }


def compare(contenders: dict[str, str], connections: int) -> dict[str, Load]:
    """Measure the contenders in turn, `ROUNDS` times, each in a server of its own."""
    signed = tokens(connections)
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(name.partition("/")[0]))
            for name in contenders
        }
        runs = [
            {
                name: servers[name].measure(kind, connections, SECONDS, signed)
                for name, kind in contenders.items()
            }
            for _ in range(ROUNDS + 1)
        ]
    # The first round warms the servers up.
    return medians(runs[1:])


def main() -> None:
    """Print the rows."""
    rows = []
    for connections in IDLE:
        got = compare({"raw_echo": "echo", "sessionstores": "sync"}, connections)
        floor, ours = got["raw_echo"], got["sessionstores"]
        ratio = floor.cpu / ours.cpu
        rows.append(
            Row(
                f"consumer, idle path, {connections} connections",
                f"raw ASGI echo {floor.rate:.0f}/s, {floor.cpu:.0f} µs CPU",
                f"{ours.rate:.0f}/s, {ours.cpu:.0f} µs CPU",
                f"{ratio:.2f}",
                "≥ 0.85",
                ratio >= 0.85,
            )
        )
    for connections in ACTIONS:
        contenders = {
            "channels_echo": "echo",
            "naive": "naive",
            "sessionstores": "action",
        }
        got = compare(contenders, connections)
        echo, naive, ours = (got[name] for name in contenders)
        ratio = ours.cpu / echo.cpu
        rows.append(
            Row(
                f"action→ack, embedded, {connections} connections",
                f"Channels echo {echo.rate:.0f}/s, {echo.cpu:.0f} µs CPU",
                f"{ours.rate:.0f}/s, {ours.cpu:.0f} µs CPU",
                f"{ratio:.2f} of the CPU",
                "≤ 0.7",
                ratio <= 0.7,
            )
        )
        times = naive.cpu / ours.cpu
        rows.append(
            Row(
                f"action→ack, embedded, {connections} connections",
                f"the naive way {naive.rate:.0f}/s, {naive.cpu:.0f} µs CPU",
                f"{ours.rate:.0f}/s, {ours.cpu:.0f} µs CPU",
                f"{times:.1f} times as many",
                "≥ 4",
                times >= 4,
            )
        )
    show(*rows)


if __name__ == "__main__":
    main()
