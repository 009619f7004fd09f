"""A load of WebSockets in a process of its own: as many frames as are answered.

`python benchmarks/load.py URL CONNECTIONS SECONDS KIND` prints "ready" once all are
open, and a JSON object at the end. Closed loop: each connection sends its next frame
when the last one was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect

ORIGIN = "http://127.0.0.1"
PING = '{"type":"ping"'
PONG = '{"type":"pong","visible":true}'
# How an answer begins, by kind of load; whatever else comes is none.
ANSWERS = {
    "echo": '{"type": "action"',
    "naive": '{"id":',
    "action": '{"type":"ack"',
    "sync": '{"type":"snapshot"',
}
OURS = ("action", "sync")


class Tab(NamedTuple):
    """An open connection, and the rev that it has of its participant's document."""

    socket: ClientConnection
    rev: str = ""


@asynccontextmanager
async def opened(
    url: str, kind: str, number: int, tokens: list[str]
) -> AsyncIterator[Tab]:
    """Open one connection, ready for its first frame."""
    extra: dict[str, Any] = {"compression": None, "max_size": None}
    if kind in OURS:
        extra |= {"subprotocols": ["sessionstores.v1"], "origin": ORIGIN}
    async with connect(f"{url}?name=p{number}", open_timeout=60, **extra) as socket:
        if kind not in OURS:
            yield Tab(socket)
            return
        hello = {"type": "hello", "token": tokens[number], "client": f"c{number}"}
        await socket.send(json.dumps(hello))
        revs: dict[str, str] = {}
        while len(revs) < 2:
            frame = json.loads(await socket.recv())
            if frame["type"] == "snapshot":
                revs[frame["doc"]] = frame["rev"]
        yield Tab(socket, revs["me"])


def frame_of(kind: str, number: int, tab: Tab) -> str:
    """Return the frame that is sent for the `number`th time."""
    if kind == "sync":
        return json.dumps({"type": "sync", "doc": "me", "rev": tab.rev})
    # Ten cards go to one pile, then all ten to the other.
    args = {
        "card": f"card-{number % 10:02d}",
        "pile": "keep" if number // 10 % 2 else "drop",
    }
    frame = {"type": "action", "id": number, "state": "board", "action": "move"}
    return json.dumps({**frame, "args": args})


async def work(tab: Tab, kind: str, until: float) -> int:
    """Send and await answers until the time is up; return how many there were."""
    done = 0
    socket, answer = tab.socket, ANSWERS[kind]
    while time.perf_counter() < until:
        done += 1
        await socket.send(frame_of(kind, done, tab))
        while not (text := str(await socket.recv())).startswith(answer):
            if not text.startswith(PING):
                raise SystemExit(f"{kind} was answered by {text}")
            await socket.send(PONG)
    return done


async def main(url: str, connections: int, seconds: float, kind: str) -> None:
    """Run the load and print what was answered, and in which time."""
    tokens = json.loads(sys.stdin.read() or "[]")
    async with AsyncExitStack() as stack:
        tabs = [
            await stack.enter_async_context(opened(url, kind, number, tokens))
            for number in range(connections)
        ]
        print("ready", flush=True)
        started = time.perf_counter()
        counts = await asyncio.gather(
            *(work(tab, kind, started + seconds) for tab in tabs)
        )
        spent = time.perf_counter() - started
        print(json.dumps({"answered": sum(counts), "seconds": spent}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
