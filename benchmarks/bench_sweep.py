"""The sweep: time for each idle participant it removes, and for finding none."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import django

from benchmarks._rows import Row, interleaved, show
from benchmarks.servers import valkey
from benchmarks.shares import sampled

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402

from benchmarks.states import Board  # noqa: E402
from sessionstores import stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.base import run  # noqa: E402
from sessionstores.monitoring.history import sample  # noqa: E402
from sessionstores.monitoring.sweeps import Sweep  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402

PER_SESSION = 50
IDLE = (1_000, 10_000, 100_000)
IDLE_LOCMEM = 10_000
ROUNDS = 7
CALLS = 20
STALL_MS = 10
GAP_SECONDS = 3.0
SETTINGS = {
    "MAX_SESSIONS": 100_000,
    "AUTO_SWEEP": False,
    "SLOW_OPERATION_MS": 10_000,
}


def fill(participants: int) -> float:
    """Create participants of about 1 KB each; return the time after the last."""
    backend = get_backend(blocking=True)
    for _ in range(participants // PER_SESSION):
        code = stores.create_session()
        for number in range(PER_SESSION):
            stores.get(Board, code, f"participant-{number}").snapshot()
    return run(backend.now())


def sweep_before(moment: float) -> tuple[Sweep, float]:
    """Remove those last seen until `moment`; return the sweep and the µs for each."""
    backend = get_backend(blocking=True)
    # A pass takes the half minute's sample if it is missing; that has its own figure.
    run(sample(backend))
    age = run(backend.now()) - moment
    # Of less than a tenth of the timeout, a sweep takes the tenth.
    aged = override_settings(SESSIONSTORES={**SETTINGS, "IDLE_TIMEOUT": 0.001})
    with aged, sampled(f"a sweep, {type(backend).__name__}"):
        started = time.perf_counter()
        swept = stores.sweep(idle_for=age, orphans=False)
        spent = time.perf_counter() - started
    return swept, spent / swept.participants * 1e6


def of_all(client: Any) -> list[Row]:
    """Sweep 1,000, then 10,000, then 100,000 idle participants.

    All of them wait from the start: the smaller sweeps have the others beside them.
    """
    moments = []
    for count in IDLE:
        moments.append(fill(count))
        # Idle is who was not seen for so long when it is looked at: a sweep that goes
        # on for a second would take those along who were there a second later.
        time.sleep(GAP_SECONDS)
    client.config_set("slowlog-log-slower-than", STALL_MS * 1_000)
    client.slowlog_reset()
    rows, each = [], []
    for count, moment in zip(IDLE, moments, strict=True):
        people = stores.participant_count()
        swept, spent = sweep_before(moment)
        assert (swept.participants, swept.finished) == (count, True)
        each.append(spent)
        rows.append(
            Row(
                f"sweep, Valkey, {count:,} idle of {people:,}",
                "a participant",
                f"{spent:.1f} µs",
                f"{spent / min(each):.2f} of the least",
                "≤ 15 µs at 100,000",
                spent <= 15 or count != IDLE[-1],
            )
        )
    spread = max(each) / min(each)
    stalls = client.slowlog_len()
    rows.append(
        Row(
            "sweep, Valkey, time for each removed",
            f"the least {min(each):.1f} µs",
            f"the most {max(each):.1f} µs",
            f"{spread:.2f}",
            "≤ 1.5",
            spread <= 1.5,
        )
    )
    rows.append(
        Row(
            f"commands that held the server longer than {STALL_MS} ms",
            "",
            str(stalls),
            "",
            "0",
            stalls == 0,
        )
    )
    return rows


def nothing_due(client: Any) -> list[Row]:
    """Sweep where nobody is idle, of 1,000 and of 20,000 participants."""
    rows, medians = [], []
    for count in (1_000, 19_000):
        fill(count)
        stores.sweep(orphans=False)
        spent = interleaved(
            ROUNDS,
            ping=times(client.ping),
            sweep=times(lambda: stores.sweep(orphans=False)),
        )
        medians.append(spent["sweep"])
        ratio = spent["sweep"] / spent["ping"]
        rows.append(
            Row(
                f"sweep, Valkey, none idle of {stores.participant_count():,}",
                f"a round trip {spent['ping'] / CALLS * 1e6:.0f} µs",
                f"{spent['sweep'] / CALLS * 1e6:.0f} µs",
                f"{ratio:.2f}",
                "≤ 2",
                ratio <= 2,
            )
        )
    flat = medians[1] / medians[0]
    rows.append(
        Row(
            "sweep, Valkey, none idle of 20 times as many",
            "none idle of 1,000",
            "",
            f"{flat:.2f}",
            "≤ 1.3",
            flat <= 1.3,
        )
    )
    return rows


def times(call: Callable[[], object]) -> Callable[[], None]:
    """Return a callable that calls another `CALLS` times."""

    def calls() -> None:
        for _ in range(CALLS):
            call()

    return calls


def in_memory() -> Row:
    """Sweep 10,000 idle participants of this process."""
    each = []
    for _ in range(3):
        moment = fill(IDLE_LOCMEM)
        swept, spent = sweep_before(moment)
        assert swept.participants == IDLE_LOCMEM
        each.append(spent)
    spent = statistics.median(each)
    return Row(
        f"sweep, LocMem, {IDLE_LOCMEM:,} idle",
        "a participant",
        f"{spent:.1f} µs",
        "",
        "≤ 15 µs",
        spent <= 15,
    )


def main() -> None:
    """Print the rows."""
    with registry.isolated(Board), override_settings(SESSIONSTORES=SETTINGS):
        rows = [in_memory()]
        with valkey() as store:
            backend = "django.core.cache.backends.redis.RedisCache"
            cache = {"BACKEND": backend, "LOCATION": store.url}
            with override_settings(CACHES={"default": cache}), store.client() as client:
                rows += nothing_due(client)
                run(get_backend(blocking=True).clear())
                rows += of_all(client)
        show(*rows)


if __name__ == "__main__":
    main()
