"""A load of WebSockets in a process of its own: as many frames as are answered.

`python benchmarks/load.py URL CONNECTIONS SECONDS KIND RATE` prints "ready" once all
are open, and a JSON object at the end. At RATE 0 in a closed loop: each connection
sends its next frame when the last one was answered. Else in an open one, where waiting
for an answer does not delay the next turn: RATE frames a second in all.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect

ORIGIN = "http://127.0.0.1"


class Kind(NamedTuple):
    """The prefixes of an answer and of a ping, and the frame that answers a ping."""

    answer: str
    ping: str = '{"type":"ping"'
    pong: str = '{"type":"pong","visible":true}'


KINDS = {
    "echo": Kind('{"type": "action"'),
    "naive": Kind('{"id":'),
    "action": Kind('{"type":"ack"'),
    "sync": Kind('{"type":"snapshot"'),
    "socketio": Kind("43", "2", "3"),
}
OURS = ("action", "sync")
# Frames of presence come when they come; they answer no action.
PRESENCE = '{"type":"presence"'


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
    query = f"{'&' if '?' in url else '?'}name=p{number}"
    async with connect(url + query, open_timeout=60, **extra) as socket:
        if kind in OURS:
            yield Tab(socket, await welcomed(socket, tokens[number], number))
            return
        if kind == "socketio":
            await socket.send("40")
            while not str(await socket.recv()).startswith("40"):
                pass
        yield Tab(socket)


async def welcomed(socket: ClientConnection, token: str, number: int) -> str:
    """Say hello and return the rev of the participant's document."""
    hello = {"type": "hello", "token": token, "client": f"c{number}"}
    await socket.send(json.dumps(hello))
    revs: dict[str, str] = {}
    while len(revs) < 2:
        frame = json.loads(await socket.recv())
        if frame["type"] == "snapshot":
            revs[frame["doc"]] = frame["rev"]
    return revs["me"]


def frame_of(kind: str, number: int, tab: Tab) -> str:
    """Return the frame that a connection sends as its `number`th."""
    if kind == "sync":
        return json.dumps({"type": "sync", "doc": "me", "rev": tab.rev})
    # Ten cards go to one pile, then all ten to the other.
    args = {
        "card": f"card-{number % 10:02d}",
        "pile": "keep" if number // 10 % 2 else "drop",
    }
    frame = {"type": "action", "id": number, "state": "board", "action": "move"}
    text = json.dumps({**frame, "args": args})
    return f'42{number}["action",{text}]' if kind == "socketio" else text


async def turn(tab: Tab, kind: str, number: int) -> float:
    """Send a frame and await its answer; return the seconds that it took."""
    socket, (answer, ping, pong) = tab.socket, KINDS[kind]
    frame = frame_of(kind, number, tab)
    sent = time.perf_counter()
    await socket.send(frame)
    while not (text := str(await socket.recv())).startswith(answer):
        if text.startswith(PRESENCE):
            continue
        if not text.startswith(ping):
            raise SystemExit(f"{kind} was answered by {text}")
        await socket.send(pong)
    return time.perf_counter() - sent


async def work(tab: Tab, kind: str, until: float) -> list[float]:
    """Take turns until the time is up."""
    spent: list[float] = []
    while time.perf_counter() < until:
        spent.append(await turn(tab, kind, len(spent) + 1))
    return spent


async def pace(
    tabs: list[Tab], kind: str, rate: float, until: float
) -> list[list[float]]:
    """Let the tabs take turns, each at its time, until the time is up."""
    started = time.perf_counter()
    turns: list[asyncio.Task[float]] = []
    while (due := started + len(turns) / rate) < until:
        await asyncio.sleep(due - time.perf_counter())
        round_, place = divmod(len(turns), len(tabs))
        turns.append(asyncio.create_task(turn(tabs[place], kind, round_ + 1)))
    return [list(await asyncio.gather(*turns))]


async def main(
    url: str, connections: int, seconds: float, kind: str, rate: float
) -> None:
    """Run the load; print the number of answers and their median time."""
    tokens = json.loads(sys.stdin.read() or "[]")
    async with AsyncExitStack() as stack:
        tabs = [
            await stack.enter_async_context(opened(url, kind, number, tokens))
            for number in range(connections)
        ]
        print("ready", flush=True)
        started = time.perf_counter()
        until = started + seconds
        if rate:
            turns = await pace(tabs, kind, rate, until)
        else:
            turns = await asyncio.gather(*(work(tab, kind, until) for tab in tabs))
        spent = time.perf_counter() - started
        taken = [one for each in turns for one in each]
        result = {
            "answered": len(taken),
            "seconds": spent,
            "p50": statistics.median(taken),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    where, many, long, which, often = sys.argv[1:]
    asyncio.run(main(where, int(many), float(long), which, float(often)))
