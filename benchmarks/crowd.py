"""A crowd of WebSockets in a process of its own, which acts when it is told to.

`python -m benchmarks.crowd KIND SESSION URL [URL ...]` reads the participants' tokens,
a JSON array, from the first line of its input, opens a connection for each, as many at
each URL, and prints "ready". Each further line is a command, answered by a line of
JSON: `act VALUE` has every connection act once in one instant, `change VALUE TIMES`
has the first one change the state, time after time, each time until all have it.

It shares the machine with the servers. So sockets are read without any framework, and
what they have read is looked into afterwards.
"""

from __future__ import annotations

import json
import math
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from benchmarks.crowd_kinds import KINDS, Frame, OurKind, Shown, counter, parsed

# Without a frame for so long, the crowd has been sent all that it will be.
QUIET_SECONDS = 1.0
# What takes longer counts as never. It is waited for all the same, up to the second
# bound, so that it does not disturb what is measured next.
MAX_SECONDS = 30.0
MAX_WAIT_SECONDS = 120.0
# A tab that misses a change for so long asks for the state.
STUCK_SECONDS = 0.3
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class CrowdTab:
    """One connection: what it has read, and the state that it shows."""

    def __init__(self, kind: OurKind, url: str, session: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.shown = Shown()
        self.ids = count(1)
        self.begin()
        self._buffer = bytearray()
        where = urlsplit(url)
        assert where.hostname is not None
        assert where.port is not None
        self.socket = socket.create_connection((where.hostname, where.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET /{kind.path}name={name}&room={session} HTTP/1.1\r\n"
            f"Host: {where.hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"{kind.headers}\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(65536)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"{url} answered {head.decode()}")

    def begin(self) -> None:
        """Forget what was read, for a new round."""
        self.log: list[tuple[float, bytes]] = []
        self.sent_at = self.answered_at = 0.0
        self.answer = b""

    def greet(self, token: str) -> None:
        """Open the session and show its state."""
        for text, answer in self.kind.opening(token):
            self.ask(text, answer)

    def ask(self, text: str, answer: bytes) -> None:
        """Send a frame, read until its answer has come, and show what that says."""
        self.send(text)
        self.socket.settimeout(MAX_SECONDS)
        while not any(
            payload.startswith(answer) for payload, _ in list(self.receive(0.0))
        ):
            pass
        self.socket.settimeout(None)
        self.catch_up()

    def send(self, text: str) -> None:
        """Send a text."""
        self._write(text.encode(), TEXT)

    def _write(self, data: bytes, opcode: int) -> None:
        # Masked with zeros, it is as it was.
        size = len(data)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        else:
            head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
        self.socket.sendall(head + bytes(4) + data)

    def receive(self, now: float) -> Iterator[tuple[bytes, bool]]:
        """Read once; yield each text, and whether it is one of the opening or noise.

        Pings are answered, and what matters is kept.
        """
        data = self.socket.recv(262_144)
        if not data:
            raise SystemExit(f"{self.name}: the server has closed the connection")
        self._buffer += data
        kind = self.kind
        for payload in self._payloads():
            is_noise = payload.startswith(kind.noise)
            if is_noise:
                if payload.startswith(kind.ping):
                    self.send(kind.pong)
            elif kind.whole and not payload.startswith(kind.answers):
                self.log = [(now, payload)]
            else:
                self.log.append((now, payload))
            if not self.answered_at and payload.startswith(kind.answers):
                self.answered_at = now
                self.answer = payload
            yield payload, is_noise

    def _payloads(self) -> Iterator[bytes]:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            opcode, size = buffer[start] & 15, buffer[start + 1]
            begin = start + 2
            if size >= 126:
                wide = 2 if size == 126 else 8
                begin += wide
                if len(buffer) < begin:
                    break
                size = int.from_bytes(buffer[begin - wide : begin], "big")
            if len(buffer) < begin + size:
                break
            payload = bytes(buffer[begin : begin + size])
            start = begin + size
            if opcode == TEXT:
                yield payload
            elif opcode == PING:
                self._write(payload, PONG)
            elif opcode == CLOSE:
                raise SystemExit(f"{self.name}: closed with {payload!r}")
        del buffer[:start]

    def catch_up(self) -> None:
        """Show what the log says."""
        for at, payload in self.log:
            self.shown.take(parsed(self.kind, payload), at)
        self.log = []


class Crowd:
    """All connections of this process."""

    def __init__(
        self, kind: OurKind, session: str, urls: list[str], tokens: list[str]
    ) -> None:
        self.kind = kind
        self._poll = select.epoll()
        self._tabs: dict[int, CrowdTab] = {}
        for number, token in enumerate(tokens):
            tab = CrowdTab(kind, urls[number % len(urls)], session, f"p{number}")
            tab.greet(token)
            self._tabs[tab.socket.fileno()] = tab
            self._poll.register(tab.socket.fileno(), select.EPOLLIN)
            self.pump(0)
        self.tabs = list(self._tabs.values())
        self._settle(with_noise=True)
        self._stored()
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def pump(self, seconds: float) -> list[tuple[CrowdTab, bytes, bool]]:
        """Read what comes within a while; each text, and whether it is noise."""
        ready = self._poll.poll(seconds)
        now = time.perf_counter()
        return [
            (tab, payload, is_noise)
            for descriptor, _ in ready
            if (tab := self._tabs.get(descriptor))
            for payload, is_noise in tab.receive(now)
        ]

    def command(self) -> list[str]:
        """Return the next command's words, and meanwhile answer pings; []: the end."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == sys.stdin.fileno():
                    return sys.stdin.readline().split()
            self.pump(0)
            for tab in self.tabs:
                tab.catch_up()

    def act(self, value: int) -> dict[str, Any]:
        """Have everybody vote for `value` in one instant; return what became of it."""
        for tab in self.tabs:
            tab.begin()
        texts = [self.kind.act(next(tab.ids), value) for tab in self.tabs]
        before = self.tabs[0].shown.rev
        started = time.perf_counter()
        for tab, text in zip(self.tabs, texts, strict=True):
            tab.sent_at = time.perf_counter()
            tab.send(text)
        self._settle()
        answers = [self._answer(tab) for tab in self.tabs]
        for tab in self.tabs:
            tab.catch_up()
        shown = [(tab.shown.state, tab.shown.at) for tab in self.tabs]
        stored = self._stored()
        votes = self.kind.votes(stored.state)
        codes = Counter(answers)
        # Before those that are behind were shown what is stored.
        behind = sum(state != stored.state for state, _ in shown)
        level_at = max(at for _, at in shown)
        ended = max(level_at, *(tab.answered_at for tab in self.tabs))
        untold = behind or codes["none"]
        lost = {
            tab
            for tab, answer in zip(self.tabs, answers, strict=True)
            if answer == "ack" and votes.get(tab.name) != value
        }
        # No answer is one that is not true.
        spent = sorted(
            min(tab.answered_at - tab.sent_at, MAX_SECONDS)
            if tab.answered_at and tab not in lost
            else MAX_SECONDS
            for tab in self.tabs
        )
        return {
            "acked": codes["ack"],
            "refused": len(self.tabs) - codes["ack"],
            "lost": len(lost),
            "behind": behind,
            "p50": spent[len(spent) // 2],
            "p99": spent[math.ceil(len(spent) * 0.99) - 1],
            "level": MAX_SECONDS if untold else min(ended - started, MAX_SECONDS),
            "commits": counter(stored.rev) - counter(before),
            "codes": dict(codes),
        }

    def change(self, value: int, times: int) -> dict[str, Any]:
        """Change the state time after time; return the seconds until all had each.

        All values have the same number of digits.
        """
        seconds = []
        for wanted in range(value, value + times):
            author, marker = self.tabs[0], b'"value":%d' % wanted
            missing = set(self.tabs)
            text = self.kind.change(next(author.ids), wanted)
            started = time.perf_counter()
            author.send(text)
            while missing:
                for tab, payload, _ in self.pump(1.0):
                    if marker in payload:
                        missing.discard(tab)
                if time.perf_counter() - started > MAX_SECONDS:
                    raise SystemExit(f"{len(missing)} tabs do not have a change")
            seconds.append(time.perf_counter() - started)
            for tab in self.tabs:
                tab.begin()
        return {"seconds": seconds}

    def _answer(self, tab: CrowdTab) -> str:
        if not tab.answered_at:
            return "none"
        return parsed(self.kind, tab.answer).answer or "none"

    def _settle(self, *, with_noise: bool = False) -> None:
        """Read until nothing has come for a while and everybody was answered."""
        started = last = looked = time.perf_counter()
        while True:
            read = self.pump(0.1)
            now = time.perf_counter()
            if any(with_noise or not is_noise for _, _, is_noise in read):
                last = now
            if now - last > STUCK_SECONDS and looked < last:
                looked = now
                self._repair()
            waits = any(tab.sent_at and not tab.answered_at for tab in self.tabs)
            if now - started > MAX_WAIT_SECONDS:
                return
            if now - last > QUIET_SECONDS and not waits:
                return

    def _repair(self) -> None:
        """Have tabs that miss a change ask for the state, as a client does."""
        for tab in self.tabs:
            tab.catch_up()
            if tab.shown.held:
                tab.send(self.kind.sync)

    def _stored(self) -> Frame:
        """Return the state that the server has; tabs that do not show it then do."""
        stored: Frame | None = None
        for tab in self.tabs:
            if stored is None or tab.shown.state != stored.state:
                tab.ask(self.kind.sync, self.kind.synced)
            stored = stored or Frame(rev=tab.shown.rev, state=tab.shown.state)
        assert stored is not None
        return stored


def main(name: str, session: str, urls: list[str]) -> None:
    """Open the crowd, and carry out what its input says."""
    tokens = json.loads(sys.stdin.readline())
    crowd = Crowd(KINDS[name], session, urls, tokens)
    print("ready", flush=True)
    while words := crowd.command():
        verb, *numbers = words
        commands: dict[str, Callable[..., Any]] = {
            "act": crowd.act,
            "change": crowd.change,
        }
        print(json.dumps(commands[verb](*map(int, numbers))), flush=True)


if __name__ == "__main__":
    which, whose, *where = sys.argv[1:]
    main(which, whose, where)
