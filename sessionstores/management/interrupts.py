"""Interruption of commands: SIGINT, SIGTERM, and a closed output."""

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
def quiet_on_closed_pipe() -> Iterator[None]:
    """Exit with 0, without a message, if the reader of the output closes it."""
    try:
        yield
    except BrokenPipeError:
        # Otherwise Python would flush at exit and print an error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        sys.exit(0)


class Interrupt:
    """Sets `stopped` at the first SIGINT or SIGTERM; the second ends the process."""

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        # Not an Event: setting it in a signal handler during wait() can deadlock.
        self._sender, self._receiver = socket.socketpair()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._sender.close()
        self._receiver.close()

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, or until the first signal."""
        select.select([self._receiver], [], [], seconds)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._sender.send(b"!")
