"""`manage.py demo`: run the workshop with a temporary database."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.urls import reverse

from project.workshop import CAST, FACILITATOR, LOOPBACK, cast_of, open_workshop
from sessionstores import Participant


class Command(BaseCommand):
    help = "Run the card-sorting workshop with a temporary database, until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="default: 8000")
        parser.add_argument(
            "--host",
            default="127.0.0.1",
            help="default: 127.0.0.1; 0.0.0.0 lets phones in the same network join",
        )
        parser.add_argument(
            "--participants",
            type=int,
            default=2,
            choices=range(1, len(CAST) + 1),
            metavar="N",
            help=f"boards shown side by side, 1 to {len(CAST)}; default: 2",
        )
        parser.add_argument(
            "--open", action="store_true", help="open the page in a browser"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with (
            ending_quietly(),
            temporary_database(),
            listening(options["host"], options["port"]) as server_socket,
        ):
            self.prepare(server_socket, **options)()
            # A string, so that the application is imported after ALLOWED_HOSTS is set.
            config = uvicorn.Config(
                "project.asgi:application",
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=2,
            )
            uvicorn.Server(config).run(sockets=[server_socket])
        self.stdout.write("\nThe demo has ended and deleted its database.")

    def prepare(
        self, server_socket: socket.socket, **options: Any
    ) -> Callable[[], None]:
        """Open a workshop; return what prints the URLs of its pages."""
        host: str = options["host"]
        port: int = server_socket.getsockname()[1]
        if options["port"] not in (0, port):
            self.stdout.write(f"Port {options['port']} is taken; using {port}.")
        shown = visible_host(host)
        settings.ALLOWED_HOSTS.append(shown.strip("[]"))
        base = f"http://{shown}:{port}"
        call_command("migrate", verbosity=0, interactive=False)
        code = open_workshop(options["participants"])
        lines, together = self.describe(base, code, loopback=host in LOOPBACK)

        def announce() -> None:
            self.stdout.write("\n".join(lines))
            self.stdout.flush()
            if options["open"]:
                # In a thread: one in the terminal would block until the server runs.
                threading.Thread(
                    target=webbrowser.open, args=[together], daemon=True
                ).start()

        return announce

    def describe(
        self, base: str, code: str, *, loopback: bool
    ) -> tuple[list[str], str]:
        """Return lines with the URLs, and that of the page with all boards."""
        facilitator = Participant(code, FACILITATOR, "facilitator")
        together = base + facilitator.link(reverse("together", args=[code]))
        lines = [
            "",
            self.style.MIGRATE_HEADING(f"  Card-sorting workshop {code}"),
            "",
            f"  All in one page  {together}",
        ]
        for person in cast_of(code):
            link = base + person.link(reverse("board", args=[code]))
            lines.append(f"  {person.id.title():<15}  {link}")
        lines.append(f"  Join as a guest  {base}{reverse('home')}?code={code}")
        if loopback:
            password = secrets.token_urlsafe(9)
            get_user_model().objects.create_superuser("admin", password=password)
            admin = base + reverse("admin:sessionstores_livesession_changelist")
            lines.append(f"  Admin            {admin}  (admin / {password})")
        return [*lines, "", "  Ctrl-C ends it.", ""], together


@contextlib.contextmanager
def ending_quietly() -> Iterator[None]:
    """Treat Ctrl-C and SIGTERM as the normal end; uvicorn raises both again."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def temporary_database() -> Iterator[None]:
    """Use a database in a temporary directory instead of the site's own."""
    with tempfile.TemporaryDirectory(prefix="sessionstores-demo-") as directory:
        # The connections of all threads are made from this dict.
        connections.settings["default"]["NAME"] = Path(directory) / "demo.sqlite3"
        try:
            yield
        finally:
            connections.close_all()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on `port`, or on a free one if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if sys.platform != "win32":  # where the option means something else
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            try:
                server.bind((host, 0))
            except OSError as error:
                raise CommandError(f"Cannot listen on {host}: {error}") from error
        server.listen()
        yield server


def visible_host(host: str) -> str:
    """Return the address by which others reach this host, for a URL."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Looks up our address in the routing table; sends nothing.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
