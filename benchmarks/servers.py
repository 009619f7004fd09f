"""Server and load processes for the benchmarks, and the CPU time that servers used."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import shares
from tests.servers import Valkey, free_port

HERE = Path(__file__).parent
PEERS = HERE / "peers"
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30.0
PATHS = {
    "action": "ws/sessionstores/",
    "sync": "ws/sessionstores/",
    "socketio": "socket.io/?EIO=4&transport=websocket",
}
# Those in `peers`, which are written in JavaScript.
NODE = ("socketio",)


class Load(NamedTuple):
    """Result of a load: answers a second, the median seconds of one, and the CPU µs.

    `cpu` is the server's for each answer, `store_cpu` that of the Redis behind it.
    """

    rate: float
    cpu: float
    store_cpu: float
    p50: float


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Return the seconds of processor time that a process has used so far."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Server:
    """One server process, and the Redis behind it if any; sizes in bytes."""

    def __init__(
        self,
        app: str,
        port: int,
        process: subprocess.Popen[bytes],
        store: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.app = app
        self.port = port
        self.process = process
        self.store = store

    def sample(self, what: signal.Signals) -> None:
        """Have it count where its time goes, or stop that, if shares are wanted."""
        if shares.ON and self.app not in NODE:
            self.process.send_signal(what)

    @property
    def rss(self) -> int:
        """Resident memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server has ended")

    @contextlib.contextmanager
    def load(
        self,
        kind: str,
        connections: int,
        seconds: float,
        tokens: list[str],
        *,
        rate: float = 0,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a load and wait until all its connections are open.

        `rate` is the number of frames a second; 0: as many as are answered.
        """
        url = f"ws://127.0.0.1:{self.port}/{PATHS.get(kind, 'ws/')}"
        command = [sys.executable, str(HERE / "load.py"), url, str(connections)]
        with subprocess.Popen(
            [*command, str(seconds), kind, str(rate)],
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
        self,
        kind: str,
        connections: int,
        seconds: float,
        tokens: list[str],
        *,
        rate: float = 0,
    ) -> Load:
        """Run a load to its end."""
        processes = [self.process] if self.store is None else [self.process, self.store]
        with self.load(kind, connections, seconds, tokens, rate=rate) as process:
            self.sample(shares.START)
            before = [cpu(each) for each in processes]
            assert process.stdout is not None
            result = json.loads(process.stdout.readline())
            after = [cpu(each) for each in processes]
            self.sample(shares.STOP)
        answered = result["answered"]
        used = [
            (end - start) / answered * 1e6
            for start, end in zip(before, after, strict=True)
        ]
        return Load(answered / result["seconds"], used[0], sum(used[1:]), result["p50"])


class CrowdProcess:
    """Connections in a process of their own, which obeys commands; see `crowd.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, command: str, *numbers: int) -> dict[str, Any]:
        """Have a command carried out; return what came of it."""
        assert self._process.stdin is not None
        print(command, *numbers, file=self._process.stdin, flush=True)
        return dict(json.loads(self._line()))

    def await_open(self, tokens: Sequence[str]) -> None:
        """Give the participants' tokens, and wait until all connections are open."""
        assert self._process.stdin is not None
        print(json.dumps(tokens), file=self._process.stdin, flush=True)
        if self._line() != "ready\n":
            raise RuntimeError("the crowd did not open")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def crowding(
    kind: str, session: str, servers: Sequence[Server], tokens: Sequence[str]
) -> Iterator[CrowdProcess]:
    """Open a connection for each token, spread over servers, until the block ends."""
    command = [sys.executable, "-m", "benchmarks.crowd", kind, session]
    urls = [f"ws://127.0.0.1:{server.port}/" for server in servers]
    with subprocess.Popen(
        [*command, *urls],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE.parent,
    ) as process:
        crowd = CrowdProcess(process)
        try:
            crowd.await_open(tokens)
            yield crowd
        finally:
            process.kill()


@contextlib.contextmanager
def valkey() -> Iterator[Valkey]:
    """Run a Valkey until the block ends."""
    store = Valkey()
    try:
        store.start()
        yield store
    finally:
        store.stop()


@contextlib.contextmanager
def serving(app: str, store: Valkey | None = None) -> Iterator[Server]:
    """Run `benchmarks.asgi_apps:app` under uvicorn until the block ends.

    Or another module's, named as in "crowd_apps:naive". Its cache and channel layer are
    on `store`, if one is given.
    """
    port = free_port()
    where = app if ":" in app else f"asgi_apps:{app}"
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.{where}"]
    options = ["--port", str(port), "--log-level", "error", "--lifespan", "off"]
    options += ["--ws", "websockets-sansio", "--ws-per-message-deflate", "false"]
    # One that is too busy to hear a pong would close its connections.
    options += ["--ws-ping-interval", "3600"]
    environment = {} if store is None else {"BENCH_REDIS": store.url}
    with _running([*command, *options], environment) as process:
        yield _answering(app, port, process, store)


@contextlib.contextmanager
def serving_peer(app: str, store: Valkey | None = None) -> Iterator[Server]:
    """Run `benchmarks/peers/app.js` under Node.js, over `store` if one is given."""
    if not (PEERS / "node_modules").exists():
        print(
            "Installing Socket.IO from npm into benchmarks/peers (once) ...", flush=True
        )
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run([*install, "--silent"], check=True, cwd=PEERS)
    port = free_port()
    command = ["node", str(PEERS / f"{app}.js"), str(port)]
    if store is not None:
        command.append(store.url)
    with _running(command, {"NODE_ENV": "production"}) as process:
        yield _answering(app, port, process, store)


@contextlib.contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=HERE.parent, env={**os.environ, **environment}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _answering(
    app: str, port: int, process: subprocess.Popen[bytes], store: Valkey | None
) -> Server:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return Server(app, port, process, None if store is None else store.process)
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"{app} did not start")
        time.sleep(0.05)
