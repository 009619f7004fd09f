"""The demo as a process of its own, the way that its users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0


def until(
    condition: Callable[[], object], what: str, patience: float = PATIENCE
) -> None:
    """Wait for `condition`; fail after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


class DemoProcess:
    """`manage.py demo` with some arguments; `output` is what it has said so far."""

    command = ("manage.py", "demo", "--no-color")
    settings = "project.settings"

    def __init__(self, *arguments: str, temporary: Path, browser: str = "") -> None:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": self.settings,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(temporary),
            **({"BROWSER": browser} if browser else {}),
        }
        self.output = ""
        # Cookies of a browser in which the demo's superuser has signed in.
        self.signed_in: list[Any] = []
        self.process = subprocess.Popen(
            [sys.executable, *self.command, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        until(
            lambda: "Ctrl-C" in self.output or self.process.poll() is not None,
            "the demo's first words",
        )
        assert self.process.poll() is None, self.output

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def url(self, label: str) -> str:
        """Return the address that was printed behind `label`."""
        match = re.search(rf"^ *{label} +(http\S+)", self.output, re.MULTILINE)
        assert match, f"no {label!r} in: {self.output}"
        return match[1]

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url("All in one page"))
        return f"{parts.scheme}://{parts.netloc}"

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, if it still runs; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        assert self.process.stdout
        self.process.stdout.close()
        return code
