"""A load of WebSockets in a process of its own: as many frames as are answered.

`python benchmarks/load.py URL CONNECTIONS SECONDS KIND` prints one JSON object.
Closed loop: each connection sends its next frame when the last one was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

ORIGIN = "http://127.0.0.1"


@asynccontextmanager
async def opened(url: str, kind: str, number: int, tokens: list[str]) -> AsyncIterator:
    """Open one connection, ready for its first frame."""
    extra: dict[str, Any] = {"compression": None, "max_size": None}
    if kind in ("action", "sync"):
        extra |= {"subprotocols": ["sessionstores.v1"], "origin": ORIGIN}
    async with connect(f"{url}?name=p{number}", open_timeout=60, **extra) as socket:
        if kind in ("action", "sync"):
            hello = {"type": "hello", "token": tokens[number], "client": f"c{number}"}
            await socket.send(json.dumps({**hello, "have": {}}))
            awaited = {"me", "session"}
            while awaited:
                frame = json.loads(await socket.recv())
                if frame["type"] == "snapshot":
                    awaited.discard(frame["doc"])
                    if frame["doc"] == "me":
                        socket.rev = frame["rev"]  # type: ignore[attr-defined]
        yield socket


def frame_of(kind: str, number: int, socket: ClientConnection) -> str:
    """Return the frame that is sent for the `number`th time."""
    if kind == "sync":
        rev = socket.rev  # type: ignore[attr-defined]
        return json.dumps({"type": "sync", "doc": "me", "rev": rev})
    card = f"card-{number % 10:02d}"
    args = {"card": card, "pile": "keep" if number % 2 else "drop"}
    return json.dumps(
        {"type": "action", "id": number, "state": "board", "action": "move"}
        | {"args": args}
    )


async def work(socket: ClientConnection, kind: str, until: float) -> int:
    """Send and await answers until the time is up; return how many there were."""
    done = 0
    while time.perf_counter() < until:
        done += 1
        await socket.send(frame_of(kind, done, socket))
        while True:
            text = await socket.recv()
            if kind != "action":
                break
            # Pings and other tabs' patches are no answers.
            if text.startswith('{"type":"ack"'):
                break
            if text.startswith('{"type":"ping"'):
                await socket.send('{"type":"pong","visible":true}')
            if text.startswith('{"type":"reject"'):
                raise SystemExit(text)
    return done


async def main(url: str, connections: int, seconds: float, kind: str) -> None:
    """Run the load and print what was answered, and in which time."""
    tokens = json.loads(sys.stdin.read() or "[]")
    managers = [opened(url, kind, n, tokens) for n in range(connections)]
    sockets = []
    for manager in managers:
        sockets.append(await manager.__aenter__())
    print("ready", flush=True)
    started = time.perf_counter()
    until = started + seconds
    counts = await asyncio.gather(*(work(s, kind, until) for s in sockets))
    spent = time.perf_counter() - started
    print(json.dumps({"answered": sum(counts), "seconds": spent}), flush=True)
    await asyncio.gather(*(manager.__aexit__(None, None, None) for manager in managers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
