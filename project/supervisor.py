"""`make demo-redis`: run the workshop on two workers that share a Valkey.

This process listens, relays connections to the workers, and restarts workers that end.
At its end it stops everything that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
from django.core.management.base import CommandError

from project.management.commands import demo
from project.relay import RETRY_SECONDS, Relay
from project.valkey import running_valkey
from project.workers import pidfile
from sessionstores import StoreUnavailable

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2
# Seconds before a worker is restarted, so that its absence is visible, and seconds that
# it may take to end.
RESTART_SECONDS = 3.0
STOP_SECONDS = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class WorkerProcess:
    """A uvicorn process that is restarted whenever it ends."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.port = 0
        self.pidfile = pidfile(directory, number)

    async def keep_running(self) -> None:
        """Run it until cancelled, then stop it."""
        while True:
            process = await self._start()
            self.pidfile.write_text(str(process.pid))
            try:
                code = await process.wait()
            finally:
                self.pidfile.write_text("")
                await stop(process)
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            write(f"  Worker {self.number} has ended ({how}) and is restarted.")
            await asyncio.sleep(RESTART_SECONDS)

    async def answering(self) -> None:
        """Wait until it accepts connections."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _start(self) -> asyncio.subprocess.Process:
        with socket.socket() as server_socket:
            # Bound but not listening: it refuses connections until the worker is ready.
            server_socket.bind(("127.0.0.1", 0))
            self.port = server_socket.getsockname()[1]
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "uvicorn", "project.asgi:application"),
                *("--fd", str(server_socket.fileno()), "--log-level", "warning"),
                *("--lifespan", "off", "--timeout-graceful-shutdown", "2"),
                cwd=ROOT,
                env={**os.environ, "WORKSHOP_WORKER": str(self.number)},
                pass_fds=[server_socket.fileno()],
                process_group=0,  # Ctrl-C reaches only us; we stop the workers
            )


async def stop(process: asyncio.subprocess.Process) -> None:
    """Terminate a process; kill it if it takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def supervise(
    listener: socket.socket,
    workers: Sequence[WorkerProcess],
    announce: Callable[[], None],
) -> None:
    """Run the workers and the relay until a signal; announce it when all answer."""
    ended = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, ended.set)

    async def announce_all() -> None:
        for worker in workers:
            await worker.answering()
        announce()

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(worker.keep_running()) for worker in workers]
        running.append(group.create_task(announce_all()))
        async with Relay(workers).serving(listener):
            await ended.wait()
        for task in running:
            task.cancel()


@contextlib.contextmanager
def server(directory: Path, url: str | None) -> Iterator[str]:
    """Yield the URL of the server: `url`, or a Valkey of our own."""
    if url:
        yield url
        return
    with running_valkey(directory / "valkey") as own:
        os.environ["WORKSHOP_MAY_FLUSH"] = "yes"
        yield own


def run(command: demo.Command, options: dict[str, Any]) -> None:
    """Run the demo until a signal. Raises `CommandError`."""
    with (
        demo.ending_quietly(),
        TemporaryDirectory(prefix="sessionstores-demo-") as name,
        server(Path(name), options["redis_url"]) as url,
        demo.listening(options["host"], options["port"]) as listener,
    ):
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "project.settings_redis",
            "WORKSHOP_SECRET_KEY": secrets.token_urlsafe(50),
            "WORKSHOP_REDIS_URL": url,
            "WORKSHOP_DIRECTORY": name,
            "WORKSHOP_HOST": demo.visible_host(options["host"]).strip("[]"),
        }
        django.setup()
        write(f"{WORKERS} workers share {url}")
        announce = command.prepare(listener, **options)
        workers = [
            WorkerProcess(number, Path(name)) for number in range(1, WORKERS + 1)
        ]
        asyncio.run(supervise(listener, workers, announce))
    write("\nThe demo has ended, stopped its workers and deleted its data.")


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    command = demo.Command()
    parser = ArgumentParser(prog="make demo-redis", description=__doc__)
    command.add_arguments(parser)
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="use this Redis or Valkey instead of our own; it is not flushed",
    )
    options = vars(parser.parse_args())
    try:
        run(command, options)
    except (CommandError, StoreUnavailable) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
