"""`manage.py sweepstores`: remove what nobody uses, once or again and again."""

from __future__ import annotations

import json
import random
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from ... import conf
from ...backends.base import Backend, run
from ...exceptions import InvalidKey, StateCorrupt, StoreUnavailable
from ...keys import check_code, check_participant
from ...monitoring.stats import gather
from ...monitoring.sweeps import Sweep
from ...realtime.timeline import timeline
from ...sessions.autosweep import FREQUENCY
from ...sessions.sweeper import SweepLimits, sweep
from ..arguments import USAGE, chosen, one_line, positive, positive_seconds, seconds_in
from ..interrupts import Interrupt, while_read
from ..output import Bar, SweepListing, in_words

# Exit codes, beside that for usage and Django's own for a command that failed.
FAILED, INVISIBLE, LEAKING = 1, 3, 4

# Of the interval, and how long an outage is waited for at first, in seconds.
JITTER = 0.1
FIRST_PAUSE = 1.0


def key_part(check: Callable[[object], str]) -> Callable[[str], str]:
    """Return what takes a session code or a participant id as an argument."""

    def checked(text: str) -> str:
        try:
            return check(text)
        except InvalidKey as error:
            raise ArgumentTypeError(str(error)) from error

    return checked


class Command(BaseCommand):
    """Sweeps a cache that processes share; one in memory is swept by its process."""

    help = (
        "Remove participants whom nobody has seen for IDLE_TIMEOUT and who have no "
        "connection, and sessions that are left empty. Safe to run at any time and any "
        "number of times at once. Exit code 0: done, also if there was nothing to do, "
        "or stopped by a signal; 1: the cache does not answer, or cannot be used, or a "
        "session could not be swept; 2: unknown arguments; 3: the cache is in the "
        "memory of another process; 4: --fail-on-leak found something."
    )
    # A job that runs every minute need not repeat what checks say.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        add = parser.add_argument
        add(
            "--dry-run",
            action="store_true",
            help="remove nothing; say what would be removed",
        )
        add(
            "--idle",
            type=seconds_in,
            metavar="TIME",
            help="how long unused is unused, such as 300, 5m, 1h30m; else IDLE_TIMEOUT",
        )
        add(
            "--session",
            type=key_part(check_code),
            metavar="CODE",
            help="sweep this session only",
        )
        add(
            "--participant",
            type=key_part(check_participant),
            metavar="ID",
            help="sweep this participant of --session only",
        )
        add("--cache", metavar="ALIAS", help="another cache than SESSIONSTORES names")
        add(
            "--orphans-only",
            action="store_true",
            help="compare the index with all records, mend it, and do nothing else; "
            "each pass does so too if nobody has within IDLE_TIMEOUT",
        )
        add(
            "--batch-size",
            type=positive,
            default=250,
            metavar="N",
            help="removals between two pauses; default: 250",
        )
        add(
            "--pause",
            type=seconds_in,
            default=0.0,
            metavar="TIME",
            help="rest after each batch; default: not at all",
        )
        add(
            "--max-seconds",
            type=seconds_in,
            metavar="TIME",
            help="end a pass after this time, finished or not",
        )
        add("--loop", action="store_true", help="sweep again and again, until a signal")
        add(
            "--interval",
            type=positive_seconds,
            metavar="TIME",
            help=f"between two passes of a loop, a tenth more or less; default: a "
            f"{FREQUENCY}th of IDLE_TIMEOUT",
        )
        add(
            "--json",
            action="store_true",
            help="print one object of figures; in a loop one a line for each pass",
        )
        add(
            "--fail-on-leak",
            action="store_true",
            help="end with 4 if afterwards something is held that should not be; see "
            "storestats",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep, and say what was done."""
        if options["participant"] and not options["session"]:
            raise CommandError("--participant needs --session.", returncode=USAGE)
        if options["interval"] and not options["loop"]:
            raise CommandError("--interval needs --loop.", returncode=USAGE)
        backend = visible(options["cache"])
        with while_read(), Interrupt() as interrupt:
            job = Job(self, backend, interrupt, options)
            if options["loop"]:
                job.loop()
                return
            try:
                done = job.once()
            except StoreUnavailable as error:
                raise CommandError(one_line(error)) from error
            if done.failed:
                sys.exit(FAILED)


def visible(alias: str | None) -> Backend:
    """Return the backend to sweep; raise `CommandError` if that is not possible."""
    backend = chosen(alias)
    if not backend.shared:
        raise CommandError(
            f"CACHES[{alias or conf.get().cache!r}] is in the memory of the process "
            "that serves the site, where this command cannot see it. That process "
            "sweeps by itself unless AUTO_SWEEP is False; code in it can call "
            "stores.sweep().",
            returncode=INVISIBLE,
        )
    return backend


@dataclass(kw_only=True)
class _Interruptible(SweepLimits):
    """Ends with the batch in which a signal comes."""

    interrupt: Interrupt

    @property
    def is_over(self) -> bool:
        """See `SweepLimits.is_over`."""
        return self.interrupt.stopped or super().is_over

    async def rest(self, backend: Backend) -> None:
        """See `SweepLimits.rest`."""
        self.interrupt.wait(self.pause)


class Job:
    """What one call of the command does."""

    def __init__(
        self,
        command: Command,
        backend: Backend,
        interrupt: Interrupt,
        options: dict[str, Any],
    ) -> None:
        self.command = command
        self.backend = backend
        self.interrupt = interrupt
        self.options = options
        self.interval = options["interval"] or conf.get().idle_timeout / FREQUENCY
        # What was said of sessions that cannot be swept: in a loop once is enough.
        self.said: set[str] = set()

    def loop(self) -> None:
        """Sweep until a signal comes; wait for a cache that does not answer."""
        failures = 0
        while not self.interrupt.stopped:
            pause = self.interval
            try:
                self.once()
            except StoreUnavailable as error:
                if not failures:
                    self._complain(f"{one_line(error)} It is tried again.")
                pause = min(pause, FIRST_PAUSE * 2 ** min(failures, 10))
                failures += 1
            else:
                if failures:
                    self._complain("The cache answers again.")
                failures = 0
            factor = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
            self.interrupt.wait(pause * factor)

    def once(self) -> Sweep:
        """Sweep once; raise `StoreUnavailable`."""
        # Django does so between requests, and there are none here.
        close_old_connections()
        options = self.options
        orphans: Literal["only"] | None = "only" if options["orphans_only"] else None
        talk = self.command.stderr if options["json"] else self.command.stdout
        listing = SweepListing(talk, options["verbosity"])
        bar = Bar(self.command.stderr, options["verbosity"])
        try:
            done = run(
                sweep(
                    self.backend,
                    idle_for=options["idle"],
                    session=options["session"],
                    participant=options["participant"],
                    dry_run=options["dry_run"],
                    orphans=orphans,
                    pace=_Interruptible(
                        options["batch_size"],
                        options["pause"],
                        options["max_seconds"],
                        interrupt=self.interrupt,
                    ),
                    progress=bar.show,
                    counted=listing.add,
                    failed=self._cannot,
                    by="sweepstores",
                    interval=self.interval if options["loop"] else None,
                )
            )
        finally:
            bar.clear()
            listing.flush()
        # This process may end now: nothing else would write what the pass has noted.
        run(timeline.flush(self.backend))
        self._report(done)
        if options["fail_on_leak"]:
            self._fail_on_leak()
        return done

    def _cannot(self, code: str, error: StateCorrupt) -> None:
        text = f"{code} cannot be swept: {one_line(error)}"
        if text not in self.said:
            self.said.add(text)
            self._complain(text)

    def _report(self, done: Sweep) -> None:
        options = self.options
        if options["json"]:
            alias = options["cache"] or conf.get().cache
            figures = {"cache": alias, **msgspec.to_builtins(done)}
            self.command.stdout.write(json.dumps(figures))
        elif options["verbosity"] > 1 or not (
            options["verbosity"] < 1 or (options["loop"] and done.is_quiet)
        ):
            self.command.stdout.write(in_words(done))
        self.command.stdout.flush()

    def _fail_on_leak(self) -> None:
        leaks = run(gather(self.backend, stores=0)).leaks
        for leak in leaks:
            self._complain(f"{leak.text} {leak.hint}".strip())
        if leaks:
            sys.exit(LEAKING)

    def _complain(self, text: str) -> None:
        self.command.stderr.write(text)
        self.command.stderr.flush()
