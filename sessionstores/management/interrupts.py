"""Interruption of commands: SIGINT and SIGTERM, and readers that stop reading."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
