"""`manage.py exportsession`: write a session's people and states as CSV or JSON."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ... import conf
from ...admin.export import FORMATS, LAYOUTS, SessionExport
from ...backends.base import Backend, run
from ...backends.types import SessionInfo
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey, check_code
from ...sessions.presence import attendance
from ..arguments import (
    INVISIBLE,
    SiteCommand,
    backend_for,
    key_part,
    one_line,
    read_error,
)
from ..interrupts import quiet_on_closed_pipe
from ..output import counted


class Command(SiteCommand):
    """Exports from a shared cache; a session in memory is exported by its own site."""

    help = (
        "Write the people of a session and their states, as the admin exports them: "
        "without what is sensitive, sounds secret or is not declared. Changes nothing, "
        "and keeps nobody from idling out. Exit code 0: done; 1: there is no such "
        "session, it has ended, the cache does not answer or cannot be used, or the "
        "file cannot be written; 2: unknown arguments; 3: the cache is in the memory "
        "of another process."
    )
    # sessionstores_doctor runs the checks.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument("code", type=key_part(check_code), metavar="CODE")
        parser.add_argument(
            "--format", choices=FORMATS, default="csv", help="default: csv"
        )
        parser.add_argument(
            "--layout",
            choices=LAYOUTS,
            default="wide",
            help="wide: a row a person, with a column for each field of their states; "
            "long: a row a value; default: wide",
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write to a file, which is replaced once all is read; default: stdout",
        )
        parser.add_argument(
            "--unredacted",
            action="store_true",
            help="leave nothing out: also what is sensitive or not declared",
        )
        parser.add_argument(
            "--cache",
            metavar="ALIAS",
            help="read this cache instead of the one in SESSIONSTORES",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the export of one session."""
        with backend_for(options["cache"]) as backend:
            if not backend.shared:
                raise CommandError(
                    f"CACHES[{conf.get().cache!r}] is in the memory of the process "
                    "that serves the site, where this command cannot see it. Export "
                    "the session on its page in the admin.",
                    returncode=INVISIBLE,
                )
            try:
                self._export(backend, options)
            except (StoreUnavailable, StateCorrupt) as error:
                raise CommandError(read_error(error)) from error

    def _export(self, backend: Backend, options: dict[str, Any]) -> None:
        info = _session(backend, options["code"])
        people = run(backend.participants(info.code))
        present = run(attendance(backend, info.code))
        whole = options["unredacted"]
        export = SessionExport(backend, info, people, present, unredacted=whole)
        chunks = export.chunks(options["format"], options["layout"])
        output: Path | None = options["output"]
        if output is None:
            with quiet_on_closed_pipe():
                self._print(chunks)
            return
        _write(output, chunks)
        if options["verbosity"]:
            self.stderr.write(
                f"{output} was written: {counted(len(people), 'participant')}."
            )

    def _print(self, chunks: Iterator[str]) -> None:
        # As a file would have it, whatever the terminal's encoding and line ends are.
        if (reconfigure := getattr(self.stdout, "reconfigure", None)) is not None:
            reconfigure(encoding="utf-8", newline="")
        for chunk in chunks:
            self.stdout.write(chunk, ending="")
        self.stdout.flush()


def _session(backend: Backend, code: str) -> SessionInfo:
    info = run(backend.session(code))
    if info is not None:
        return info
    key = StoreKey.of_session(code)
    if run(backend.standings([key]))[key].ended:
        raise CommandError(f"Session {code} has ended, and its data is removed.")
    raise CommandError(
        f"There is no session {code} in CACHES[{conf.get().cache!r}]. storestats lists "
        "those that there are."
    )


def _write(output: Path, chunks: Iterator[str]) -> None:
    """Write a file as a whole: what is there stays until all is read."""
    # A device is no file that could be replaced.
    is_file = output.is_file() or not output.exists()
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    unfinished = unfinished if is_file else output
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.writelines(chunks)
        if is_file:
            unfinished.replace(output)
    except OSError as error:
        # An outage is one too, and says what it is.
        if isinstance(error, StoreUnavailable):
            raise
        raise CommandError(f"{output} cannot be written: {one_line(error)}") from error
    finally:
        if is_file:
            unfinished.unlink(missing_ok=True)
