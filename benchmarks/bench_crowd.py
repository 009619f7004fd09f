"""A session's state under a crowd: all tabs act at once, and all are sent a change."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import shares
from benchmarks._rows import Row, show
from benchmarks.contest import tokens
from benchmarks.crowd import MAX_SECONDS
from benchmarks.servers import (
    CrowdProcess,
    Server,
    cpu,
    crowding,
    serving,
    serving_peer,
    valkey,
)
from tests.servers import Valkey

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
TABS = 300
WORKERS = (1, 2)
FAN_OUT_TABS = 1_000
CHANGES = 20
FIRST_VALUE = 1_000_000
# The kinds of `crowd.py`, and the servers that speak them.
CONTENDERS = {
    "ours": "crowd_apps:sessionstores",
    "naive": "crowd_apps:naive",
    "socketio": "socketio",
}
FILES = 8_192


class Place(NamedTuple):
    """A contender's servers, and the crowd that is connected to them."""

    servers: list[Server]
    crowd: CrowdProcess


Results = dict[str, dict[str, Any]]


def contest(
    session: str,
    tabs: int,
    workers: int,
    store: Valkey,
    measure: Callable[[Place, int], dict[str, Any]],
) -> list[Results]:
    """Measure the contenders, whose tabs stay open, in turns of another order each.

    One round more warms up.
    """
    signed = tokens(tabs, session=session)
    with contextlib.ExitStack() as stack:
        places = {}
        for kind, app in CONTENDERS.items():
            if app == "socketio" and shutil.which("npm") is None:
                print("npm is not installed: Socket.IO is not measured")
                continue
            start = serving_peer if app == "socketio" else serving
            servers = [stack.enter_context(start(app, store)) for _ in range(workers)]
            crowd = stack.enter_context(crowding(kind, session, servers, signed))
            places[kind] = Place(servers, crowd)
        rounds = []
        order = list(places)
        for number in range(ROUNDS + 1):
            random.shuffle(order)
            rounds.append({kind: measure(places[kind], number) for kind in order})
            if "BENCH_RAW" in os.environ:
                print(json.dumps(rounds[-1]), flush=True)
    return rounds[1:]


def median(rounds: Sequence[Results], kind: str, figure: str) -> float:
    """Return the median of a contender's figure."""
    return statistics.median(float(each[kind][figure]) for each in rounds)


def worst(rounds: Sequence[Results], kind: str, figure: str) -> int:
    """Return the largest of a contender's counts."""
    return max(int(each[kind][figure]) for each in rounds)


def ratio(rounds: Sequence[Results], kind: str, figure: str) -> float:
    """Return the median of our figure's ratios to that of a peer in the same round."""
    return statistics.median(
        float(each["ours"][figure]) / float(each[kind][figure]) for each in rounds
    )


def at_once(store: Valkey, workers: int) -> list[Row]:
    """Measure an action of every tab on one session's state in one instant."""

    def act(place: Place, number: int) -> dict[str, Any]:
        return place.crowd.tell("act", number + 1)

    rounds = contest(f"CROWD{workers}", TABS, workers, store, act)
    plural = "s" if workers > 1 else ""
    what = f"everybody at once, {TABS} tabs, {workers} worker{plural}"
    counts = {
        name: worst(rounds, "ours", name) for name in ("refused", "lost", "behind")
    }
    faults = sum(counts.values())
    p99 = median(rounds, "ours", "p99")
    acked = median(rounds, "ours", "acked")
    share = statistics.median(
        float(each["ours"]["commits"]) / float(each["ours"]["acked"] or 1)
        for each in rounds
    )
    rows = [
        Row(
            what,
            "",
            ", ".join(f"{count} {name}" for name, count in counts.items()),
            str(faults),
            "0",
            not faults,
        ),
        Row(
            f"{what}, p99 of the answers",
            "",
            f"{p99 * 1e3:.0f} ms",
            f"{p99 / 0.3:.2f}",
            "≤ 300 ms",
            p99 <= 0.3,
        ),
        Row(
            f"{what}, commits",
            f"{acked:.0f} actions acked",
            f"{median(rounds, 'ours', 'commits'):.0f} commits",
            f"{share:.2f}",
            "≤ 0.1",
            share <= 0.1,
        ),
    ]
    for kind, name in {"naive": "the naive way", "socketio": "Socket.IO"}.items():
        if kind in rounds[0]:
            rows += beside(rounds, kind, name, what, faults=faults)
    return rows


def beside(
    rounds: Sequence[Results], kind: str, name: str, what: str, *, faults: int
) -> list[Row]:
    """Compare with a peer, which is ahead where ours refuses or loses anything."""
    lost = f", {worst(rounds, kind, 'lost')} of {TABS} lost"
    rows = []
    for figure, label in (("p99", "p99"), ("level", "all tabs level")):
        times = ratio(rounds, kind, figure)
        rows.append(
            Row(
                f"{what}, {label}",
                f"{name} {shown(median(rounds, kind, figure))}{lost}",
                shown(median(rounds, "ours", figure)),
                f"{times:.2f}",
                "< 1",
                times < 1 and not faults,
            )
        )
    return rows


def shown(seconds: float) -> str:
    """Return a time to be shown."""
    return "never" if seconds >= MAX_SECONDS else f"{seconds * 1e3:.0f} ms"


def fan_out(store: Valkey) -> list[Row]:
    """Measure a change of one session's state, sent to all its tabs, on one worker.

    Over Valkey, since Channels' layer in memory walks all its channels in each call.
    """

    def change(place: Place, number: int) -> dict[str, Any]:
        (server,) = place.servers
        server.sample(shares.START)
        before = cpu(server.process)
        first = FIRST_VALUE + number * CHANGES
        seconds = place.crowd.tell("change", first, CHANGES)["seconds"]
        used = cpu(server.process) - before
        server.sample(shares.STOP)
        return {
            "cpu": used / CHANGES / FAN_OUT_TABS,
            "last": statistics.median(seconds),
        }

    rounds = contest("FANOUT", FAN_OUT_TABS, 1, store, change)
    what = f"fan-out, {FAN_OUT_TABS:,} tabs"
    peers: Mapping[str, tuple[str, str, float]] = {
        "naive": ("Channels group_send", "≤ 0.3", 0.3),
        "socketio": ("Socket.IO room", "≤ 1.1", 1.1),
    }
    last = median(rounds, "ours", "last")
    rows = []
    for kind, (name, aim, most) in peers.items():
        if kind in rounds[0]:
            share = ratio(rounds, kind, "cpu")
            rows.append(
                Row(
                    f"{what}, CPU of each",
                    f"{name} {fan_out_figure(rounds, kind)}",
                    fan_out_figure(rounds, "ours"),
                    f"{share:.2f}",
                    aim,
                    share <= most,
                )
            )
    rows.append(
        Row(
            f"{what}, last tab",
            "",
            f"{last * 1e3:.0f} ms",
            f"{last / 0.1:.2f}",
            "≤ 100 ms",
            last <= 0.1,
        )
    )
    return rows


def fan_out_figure(rounds: Sequence[Results], kind: str) -> str:
    """Return the CPU for each tab and the time of the last, to be shown."""
    used, last = median(rounds, kind, "cpu"), median(rounds, kind, "last")
    return f"{used * 1e6:.0f} µs, last tab {last * 1e3:.0f} ms"


def main() -> None:
    """Print the rows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    with valkey() as store:
        show(
            *(row for workers in WORKERS for row in at_once(store, workers)),
            *fan_out(store),
        )


if __name__ == "__main__":
    main()
