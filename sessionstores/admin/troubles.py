"""Troubles of a site: what is wrong now, and where the health page shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import conf
from ..humanize import duration_text, number_text, percent_text
from ..monitoring.health import Health
from ..monitoring.stats import Stats
from ..monitoring.workers import Worker
from .alert_texts import span_text

# A share of one core, from which on a process has little time left.
BUSY = 0.85
# A share of the actions whose commits had to be tried again.
CONTENDED = 0.2
# Heartbeats that a process may miss.
MISSED = 2.5


class Trouble(NamedTuple):
    """Something that is wrong, and a hint at what to do; `place` is an id on the page.

    `kind` is "bad" or "near".
    """

    kind: str
    text: str
    hint: str
    place: str = ""


class WorkerRow(NamedTuple):
    """A process as a row of the table; `here`: it serves this page."""

    worker: Worker
    key: str
    load: str
    rss: int | None
    is_busy: bool
    is_late: bool
    here: bool


def troubles(stats: Stats) -> Iterator[Trouble]:
    """Yield what is wrong, the worst first."""
    figures = stats.health
    if figures.errors:
        yield Trouble(
            "bad",
            ngettext(
                "%(count)s error in the last hour.",
                "%(count)s errors in the last hour.",
                figures.errors,
            )
            % {"count": number_text(figures.errors)},
            _("Each of the latest errors is listed with its line of code."),
            "ss-errors",
        )
    if is_slow(figures):
        yield Trouble(
            "bad",
            _("5 of 100 actions take over %(p95)s; SLOW_OPERATION_MS is %(limit)s.")
            % {
                "p95": duration_text(figures.p95),
                "limit": number_text(conf.get().slow_operation_ms),
            },
            _(
                "Look for slow code in the action, a large state, or a cache that is "
                "far away or overloaded."
            ),
            "ss-history",
        )
    yield from other_troubles(stats)


def is_slow(figures: Health) -> bool:
    """Return whether 5 of 100 actions take longer than `SLOW_OPERATION_MS`."""
    return (figures.p95 or 0) * 1000 >= conf.get().slow_operation_ms


def other_troubles(stats: Stats) -> Iterator[Trouble]:
    """Yield what is wrong beside errors and slowness, whose figures are everywhere."""
    figures = stats.health
    yield from _of_workers(stats)
    if figures.actions and figures.conflicts > CONTENDED * figures.actions:
        yield Trouble(
            "near",
            ngettext(
                "%(count)s commit had to be tried again: processes compete for the "
                "same record.",
                "%(count)s commits had to be tried again: processes compete for the "
                "same records.",
                figures.conflicts,
            )
            % {"count": number_text(figures.conflicts)},
            _(
                "Let the tabs of one session be served by one process, or keep what "
                "many people change in their own states."
            ),
        )
    if figures.dropped:
        yield Trouble(
            "near",
            ngettext(
                "The channel layer did not take %(count)s message between processes.",
                "The channel layer did not take %(count)s messages between processes.",
                figures.dropped,
            )
            % {"count": number_text(figures.dropped)},
            _(
                "Tabs notice a change later. Check that the layer’s server answers; if "
                "it does, raise the layer’s capacity."
            ),
        )


def _of_workers(stats: Stats) -> Iterator[Trouble]:
    for row in (worker_row(stats, worker) for worker in stats.workers):
        if row.is_late:
            yield Trouble(
                "bad",
                _("%(worker)s has not been heard of for %(time)s.")
                % {
                    "worker": row.key,
                    "time": span_text(stats.at - row.worker.seen),
                },
                _(
                    "It was stopped, or is stuck. If it was stopped, its row "
                    "disappears by itself."
                ),
                "ss-workers",
            )
        elif row.is_busy:
            yield Trouble(
                "bad",
                _("%(worker)s is busy: it uses %(load)s %% of a core.")
                % {"worker": row.key, "load": row.load},
                _("Everybody whom it serves waits. Start more processes."),
                "ss-workers",
            )
    for worker in stats.lost:
        yield Trouble(
            "bad",
            ngettext(
                "%(worker)s, which had %(count)s tab open, has not been heard of for "
                "%(time)s.",
                "%(worker)s, which had %(count)s tabs open, has not been heard of for "
                "%(time)s.",
                worker.tabs,
            )
            % {
                "worker": name_of(worker),
                "count": number_text(worker.tabs),
                "time": span_text(stats.at - worker.seen),
            },
            _(
                "It was killed, or hangs. Its tabs connect to another process by "
                "themselves. Its log, or the system’s, may say why."
            ),
        )
    versions = sorted({each.version for each in stats.workers if each.version})
    if len(versions) > 1:
        yield Trouble(
            "near",
            _("Processes run different releases: %(versions)s.")
            % {"versions": ", ".join(versions)},
            _("That is usual while a new release is rolled out, and only then."),
            "ss-workers",
        )


def name_of(worker: Worker) -> str:
    """Return what a process is called."""
    return f"{worker.host}:{worker.pid}"


def worker_row(stats: Stats, worker: Worker) -> WorkerRow:
    """Return a process as the health page lists it."""
    process = stats.process
    return WorkerRow(
        worker,
        name_of(worker),
        "–" if worker.load is None else percent_text(worker.load),
        # Rounded to MiB, as in the overview.
        worker.rss and worker.rss >> 20 << 20,
        # Nobody waits for one without tabs, such as a script that is at work.
        is_busy=worker.tabs > 0 and worker.load is not None and worker.load >= BUSY,
        # One without tabs, as under WSGI, is heard of only when it acts.
        is_late=worker.tabs > 0
        and stats.at - worker.seen > MISSED * conf.get().heartbeat,
        here=(worker.host, worker.pid) == (process.host, process.pid),
    )
