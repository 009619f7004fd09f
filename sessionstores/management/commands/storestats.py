"""`manage.py storestats`: print sessions, memory, the last sweep, and warnings."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import close_old_connections

from ...backends.base import Backend, run
from ...backends.types import SessionSummary
from ...exceptions import StoreUnavailable
from ...humanize import size, span
from ...keys import SESSION
from ...monitoring.health import Health
from ...monitoring.history import KEPT
from ...monitoring.stats import Stats, gather, plain
from ...monitoring.workers import Worker
from ..arguments import (
    SiteCommand,
    backend_for,
    positive,
    positive_seconds,
    read_error,
)
from ..interrupts import Interrupt, quiet_on_closed_pipe

# Sessions that are listed, and seconds between two looks of a watch, by default.
SHOWN = 20
WATCH_SECONDS = 2.0
# Errors that are named.
SHOWN_ERRORS = 3
# Width of a label and of the charts, in characters.
WIDTH = 24
BLOCKS = "▁▂▃▄▅▆▇█"

TIME = "%Y-%m-%d %H:%M:%S %Z"
CLEAR = "\x1b[H\x1b[2J"


class Command(SiteCommand):
    """Prints the figures of a shared cache; else those of its own process."""

    help = (
        "Show how many sessions, participants and connections there are, their memory, "
        "the last hour, and warnings. Changes nothing. Exit code 0: done, also with "
        "warnings, or stopped by a signal; 1: the cache does not answer or cannot be "
        "used, or a session cannot be read; 2: unknown arguments. If the cache is in "
        "the memory of the process that serves the site, this command cannot see it; "
        "it then says so and shows the figures of its own process."
    )
    # sessionstores_doctor runs the checks.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object; in a watch, one per line",
        )
        parser.add_argument(
            "--watch",
            type=positive_seconds,
            nargs="?",
            const=WATCH_SECONDS,
            metavar="SECONDS",
            help=f"repeat until a signal; without a value every {WATCH_SECONDS:g} s",
        )
        parser.add_argument(
            "--sessions",
            type=positive,
            default=SHOWN,
            metavar="N",
            help=f"list this many sessions, the largest first; default: {SHOWN}",
        )
        parser.add_argument(
            "--cache",
            metavar="ALIAS",
            help="show this cache instead of the one in SESSIONSTORES",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the figures once, or until a signal."""
        with backend_for(options["cache"]) as backend:
            if not backend.shared:
                self.stderr.write(
                    "This cache is in the memory of the process that serves the site, "
                    "where this command cannot see it: these are figures of the "
                    "command's own process. See the site's admin page instead."
                )
            with quiet_on_closed_pipe():
                if options["watch"] is not None:
                    self._watch(backend, options)
                else:
                    self._once(backend, options)

    def _once(self, backend: Backend, options: dict[str, Any]) -> None:
        try:
            stats = self._show(backend, options)
        except StoreUnavailable as error:
            raise CommandError(read_error(error)) from error
        for code, why in stats.unreadable.items():
            self.stderr.write(f"{code} cannot be read: {read_error(why)}")
        if stats.unreadable:
            sys.exit(1)

    def _watch(self, backend: Backend, options: dict[str, Any]) -> None:
        reported: dict[str, str] = {}
        with Interrupt() as interrupt:
            while not interrupt.stopped:
                # Django does so between requests; a command has none.
                close_old_connections()
                try:
                    unreadable = self._show(backend, options).unreadable
                except StoreUnavailable as error:
                    self.stderr.write(f"{read_error(error)} Trying again.")
                else:
                    for code in unreadable.keys() - reported.keys():
                        why = read_error(unreadable[code])
                        self.stderr.write(f"{code} cannot be read: {why}")
                    reported = unreadable
                interrupt.wait(options["watch"])

    def _show(self, backend: Backend, options: dict[str, Any]) -> Stats:
        # This command makes no stores.
        stats = run(gather(backend, stores=0, alias=options["cache"]))
        if options["json"]:
            self.stdout.write(json.dumps(plain(stats)))
        else:
            text = "\n".join(self._lines(stats, options["sessions"]))
            if options["watch"] is not None:
                text = f"{CLEAR}{text}" if self.stdout.isatty() else f"{text}\n"
            self.stdout.write(text)
        self.stdout.flush()
        return stats

    def _lines(self, stats: Stats, shown: int) -> Iterator[str]:
        reach = {"shared": "all processes", "process": "this process alone"}
        when = datetime.fromtimestamp(stats.at).astimezone()
        yield self.style.MIGRATE_HEADING(
            f"{stats.cache} ({stats.backend}), {reach[stats.scope]}, {when:{TIME}}"
        )
        for name, text in overview(stats):
            yield f"{name:14}{text}"
        if stats.summaries:
            yield ""
            largest = sorted(stats.summaries, key=lambda each: -each.bytes)
            head, *rows = table(largest[:shown], stats.at)
            yield self.style.MIGRATE_LABEL(head)
            yield from rows
            if len(largest) > shown:
                yield f"… and {len(largest) - shown:,} smaller ones"
        for alert in stats.leaks:
            yield ""
            yield self.style.WARNING(f"{alert.code}: {alert.text}")
            yield alert.hint


