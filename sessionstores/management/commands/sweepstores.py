"""`manage.py sweepstores`: remove idle participants and sessions, once or in a loop."""

from __future__ import annotations

import json
import random
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from django.core.management.base import CommandError
from django.db import close_old_connections

from ... import conf
from ...backends.base import Backend, run
from ...concurrency.backoff import Backoff
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import check_code, check_stored
from ...monitoring.stats import gather
from ...monitoring.sweeps import Sweep
from ...realtime.timeline import timeline
from ...sessions.autosweep import FREQUENCY
from ...sessions.sweeper import SweepLimits, sweep
from ..arguments import (
    INVISIBLE,
    USAGE,
    SiteCommand,
    backend_for,
    key_part,
    one_line,
    positive,
    positive_seconds,
    seconds_in,
)
from ..interrupts import Interrupt, quiet_on_closed_pipe
from ..output import ProgressBar, SweepListing, summary

# Exit codes, beside those that other commands have too.
FAILED, LEAKING = 1, 4

# Fraction by which the interval varies; the first ceiling of the backoff, in seconds.
JITTER = 0.1
RETRY_SECONDS = 1.0


class Command(SiteCommand):
    """Sweeps a shared cache; a cache in memory is swept by its own process."""

    help = (
        "Remove participants who have no connection and have been idle for "
        "IDLE_TIMEOUT, and sessions that are empty and idle. Safe to run at any time, "
        "also several at once. Exit code 0: done, including when there was nothing to "
        "do or a signal stopped it; 1: the cache does not answer or cannot be used, or "
        "a session could not be swept; 2: unknown arguments; 3: the cache is in the "
        "memory of another process; 4: --fail-on-leak found something."
    )
    # A job that runs every minute should not repeat the messages of checks.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        add = parser.add_argument
        add(
            "--dry-run",
            action="store_true",
            help="remove nothing; print what would be removed",
        )
        add(
            "--idle",
            type=seconds_in,
            metavar="TIME",
            help="remove what has been idle for this long, such as 300, 5m, 1h30m; "
            "default: IDLE_TIMEOUT",
        )
        add(
            "--session",
            type=key_part(check_code),
            metavar="CODE",
            help="sweep this session only",
        )
        add(
            "--participant",
            type=key_part(check_stored),
            metavar="ID",
            help="sweep this participant of --session only",
        )
        add(
            "--cache",
            metavar="ALIAS",
            help="sweep this cache instead of the one in SESSIONSTORES",
        )
        add(
            "--orphans-only",
            action="store_true",
            help="compare the index with all records, repair it, and do nothing else; "
            "a usual pass does so too, once per IDLE_TIMEOUT",
        )
        add(
            "--batch-size",
            type=positive,
            default=250,
            metavar="N",
            help="records of a batch; default: 250",
        )
        add(
            "--pause",
            type=seconds_in,
            default=0.0,
            metavar="TIME",
            help="pause after each batch; default: none",
        )
        add(
            "--max-seconds",
            type=seconds_in,
            metavar="TIME",
            help="end a pass after this time; the next one continues",
        )
        add("--loop", action="store_true", help="repeat until a signal")
        add(
            "--interval",
            type=positive_seconds,
            metavar="TIME",
            help=f"time between two passes of a loop, plus or minus a tenth; default: "
            f"a {FREQUENCY}th of IDLE_TIMEOUT",
        )
        add(
            "--json",
            action="store_true",
            help="print one JSON object; in a loop, one per line and pass",
        )
        add(
            "--fail-on-leak",
            action="store_true",
            help="exit with 4 if there are warnings afterwards; storestats prints them"
            " too",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep, and print what was done."""
        if options["participant"] and not options["session"]:
            raise CommandError("--participant needs --session.", returncode=USAGE)
        if options["interval"] and not options["loop"]:
            raise CommandError("--interval needs --loop.", returncode=USAGE)
        if options["orphans_only"] and options["idle"] is not None:
            self.stderr.write("--idle has no effect with --orphans-only.")
        with (
            shared_backend(options["cache"]) as backend,
            quiet_on_closed_pipe(),
            Interrupt() as interrupt,
        ):
            job = SweepJob(self, backend, interrupt, options)
            if options["loop"]:
                job.loop()
                return
            try:
                done = job.once()
            except StoreUnavailable as error:
                raise CommandError(one_line(error)) from error
            if done.failed:
                sys.exit(FAILED)


@contextmanager
def shared_backend(alias: str | None) -> Iterator[Backend]:
    """Yield the backend to sweep; raise `CommandError` if it is not shared."""
    with backend_for(alias) as backend:
        if not backend.shared:
            raise CommandError(
                f"CACHES[{conf.get().cache!r}] is in the memory of the process "
                "that serves the site, where this command cannot see it. That process "
                "sweeps by itself unless AUTO_SWEEP is False; code in it can call "
                "stores.sweep().",
                returncode=INVISIBLE,
            )
        yield backend


@dataclass(kw_only=True)
class InterruptibleLimits(SweepLimits):
    """Limits of a sweep that also ends after the batch in which a signal arrives."""

    interrupt: Interrupt

    @property
    def is_over(self) -> bool:
        """See `SweepLimits.is_over`."""
        return self.interrupt.stopped or super().is_over

    async def rest(self, backend: Backend) -> None:
        """See `SweepLimits.rest`."""
        self.interrupt.wait(self.pause)


class SweepJob:
    """One call of the command: a single pass, or a loop."""

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
        self.retry = Backoff(RETRY_SECONDS, cap=self.interval)
        # Messages about sessions that cannot be swept; each is printed once.
        self.reported: set[str] = set()

    def loop(self) -> None:
        """Sweep until a signal; in an outage, retry with backoff."""
        failures = 0
        while not self.interrupt.stopped:
            try:
                self.once()
            except StoreUnavailable as error:
                if not failures:
                    self._complain(f"{one_line(error)} Trying again.")
                pause = self.retry.delay(failures)
                failures += 1
            else:
                if failures:
                    self._complain("The cache answers again.")
                failures = 0
                factor = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
                pause = self.interval * factor
            self.interrupt.wait(pause)

    def once(self) -> Sweep:
        """Sweep once; raise `StoreUnavailable`."""
        # Django does so between requests; a command has none.
        close_old_connections()
        options = self.options
        orphans: Literal["only"] | None = "only" if options["orphans_only"] else None
        out = self.command.stderr if options["json"] else self.command.stdout
        listing = SweepListing(out, options["verbosity"])
        bar = ProgressBar(self.command.stderr, options["verbosity"])
        try:
            done = run(
                sweep(
                    self.backend,
                    idle_for=options["idle"],
                    session=options["session"],
                    participant=options["participant"],
                    dry_run=options["dry_run"],
                    orphans=orphans,
                    pace=InterruptibleLimits(
                        options["batch_size"],
                        options["pause"],
                        options["max_seconds"],
                        interrupt=self.interrupt,
                    ),
                    progress=bar.show,
                    counted=listing.add,
                    failed=self._report_failure,
                    by="sweepstores",
                    interval=self.interval if options["loop"] else None,
                )
            )
        finally:
            bar.clear()
            listing.flush()
        # This process may end now, before the timeline is written on its schedule.
        run(timeline.flush(self.backend))
        self._report(done)
        if options["fail_on_leak"]:
            self._fail_on_leak()
        return done

    def _report_failure(self, code: str, error: StateCorrupt) -> None:
        text = f"{code} cannot be swept: {one_line(error)}"
        if text not in self.reported:
            self.reported.add(text)
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
            self.command.stdout.write(self._absence(done) or summary(done))
        self.command.stdout.flush()

    def _absence(self, done: Sweep) -> str | None:
        """Return a line if who was to be swept is not there, maybe a typing error."""
        code, id = self.options["session"], self.options["participant"]
        if code is None or not done.is_quiet:
            return None
        if run(self.backend.session(code)) is None:
            return f"There is no session {code}. Nothing was removed."
        listed = run(self.backend.participants(code))
        if id is None or any(each.id == id for each in listed):
            return None
        return f"Session {code} has no participant {id}. Nothing was removed."

    def _fail_on_leak(self) -> None:
        alerts = run(gather(self.backend, stores=0)).leaks
        for alert in alerts:
            self._complain(f"{alert.text} {alert.hint}".strip())
        if alerts:
            sys.exit(LEAKING)

    def _complain(self, text: str) -> None:
        self.command.stderr.write(text)
        self.command.stderr.flush()
