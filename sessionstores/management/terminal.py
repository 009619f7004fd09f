"""What the commands share: arguments, which cache, signals, and a bar of progress."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, OutputWrapper

from .. import conf
from ..backends import get_backend, places_redis
from ..backends.base import Backend
from ..lastsweep import Sweep

# The exit code for arguments that make no sense, as argparse has it.
USAGE = 2

# With this, errors say what matters only to those who write.
_DOUBT = " What was being written "

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


def chosen(alias: str | None) -> Backend:
    """Return the backend of `--cache`; raise `CommandError` if there is none."""
    if alias is not None and alias not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise CommandError(
            f"CACHES has no alias {alias!r}, only {known}.", returncode=USAGE
        )
    try:
        given = conf.get()
        if alias not in (None, given.cache) and places_redis(given.redis):
            raise CommandError(
                "SESSIONSTORES['REDIS'] says where the records are, so that --cache "
                "cannot choose another place.",
                returncode=USAGE,
            )
        return get_backend(blocking=True, alias=alias)
    except ImproperlyConfigured as error:
        raise CommandError(one_line(error)) from error


def one_line(error: object) -> str:
    """Return what an error says; some drivers say it in several lines."""
    return " ".join(str(error).split())


def for_readers(error: object) -> str:
    """Return what an error says to a command that changes nothing, in one line."""
    return one_line(error).partition(_DOUBT)[0]


@contextmanager
def while_read() -> Iterator[None]:
    """End with 0, in silence, when whoever reads the output has read enough."""
    try:
        yield
    except BrokenPipeError:
        # Else Python would try once more at its end, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        sys.exit(0)


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
