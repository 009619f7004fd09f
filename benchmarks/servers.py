"""Server and load processes for the benchmarks, and what the server process used."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30.0


class Load(NamedTuple):
    """What a load got: answers a second, and the server's CPU µs for each."""

    rate: float
    cpu: float


class Server:
    """One uvicorn process; times in seconds, sizes in bytes."""

    def __init__(self, app: str, port: int, process: subprocess.Popen[bytes]) -> None:
        self.app = app
        self.port = port
        self.process = process

    @property
    def cpu(self) -> float:
        """Processor time used so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def rss(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server is gone")

    @contextlib.contextmanager
    def load(
        self, kind: str, connections: int, seconds: float, tokens: list[str]
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a load and wait until all its connections are open."""
        path = "ws/sessionstores/" if kind in ("action", "sync") else "ws/"
        url = f"ws://127.0.0.1:{self.port}/{path}"
        command = [sys.executable, str(HERE / "load.py"), url, str(connections)]
        with subprocess.Popen(
            [*command, str(seconds), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(tokens))
            process.stdin.close()
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"the load on {self.app} did not start")
            yield process

    def measure(
        self, kind: str, connections: int, seconds: float, tokens: list[str]
    ) -> Load:
        """Run a load to its end."""
        with self.load(kind, connections, seconds, tokens) as process:
            before = self.cpu
            assert process.stdout is not None
            result = json.loads(process.stdout.readline())
            used = self.cpu - before
        answered = result["answered"]
        return Load(answered / result["seconds"], used / answered * 1e6)


@contextlib.contextmanager
def serving(app: str, **environment: Any) -> Iterator[Server]:
    """Run `benchmarks.apps:app` under uvicorn until the block ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.apps:{app}"]
    options = ["--port", str(port), "--log-level", "error", "--lifespan", "off"]
    options += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=HERE.parent,
        env={**os.environ, **environment},
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{app} did not start")
            time.sleep(0.05)
        yield Server(app, port, process)
    finally:
        process.terminate()
        process.wait(10)
