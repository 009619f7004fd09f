"""Uvicorn workers of the site in `tests.faults.site`, which tests kill and pause."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.servers import PATIENCE, Server

from .sites import Site

ROOT = Path(__file__).resolve().parents[2]

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"
LOSSY = "tests.faults.site.layers.LossyLayer"


class Worker(Server):
    """One process, with the `SITE_*` variables in `environment`."""

    # It imports the whole site, which a machine with other work does slowly.
    patience = 3 * PATIENCE

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__()
        self.environment = environment

    def command(self) -> list[str]:
        """See `Server.command`."""
        uvicorn = [sys.executable, "-m", "uvicorn", "tests.asgi:application"]
        return [*uvicorn, "--port", str(self.port), "--log-level", "warning"]

    def start(self, **options: Any) -> None:
        """Run it, and return when it accepts connections."""
        environment = {
            **os.environ,
            **self.environment,
            "DJANGO_SETTINGS_MODULE": "tests.faults.site.settings",
            "PYTHONPATH": str(ROOT),
        }
        super().start(env=environment, **options)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def figures(self) -> dict[str, int]:
        """Return the worker's counters of delivery, and its number of connections."""
        with urlopen(f"http://{self.address}/figures", timeout=PATIENCE) as response:
            told: dict[str, int] = json.load(response)
            return told


@contextmanager
def running(
    count: int,
    port: int,
    layer: str = PUBSUB,
    *,
    loss: float | None = None,
    lease: float | None = None,
    heartbeat: float | None = None,
    rate: tuple[float, float] | None = None,
    cache: Site | None = None,
) -> Iterator[list[Worker]]:
    """Run `count` workers on the Valkey at `port`; they start side by side.

    A lossy layer loses that share of its messages; `lease`, `heartbeat` and `rate` are
    those of the settings: a second, and no limit, for the latter two if not given. The
    records are on that Valkey too, or where `cache` says.
    """
    environment = {"SITE_REDIS": f"redis://127.0.0.1:{port}/0", "SITE_LAYER": layer}
    if loss is not None:
        environment["SITE_LOSS"] = str(loss)
    if lease is not None:
        environment["SITE_LEASE"] = str(lease)
    if heartbeat is not None:
        environment["SITE_HEARTBEAT"] = str(heartbeat)
    if rate is not None:
        environment["SITE_RATE"] = "{:g} {:g}".format(*rate)
    if cache is not None:
        environment["SITE_CACHE"] = json.dumps(cache)
    workers = [Worker(environment) for _ in range(count)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Worker.start, workers))
        yield workers
    finally:
        for worker in workers:
            worker.stop()
