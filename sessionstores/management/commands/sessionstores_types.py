"""`manage.py sessionstores_types`: write the TypeScript of all declared states."""

from __future__ import annotations

import difflib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ...exceptions import UnknownState
from ...state.declaration import State, registry, states_in
from ..arguments import USAGE, SiteCommand, one_line
from ..interrupts import quiet_on_closed_pipe
from ..typescript import CLIENT, typescript


class Command(SiteCommand):
    """Writes types that the client's own refer to, or compares a file with them."""

    help = (
        "Write the TypeScript of all declared states: their data, actions, results and "
        "error codes, registered with the client. Exit code 0: done, or the file is up "
        "to date; 1: the file is not, or cannot be read or written, or a declaration "
        "is unusable; 2: unknown arguments."
    )
    # sessionstores_doctor runs the checks.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write to this file, if it differs, instead of to stdout",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="change nothing; if the file of --output is out of date, print how it "
            "differs and exit with 1",
        )
        parser.add_argument(
            "--module",
            default=CLIENT,
            metavar="NAME",
            help="how the file's imports would name client.js, as in "
            f"../sessionstores/client.js; default: {CLIENT}",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the types, write them, or compare them with a file."""
        output: Path | None = options["output"]
        if options["check"] and output is None:
            raise CommandError(
                "--check also needs --output, the file to look at.", returncode=USAGE
            )
        text = typescript(_states(), options["module"])
        if output is None:
            with quiet_on_closed_pipe():
                self.stdout.write(text, ending="")
            return
        found = _read(output)
        if found == text:
            if options["verbosity"]:
                self.stderr.write(f"{output} is up to date.")
        elif options["check"]:
            self._show_difference(output, found, text)
        else:
            _write(output, text)
            if options["verbosity"]:
                self.stderr.write(f"{output} was written.")

    def _show_difference(self, output: Path, found: str | None, text: str) -> None:
        is_stale = "is out of date" if found is not None else "does not exist"
        with quiet_on_closed_pipe():
            lines = difflib.unified_diff(
                (found or "").splitlines(keepends=True),
                text.splitlines(keepends=True),
                str(output),
                "the declared states",
            )
            for line in lines:
                self.stdout.write(line)
        raise CommandError(
            f"{output} {is_stale}: run manage.py sessionstores_types with --output "
            f"{output}, and commit it."
        )


def _states() -> list[type[State]]:
    problems = registry.problems()
    if problems:
        raise CommandError("\n".join(problems))
    try:
        return [*states_in("participant"), *states_in("session")]
    except UnknownState as error:
        raise CommandError(one_line(error)) from error


def _read(file: Path) -> str | None:
    """Return a file's text, with the line ends of any system; None: there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {one_line(error)}") from error


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {one_line(error)}") from error
