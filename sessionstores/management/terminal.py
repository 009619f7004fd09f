"""What the commands share: times as arguments, signals, and a bar of progress."""

from __future__ import annotations

import re
import select
import signal
import socket
import threading
import time
from argparse import ArgumentTypeError
from types import FrameType
from typing import Any

from django.core.management.base import OutputWrapper

from ..lastsweep import Sweep

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "": 1}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(ms|min|s|m|h|d|)")


def seconds_in(text: str) -> float:
    """Return a time such as "300", "5m" or "1h30m" in seconds."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ArgumentTypeError(f"{text!r} is no time: write 300, 90s, 5m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def positive_seconds(text: str) -> float:
    """Return a time of more than 0 seconds."""
    seconds = seconds_in(text)
    if seconds <= 0:
        raise ArgumentTypeError("it must be more than 0")
    return seconds


def positive(text: str) -> int:
    """Return a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


class Interrupt:
    """Takes the first SIGINT or SIGTERM for a wish to stop; the second ends at once."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        # Not an Event: a handler that sets it while it is waited for may wait forever.
        self._bell, self._ear = socket.socketpair()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._bell.close()
        self._ear.close()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the first signal."""
        select.select([self._ear], [], [], seconds)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._bell.send(b"!")


class Bar:
    """Shows on a terminal how far a pass is that takes longer than a second."""

    WIDTH = 20

    def __init__(self, out: OutputWrapper, verbosity: int) -> None:
        self._out = out
        self._next = time.monotonic() + 1 if verbosity and out.isatty() else None
        self._shown = False

    def show(self, done: Sweep) -> None:
        """Draw it anew, ten times a second at most."""
        now = time.monotonic()
        if self._next is None or now < self._next or done.finished:
            return
        self._next, self._shown = now + 0.1, True
        share = done.visited / done.due if done.due else 0
        filled = "#" * round(share * self.WIDTH)
        text = f"[{filled:{self.WIDTH}}] {share:4.0%}, {done.participants:,} removed"
        self._out.write(f"\r{text}", ending="")
        self._out.flush()

    def clear(self) -> None:
        """Leave the line empty."""
        if self._shown:
            self._out.write("\r\x1b[K", ending="")
            self._out.flush()
