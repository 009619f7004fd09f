"""Contenders, each in a server of its own, measured in turn under the same load."""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

import django

from benchmarks.servers import Load, Server, serving

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

SECONDS = 1.0


def tokens(count: int, *, session: str | None = None) -> list[str]:
    """Sign a token for each of `count` participants, with the servers' key.

    They are in the session named, or in sessions of a hundred.
    """
    with override_settings(SECRET_KEY="benchmarks"):
        people = (
            Participant(session or f"B{n // 100:05d}", f"p{n}") for n in range(count)
        )
        return [person.token() for person in people]


class Contest(NamedTuple):
    """Each contender's result in each round."""

    runs: list[dict[str, Load]]

    def median(self, name: str) -> str:
        """Return a contender's median rate and CPU, to be shown."""
        shown = f"{self._of(name, 'rate'):.0f}/s, {self._of(name, 'cpu'):.0f} µs CPU"
        store = self._of(name, "store_cpu")
        return f"{shown} + {store:.0f} of Valkey's" if store else shown

    def p50(self, name: str) -> str:
        """Return a contender's median time of an answer, to be shown."""
        return f"{self._of(name, 'p50') * 1e3:.2f} ms"

    def _of(self, name: str, figure: str) -> float:
        values: list[float] = [getattr(run[name], figure) for run in self.runs]
        return statistics.median(values)

    def ratio(self, over: str, under: str, figure: str = "cpu") -> float:
        """Return the median of the rounds' ratios of one figure, as a rule of the CPU.

        Whoever else uses the machine slows both contenders of a round.
        """
        ratios: list[float] = [
            getattr(run[over], figure) / getattr(run[under], figure)
            for run in self.runs
        ]
        return statistics.median(ratios)


def compare(
    contenders: Mapping[str, str],
    connections: int,
    *,
    rounds: int,
    start: Callable[[str], AbstractContextManager[Server]] = serving,
    seconds: float = SECONDS,
    rate: float = 0,
) -> Contest:
    """Measure contenders, given with their kinds of load, each in a server of its own.

    In each of `rounds` they take turns in another order; one more warms up.
    """
    signed = tokens(connections)
    order = list(contenders)
    runs = []
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(start(name)) for name in contenders}
        for _ in range(rounds + 1):
            random.shuffle(order)
            runs.append(
                {
                    name: servers[name].measure(
                        contenders[name], connections, seconds, signed, rate=rate
                    )
                    for name in order
                }
            )
    return Contest(runs[1:])
