"""Sites made by pasting a page of the docs as it stands, and their servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.demo_process import PATIENCE, ROOT, until
from tests.servers import free_port

# That of an environment in which the package is installed, by `make sites`; else this
# one, with the checkout on its path.
INSTALLED = os.environ.get("SESSIONSTORES_SITE_PYTHON", "")
PYTHON = INSTALLED or sys.executable
SERVERS = {
    "runserver": [PYTHON, "manage.py", "runserver", "--noreload", "{host}:{port}"],
    "uvicorn": [
        *(PYTHON, "-m", "uvicorn", "mysite.asgi:application"),
        *("--host", "{host}", "--port", "{port}"),
    ],
    "daphne": [
        *(PYTHON, "-m", "daphne", "-b", "{host}", "-p", "{port}"),
        "mysite.asgi:application",
    ],
    "granian": [
        *(PYTHON, "-m", "granian", "--interface", "asginl"),
        *("--host", "{host}", "--port", "{port}", "mysite.asgi:application"),
    ],
}


def blocks(text: str) -> Iterator[tuple[str, bool, str]]:
    """Yield what a page would have somebody paste: where, whether below, what."""
    for match in re.finditer(r"```(?:python|html|js|css)\n(.*?)\n(.*?)```", text, re.S):
        head, body = match.groups()
        named = re.match(r"(?:#|//|/\*|<!--) ([\w]+/[\w./]+)(, at its end)?", head)
        if named:
            yield named[1], bool(named[2]), body


def paste(folder: Path, text: str) -> None:
    """Write a page's blocks into the files that they name, in its order."""
    for place, below, body in blocks(text):
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if below else ""
        file.write_text(before + body)


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the site, or a module, with this checkout on the path."""
    return subprocess.run(
        [PYTHON, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of somebody who has installed the package."""
    others = {
        name: value
        for name, value in os.environ.items()
        if name != "DJANGO_SETTINGS_MODULE"
    }
    path = [os.fspath(folder), *([] if INSTALLED else [os.fspath(ROOT)])]
    return {**others, "PYTHONPATH": os.pathsep.join(path)}


class Served:
    """A server of the site, and what it says."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.output = ""
        self.process = subprocess.Popen(
            [part.format(host=host, port=self.port) for part in SERVERS[name]],
            cwd=folder,
            env={**environment(folder), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        try:
            # It imports the site first, on a machine that may be busy.
            until(self.answers, f"{name} to answer", 3 * PATIENCE)
        except BaseException:
            self.stop()
            raise

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            with urllib.request.urlopen(self.base, timeout=PATIENCE):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        if self.process.stdout and self.process.stdout.closed:
            return
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        assert self.process.stdout
        self.process.stdout.close()
