"""The site of the front ends as it runs: built by Node.js, on two workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.demo_process import ROOT
from tests.servers import Server

BUILD = Path(__file__).with_name("build.js")
# As a bundler for browsers resolves modules, in development.
CONDITIONS = ("--conditions=browser", "--conditions=development")


class FrontEndWorker(Server):
    """One process of the site, with its records on a Valkey."""

    patience = 90.0

    def __init__(self, redis: str, built: Path) -> None:
        super().__init__()
        self.redis = redis
        self.built = built

    def command(self) -> list[str]:
        """See `Server.command`."""
        uvicorn = [
            sys.executable,
            "-m",
            "uvicorn",
            "tests.browser.front_ends.asgi:application",
        ]
        return [*uvicorn, "--port", str(self.port), "--log-level", "warning"]

    def start(self, **options: Any) -> None:
        """Run it, and return when it accepts connections."""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.browser.front_ends.settings",
            "PYTHONPATH": str(ROOT),
            "FRONT_ENDS_REDIS": self.redis,
            "FRONT_ENDS_BUILT": str(self.built),
        }
        super().start(env=environment, **options)


def build(folder: Path) -> None:
    """Build the front ends into a folder."""
    done = subprocess.run(
        ["node", *CONDITIONS, str(BUILD), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def serve(redis: str, built: Path) -> Iterator[tuple[int, int]]:
    """Run two workers, and build meanwhile what they serve; yield their ports."""
    workers = [FrontEndWorker(redis, built) for _ in range(2)]
    try:
        with ThreadPoolExecutor() as pool:
            building = pool.submit(build, built)
            list(pool.map(FrontEndWorker.start, workers))
            building.result()
        yield workers[0].port, workers[1].port
    finally:
        said = "".join(worker.log() for worker in workers)
        for worker in workers:
            worker.stop()
    assert "Traceback" not in said, said
