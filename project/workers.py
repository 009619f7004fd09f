"""The workers of `make demo-redis`, as one of them sees them.

The supervisor keeps a pidfile for each; it is empty while its worker is down.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

# The number of the worker that this process is; empty where the demo is one process.
WORKER = os.environ.get("WORKSHOP_WORKER", "")
# Nobody's server is emptied but our own.
MAY_FLUSH = "WORKSHOP_MAY_FLUSH" in os.environ


class Worker(NamedTuple):
    """One of the workers; `pid` is None until it is started again."""

    number: int
    pid: int | None


def pidfile(directory: Path, number: int) -> Path:
    """Return where the process id of a worker is kept."""
    return directory / f"worker-{number}.pid"


def workers() -> list[Worker]:
    """Return all workers by number, whether they run or not."""
    directory = Path(os.environ["WORKSHOP_DIRECTORY"])
    found = []
    for path in directory.glob("worker-*.pid"):
        number = int(path.stem.removeprefix("worker-"))
        found.append(Worker(number, int(path.read_text() or 0) or None))
    return sorted(found)


def kill(number: int) -> None:
    """End a worker as a crash would, at once; nothing happens if it is down."""
    for worker in workers():
        if worker.number == number and worker.pid:
            os.kill(worker.pid, signal.SIGKILL)


class NamesWorker:
    """ASGI middleware: tell each tab, once it has an answer, who serves its socket."""

    def __init__(self, application: Any) -> None:
        self.application = application
        message = {"type": "message", "data": {"worker": int(WORKER)}}
        self.frame = {"type": "websocket.send", "text": json.dumps(message)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        told = False

        async def tell(event: Any) -> None:
            nonlocal told
            await send(event)
            if event["type"] == "websocket.send" and not told:
                told = True
                await send(self.frame)

        await self.application(scope, receive, tell)