def overview(stats: Stats) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each line of totals."""
    yield "sessions", f"{stats.sessions:,}"
    yield (
        "participants",
        f"{stats.participants:,}, {stats.online:,} of them online with "
        f"{stats.connections:,} connections",
    )
    yield "state", state(stats)
    if stats.server is not None:
        server = stats.server
        limit = "no limit" if not server.limit else f"limit {size(server.limit)}"
        parts = [
            server.name,
            None if server.used is None else f"{size(server.used)} used",
            limit,
            None if server.evicted is None else f"{server.evicted:,} evicted",
            server.policy,
        ]
        yield "server", ", ".join(filter(None, parts))
    yield "last sweep", last_sweep(stats)
    yield from _health(stats)
    if len(stats.series) > 1:
        begin, end = stats.at - KEPT, stats.at
        yield "online, 1 h", chart([(s.at, s.online) for s in stats.series], begin, end)
        yield "state, 1 h", chart([(s.at, s.bytes) for s in stats.series], begin, end)


def _health(stats: Stats) -> Iterator[tuple[str, str]]:
    """Yield the lines on actions, refusals, errors and processes."""
    health = stats.health
    yield (
        "actions",
        f"{health.actions:,} in {span(health.seconds)}, "
        f"{health.actions_per_minute:.3g} a minute now{latency(health)}",
    )
    codes = sorted(health.refused.items(), key=lambda each: -each[1])
    counts = ", ".join(f"{code} {count:,}" for code, count in codes)
    yield "refused", f"{sum(health.refused.values()):,}{counts and f': {counts}'}"
    kinds = ", ".join(
        f"{each.type} in {each.action or 'the server'} ({each.place}) {each.count:,}"
        for each in stats.errors[:SHOWN_ERRORS]
    )
    yield "errors", f"{health.errors:,}{kinds and f'; latest: {kinds}'}"
    yield (
        "delivery",
        f"{health.conflicts:,} conflicts, {health.slow:,} slow, {health.reconnects:,} "
        f"reconnects, {health.dropped:,} messages dropped",
    )
    yield "workers", ", ".join(map(worker, stats.workers)) or "none seen"
    if stats.lost:
        gone = [
            f"{worker(each)}, silent for {span(stats.at - each.seen)}"
            for each in stats.lost
        ]
        yield "lost", "; ".join(gone)


def worker(each: Worker) -> str:
    """Return a process with its tabs and its load."""
    load = "" if each.load is None else f", {each.load:.0%} of a core"
    return f"{printable(each.host)} pid {each.pid} ({each.tabs:,} tabs{load})"


def latency(health: Health) -> str:
    """Return the median and the 95th percentile of the actions' durations, if any."""
    if health.p50 is None or health.p95 is None:
        return ""
    return f"; p50 {health.p50 * 1000:.3g} ms, p95 {health.p95 * 1000:.3g} ms"


def state(stats: Stats) -> str:
    """Return the bytes of all states, with their budget."""
    if not stats.participants:
        return size(stats.bytes)
    return (
        f"{size(stats.bytes)}, {stats.bytes / stats.budget:.1%} of the budget of "
        f"{size(stats.budget)}; {size(stats.bytes / stats.participants)} each"
    )


def last_sweep(stats: Stats) -> str:
    """Return the time and result of the last sweep, and when the next is due."""
    last = stats.last_sweep
    if last is None:
        return "none yet"
    done = last.sweep
    text = (
        f"{span(stats.at - last.at)} ago ({last.by}): {done.participants:,} "
        f"participants and {done.sessions:,} sessions removed in {span(done.seconds)}"
    )
    if last.interval is not None:
        text += f"; next in {span(last.at + last.interval - stats.at)}"
    return text


def table(summaries: Sequence[SessionSummary], at: float) -> list[str]:
    """Return a header and a line for each session, in columns."""
    lines = [
        ("SESSION", "LABEL", "PEOPLE", "ONLINE", "TABS", "STATE", "LARGEST", "", "IDLE")
    ]
    for each in summaries:
        id, largest = each.largest
        line = (
            f"{each.code}{' (locked)' if each.locked else ''}",
            printable(each.label),
            f"{each.participants:,}",
            f"{each.online:,}",
            f"{each.connections:,}",
            size(each.bytes),
            size(largest),
            "the session's own" if id == SESSION else printable(id),
            span(at - each.seen),
        )
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = {0, 1, 7}
    return [
        "  ".join(
            cell.ljust(width) if number in texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def printable(text: str) -> str:
    """Return a text cut short, without control characters."""
    short = text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
    return "".join(each if each.isprintable() else "?" for each in short)


def chart(points: Sequence[tuple[float, int]], begin: float, end: float) -> str:
    """Return a bar chart of one line; blank where there are no points."""
    highest: list[int | None] = [None] * WIDTH
    for at, value in points:
        place = min(int((at - begin) / (end - begin) * WIDTH), WIDTH - 1)
        highest[place] = max(highest[place] or 0, value)
    top = max(filter(None, highest), default=0)
    steps = len(BLOCKS) - 1
    return "".join(
        " " if each is None else BLOCKS[round(each / top * steps) if top else 0]
        for each in highest
    )
