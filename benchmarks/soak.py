"""Memory over a long time: people join, edit, leave and are swept, cycle after cycle.

`make soak` runs for three minutes, `make soak HOURS=24` for a day. It prints resident
memory, live objects and the bytes of the cache after each cycle, draws them into
soak.svg, and fails if they do not stay level.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import django
from servers import valkey

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402

from benchmarks.states import CARDS, Board  # noqa: E402
from sessionstores import Participant, stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.locmem import LocMemBackend  # noqa: E402
from sessionstores.humanize import size, span  # noqa: E402
from sessionstores.monitoring.stats import resident  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from tests.integration.tab import Tab, settle  # noqa: E402

SESSIONS = 6
PEOPLE = 10
EDITS = 10
# Short, so that all that is kept for a while comes and goes many times.
SETTINGS = {
    "AUTO_SWEEP": False,
    "IDLE_TIMEOUT": 2,
    "PRESENCE_LEASE": 2,
    "LEAVE_GRACE": 0.05,
    "HEARTBEAT": 0.5,
    "TOKEN_MAX_AGE": 10,
    "RATE_LIMIT": None,
    "SLOW_OPERATION_MS": 10_000,
}
PATIENCE = 30.0
# What is kept for ten minutes or an hour has to come in first.
WARM_UP = 0.4
# How much more the second half of the rest may have than the first: a factor, and what
# comes and goes by chance.
LEVEL = {
    "resident memory": (1.02, 2**20),
    "live objects": (1.005, 500),
    "cache": (1.05, 2**16),
}


class Cycle(NamedTuple):
    """What there was when everybody had left and been swept; `at` in seconds."""

    at: float
    rss: int
    objects: int
    cache: int


async def visit(code: str, name: str, leave: str) -> None:
    """Be one participant: come, edit, come back once, and leave."""
    tab = Tab(Participant(code, name, "participant").token())
    await tab.connect()
    for number in range(EDITS):
        pile = random.choice(("keep", "drop"))
        card = CARDS[(number * 7) % len(CARDS)]
        tab.act("board", "move", {"card": card, "pile": pile})
    await settle(tab)
    await tab.drop()
    await tab.connect()
    await settle(tab)
    if leave == "bye":
        tab.say({"type": "bye"})
    await tab.drop()


async def gather_in(code: str) -> None:
    """Let a session have its people at once, and end in one of three ways."""
    names = [f"p{number}" for number in range(PEOPLE)]
    ways = (random.choice(("bye", "lost")) for _ in names)
    await asyncio.gather(
        *(visit(code, *each) for each in zip(names, ways, strict=True))
    )
    await stores.asend(code, {"text": "Thank you."})
    end = random.choice((stores.aend_session, stores.acleanup_session, None))
    if end is not None:
        await end(code)


async def cycle() -> None:
    """Have sessions at once; return when nothing is left of them."""
    codes = [await stores.acreate_session(label="Soak") for _ in range(SESSIONS)]
    await asyncio.gather(*map(gather_in, codes))
    deadline = time.monotonic() + PATIENCE
    while await stores.asession_count():
        assert time.monotonic() < deadline, await stores.astats()
        await stores.asweep(idle_for=0)
        await asyncio.sleep(0.05)


def cached(server: Callable[[], int] | None) -> int:
    """Return the bytes of what the cache holds, expired or not."""
    if server is not None:
        return server()
    backend = get_backend(blocking=True)
    assert isinstance(backend, LocMemBackend)
    return sum(map(len, backend.store.cache._cache.values()))


def soak(seconds: float, server: Callable[[], int] | None) -> list[Cycle]:
    """Run cycles for so long; print each."""
    started = time.monotonic()
    cycles: list[Cycle] = []
    print("  at       cycle  resident   objects     cache")
    with asyncio.Runner() as runner:
        while (now := time.monotonic() - started) < seconds or len(cycles) < 10:
            runner.run(cycle())
            gc.collect()
            seen = Cycle(now, resident() or 0, len(gc.get_objects()), cached(server))
            cycles.append(seen)
            print(
                f"  {span(now):8} {len(cycles):5,} {size(seen.rss):>9} "
                f"{seen.objects:>9,} {size(seen.cache):>9}",
                flush=True,
            )
        # The last ones to leave have their while to come back.
        runner.run(asyncio.sleep(1))
    return cycles


def columns(cycles: Sequence[Cycle]) -> dict[str, list[int]]:
    """Return each figure's course."""
    return {
        "resident memory": [each.rss for each in cycles],
        "live objects": [each.objects for each in cycles],
        "cache": [each.cache for each in cycles],
    }


