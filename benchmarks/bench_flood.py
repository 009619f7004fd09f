"""Other people's answers while tabs flood, beside the same without a flood.

Each tab that floods sends one kind of frame as fast as it can, and comes back whenever
it is closed.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

os.environ.setdefault("BENCH_RATE", "[20, 40]")

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from benchmarks._rows import Row, show
from benchmarks.contest import tokens
from benchmarks.load import ORIGIN, opened, pace, welcomed
from benchmarks.servers import serving

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CALM = 200
# Actions a second, of all the calm tabs together.
RATE = 100.0
SECONDS = 6.0
FLOODS: dict[str, dict[str, Any]] = {
    "pong": {"type": "pong"},
    "sync": {"type": "sync", "doc": "me"},
    "meta": {"type": "meta", "data": {"x": 1}},
    "action": {"type": "action", "id": 1, "state": "board", "action": "none"},
    "token": {"type": "token"},
    "large": {"type": "pong", "padding": "x" * 60_000},
}


async def flood(url: str, token: str, kind: str) -> None:
    """Send one kind of frame over and over, on one connection after the other."""
    own: dict[str, Any] = {"token": token} if kind == "token" else {}
    text = json.dumps(FLOODS[kind] | own)
    while True:
        connection = connect(
            url,
            origin=Origin(ORIGIN),
            subprotocols=[Subprotocol("sessionstores.v1")],
            compression=None,
            close_timeout=1,
        )
        with suppress(ConnectionClosed, OSError, TimeoutError):
            async with connection as socket:
                await welcomed(socket, token, 0)
                print("flooding", flush=True)
                reading = asyncio.create_task(_drop_answers(socket))
                try:
                    while True:
                        await socket.send(text)
                finally:
                    reading.cancel()


async def _drop_answers(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass


async def flood_all(url: str) -> None:
    """Let a tab flood for each kind of frame, until this process is killed."""
    signed = json.loads(sys.stdin.readline())
    floods = zip(signed, FLOODS, strict=True)
    await asyncio.gather(*(flood(url, token, kind) for token, kind in floods))


@contextmanager
def flooding(url: str, signed: list[str]) -> Iterator[None]:
    """Let a process flood until the block ends."""
    command = [sys.executable, __file__, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            print(json.dumps(signed), file=process.stdin, flush=True)
            for _ in FLOODS:
                process.stdout.readline()
            yield
        finally:
            process.kill()


async def p99(url: str, signed: list[str]) -> float:
    """Return the 99th percentile of the answers to calm tabs, in seconds."""
    async with AsyncExitStack() as stack:
        tabs = [
            await stack.enter_async_context(opened(url, "action", number, signed))
            for number in range(CALM)
        ]
        until = time.perf_counter() + SECONDS
        (taken,) = await pace(tabs, "action", RATE, until)
    return statistics.quantiles(taken, n=100)[98]


def main() -> None:
    """Print the row, measured in turn without floods and with them."""
    # Those that flood are in a session of their own.
    signed = tokens(CALM + 100 + len(FLOODS))
    calm, beside = [], []
    with serving("sessionstores") as server:
        url = f"ws://127.0.0.1:{server.port}/ws/sessionstores/"
        for _ in range(ROUNDS + 1):
            calm.append(asyncio.run(p99(url, signed)))
            with flooding(url, signed[-len(FLOODS) :]):
                beside.append(asyncio.run(p99(url, signed)))
    # The first warms up.
    ratios = [with_ / without for with_, without in zip(beside, calm, strict=True)][1:]
    ratio = statistics.median(ratios)
    show(
        Row(
            f"p99 of others while {len(FLOODS)} tabs flood",
            f"without floods {statistics.median(calm[1:]) * 1e3:.1f} ms",
            f"{statistics.median(beside[1:]) * 1e3:.1f} ms",
            f"{ratio:.2f}",
            "≤ 2",
            ratio <= 2,
        )
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(flood_all(sys.argv[1]))
    else:
        main()
