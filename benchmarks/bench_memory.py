"""Memory: an idle participant beside its encoded state, a connection beside bare."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc

import django

from benchmarks._rows import Row, show
from benchmarks.contest import tokens
from benchmarks.servers import serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from benchmarks.states import Board  # noqa: E402
from sessionstores import stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.base import run  # noqa: E402
from sessionstores.realtime.timeline import timeline  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402

IDLE_PARTICIPANTS = 10_000
CONNECTIONS = 500


def idle() -> tuple[float, float]:
    """Return the bytes of a participant's encoded state, and of all it occupies."""
    with registry.isolated(Board):
        codes = [stores.create_session() for _ in range(IDLE_PARTICIPANTS // 50)]
        people = [(code, f"participant-{n}") for code in codes for n in range(50)]
        gc.collect()
        tracemalloc.start()
        for code, person in people:
            board = stores.get(Board, code, person)
            board.dispatch(Board.move, "card-03", "drop")
        # The next heartbeat does so: an idle participant does not occupy it for long.
        run(timeline.flush(get_backend(blocking=True)))
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        summaries = run(get_backend(blocking=True).summaries())
        encoded = sum(summary.bytes for summary in summaries)
        run(get_backend(blocking=True).clear())
        return encoded / IDLE_PARTICIPANTS, taken / IDLE_PARTICIPANTS


def connected(app: str, kind: str) -> float:
    """Return what one open connection adds to a server's resident memory."""
    with serving(app) as server:
        with server.load(kind, 20, 0.2, tokens(20)) as warm:
            warm.wait()
        before = server.rss
        with server.load(kind, CONNECTIONS, 5, tokens(CONNECTIONS + 20)[20:]) as load:
            time.sleep(1)
            after = server.rss
            load.kill()
        return (after - before) / CONNECTIONS


def main() -> None:
    """Print the rows."""
    encoded, taken = idle()
    bare = connected("channels_echo", "echo")
    ours = connected("sessionstores", "action")
    megabytes = (ours * 50) / 1e6
    show(
        Row(
            "memory, idle participant",
            f"encoded state {encoded:.0f} B",
            f"{taken:.0f} B",
            f"{taken / encoded:.2f}",
            "≤ 1.6",
            taken / encoded <= 1.6,
        ),
        Row(
            "memory, connected",
            f"bare Channels connection {bare / 1024:.1f} KiB",
            f"{ours / 1024:.1f} KiB",
            f"{ours / bare:.2f}",
            "≤ 1.4",
            ours / bare <= 1.4,
        ),
        Row(
            "memory, 50 connected participants",
            "the origin's 10 MB",
            f"{megabytes:.2f} MB",
            f"{megabytes / 10:.2f}",
            "≤ 3 MB",
            megabytes <= 3,
        ),
    )


if __name__ == "__main__":
    main()