def judge(cycles: Sequence[Cycle]) -> bool:
    """Say of each figure what it was on the way and at the end; True if all are level.

    Medians of two halves, without what comes before while the process warms up.
    """
    level = True
    for name, values in columns(cycles).items():
        steady = values[int(len(values) * WARM_UP) :]
        half = len(steady) // 2
        before, after = map(statistics.median, (steady[:half], steady[half:]))
        factor, chance = LEVEL[name]
        ok = after <= before * factor + chance
        level = level and ok
        print(
            f"  {name:16} {before:13,.0f}, then {after:13,.0f}; aim ≤ "
            f"{before * factor + chance:13,.0f}  {'ok' if ok else 'MISSED'}"
        )
    return level


def draw(cycles: Sequence[Cycle], title: str) -> str:
    """Return an SVG with a curve for each figure, from 0 up."""
    width, height, left, gap = 720, 110, 110, 50
    span_of = max(cycles[-1].at, 1e-9)
    parts = []
    for number, (name, values) in enumerate(columns(cycles).items()):
        top = 40 + number * (height + gap)
        highest = max(values) * 1.1 or 1
        points = " ".join(
            f"{left + each.at / span_of * width:.1f},"
            f"{top + height - value / highest * height:.1f}"
            for each, value in zip(cycles, values, strict=True)
        )
        shown = [f"{v:,}" if name == "live objects" else size(v) for v in values]
        parts += [
            f'<line x1="{left}" y1="{top + height}" x2="{left + width}" '
            f'y2="{top + height}" stroke="#999"/>',
            f'<polyline points="{points}" fill="none" stroke="#0b6e99" '
            'stroke-width="1.5"/>',
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end">{name}</text>',
            f'<text x="{left - 8}" y="{top + height}" text-anchor="end">0</text>',
            f'<text x="{left + width}" y="{top - 4}" text-anchor="end">'
            f"{shown[-1]} at the end, {shown[0]} at first</text>",
        ]
    bottom = 40 + 3 * (height + gap)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 20}" '
        f'height="{bottom}" font-family="sans-serif" font-size="12">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="18" font-size="14">{title}</text>'
        f"{''.join(parts)}</svg>\n"
    )


@contextlib.contextmanager
def site(cache: str) -> Iterator[Callable[[], int] | None]:
    """Keep the records there; yield what asks a server for the bytes that it uses."""
    with registry.isolated(Board), override_settings(SESSIONSTORES=SETTINGS):
        if cache == "locmem":
            yield None
            return
        with valkey() as store, store.client() as client:
            backend = "django.core.cache.backends.redis.RedisCache"
            caches = {"default": {"BACKEND": backend, "LOCATION": store.url}}
            with override_settings(CACHES=caches):
                yield lambda: int(client.info("memory")["used_memory_dataset"])


def main() -> int:
    """Run, draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.05)
    parser.add_argument("--cache", choices=("locmem", "valkey"), default="locmem")
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"))
    given = parser.parse_args()
    with site(given.cache) as server:
        cycles = soak(given.hours * 3_600, server)
    people = len(cycles) * SESSIONS * PEOPLE
    title = (
        f"{people:,} participants in {len(cycles):,} cycles, {span(cycles[-1].at)}, "
        f"{given.cache}"
    )
    given.plot.write_text(draw(cycles, title))
    print(f"{title}; drawn in {given.plot}")
    return int(not judge(cycles))


if __name__ == "__main__":
    sys.exit(main())
