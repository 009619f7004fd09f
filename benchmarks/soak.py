"""Memory over a long time: people join, edit, leave and are swept, cycle after cycle.

`make soak` runs for three minutes, `make soak HOURS=24` for a day. It prints resident
memory, live objects and the bytes of the cache after each cycle, writes them to
soak.csv, draws them into soak.svg, and fails if they do not stay level: if a line
through them, once the process is warm, rises by more than `LEVEL` allows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import django

from benchmarks.samples import Sample, draw, judge, read
from benchmarks.servers import valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.core.cache.backends import locmem  # noqa: E402
from django.test import override_settings  # noqa: E402

from benchmarks.states import CARDS, Board  # noqa: E402
from sessionstores import Participant, stores  # noqa: E402
from sessionstores.humanize import size, span  # noqa: E402
from sessionstores.monitoring.process import resident  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from tests.integration.tab import Tab, settle  # noqa: E402

SESSIONS = 6
PEOPLE = 10
EDITS = 10
# Short, so that everything with a lifetime is created and expires many times.
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


async def rest(tab: Tab) -> None:
    """Let a tab come to rest; if it was closed meanwhile, it comes back first.

    Where the machine had no time for it to answer a ping, it counts as slow.
    """
    while True:
        try:
            await settle(tab)
        except AssertionError:
            if tab.closed is None:
                raise
        else:
            return
        await tab.drop()
        await tab.connect()


async def visit(code: str, name: str, leave: str) -> None:
    """Be one participant: come, edit, come back once, and leave."""
    tab = Tab(Participant(code, name, "participant").token())
    await tab.connect()
    for number in range(EDITS):
        pile = random.choice(("keep", "drop"))
        card = CARDS[(number * 7) % len(CARDS)]
        tab.act("board", "move", {"card": card, "pile": pile})
    await rest(tab)
    await tab.drop()
    await tab.connect()
    await rest(tab)
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
    """Return the bytes that the cache holds, expired entries included."""
    if server is not None:
        return server()
    entries: dict[str, bytes] = vars(locmem)["_caches"]["sessionstores:default"]
    return sum(len(entry) for entry in entries.values())


def soak(seconds: float, server: Callable[[], int] | None, samples: Path) -> None:
    """Run cycles for `seconds`; print each, and write it to the file `samples`.

    What is measured is kept in the file alone: in memory, it would be measured too.
    """
    started = time.monotonic()
    number = 0
    print("  at       cycle  resident   objects     cache")
    with asyncio.Runner() as runner, samples.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        while (now := time.monotonic() - started) < seconds or number < 10:
            runner.run(cycle())
            gc.collect()
            seen = Sample(now, resident() or 0, len(gc.get_objects()), cached(server))
            number += 1
            writer.writerow(seen)
            print(
                f"  {span(now):8} {number:5,} {size(seen.rss):>9} "
                f"{seen.objects:>9,} {size(seen.cache):>9}",
                flush=True,
            )
        # The last ones to leave may come back within the grace.
        runner.run(asyncio.sleep(1))


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
        samples = given.plot.with_suffix(".csv")
        soak(given.hours * 3_600, server, samples)
    cycles = read(samples)
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
