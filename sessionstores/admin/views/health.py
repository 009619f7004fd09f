"""The health page: what is slow, refused or failing, and the processes that serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import conf
from ...exceptions import MESSAGES, InsideTransaction, StoreUnavailable
from ...humanize import duration_text, number_text, percent_text, rate_text
from ...manager import stores
from ...monitoring.samples import Sample
from ...monitoring.stats import Stats
from ...monitoring.workers import Worker
from ..alert_texts import span_text
from ..components.chart import Chart, Point, Span, chart, scale_of_seconds
from ..components.table import Link
from ..page import AdminPage, outage
from .overview import MAX_ALERTS, is_slow, shown_alert
from .technical import last_hour

DAY = 86_400.0
# Seconds between two samples of the day.
DAY_SAMPLE = 900.0
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


class RefusedCode(NamedTuple):
    """A code with which actions were refused; `text`: what people are told, or ""."""

    code: str
    times: int
    text: str


class WorkerRow(NamedTuple):
    """A process as a row of the table; `here`: it serves this page."""

    worker: Worker
    key: str
    load: str
    rss: int | None
    is_busy: bool
    is_late: bool
    here: bool


def health(page: AdminPage) -> HttpResponse:
    """Show the health of the site, or that the cache does not answer."""
    return page.live(
        "health",
        title=_("Health"),
        fragment_url=page.url("health_live"),
        stats_url=page.url("stats"),
        metrics_url=page.url("metrics"),
        **content(page),
    )


def health_live(page: AdminPage) -> HttpResponse:
    """Return the part of the health page that refreshes itself."""
    return page.fragment("health", **content(page))


def content(page: AdminPage) -> dict[str, Any]:
    """Return the context of both; in an outage, what the page says about it."""
    try:
        stats = stores.stats()
    except (StoreUnavailable, InsideTransaction) as error:
        return outage(error)
    day = page.request.GET.get("range") == "day"
    found = list(troubles(stats))
    return {
        "stats": stats,
        "health": stats.health,
        "findings": found,
        "alerts": [shown_alert(page, alert) for alert in stats.leaks[:MAX_ALERTS]],
        "more_alerts": max(len(stats.leaks) - MAX_ALERTS, 0),
        "refusals": refused_codes(stats.health.refused),
        "refused": sum(stats.health.refused.values()),
        "workers": [_row(stats, worker) for worker in stats.workers],
        "charts": _charts(stats, day=day),
        "day": day,
        "ranges": [
            Link(_("Last hour"), "?#ss-history", not day),
            Link(_("Last day"), "?range=day#ss-history", day),
        ],
        "limit": duration_text(conf.get().slow_operation_ms / 1000),
        "summary": found[0].text if found else _("All is well"),
    }


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
    yield from _of_workers(stats)
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
                "Tabs notice a change later. Look whether the layer’s server answers, "
                "and raise the layer’s capacity."
            ),
        )


def _of_workers(stats: Stats) -> Iterator[Trouble]:
    for row in (_row(stats, worker) for worker in stats.workers):
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


def refused_codes(refused: dict[str, int]) -> list[RefusedCode]:
    """Return the refusals by code, the most frequent first."""
    return [
        RefusedCode(code, count, str(MESSAGES.get(code, "")))
        for code, count in sorted(refused.items(), key=lambda each: (-each[1], each[0]))
    ]


def name_of(worker: Worker) -> str:
    """Return what a process is called."""
    return f"{worker.host}:{worker.pid}"


def _row(stats: Stats, worker: Worker) -> WorkerRow:
    process = stats.process
    return WorkerRow(
        worker,
        name_of(worker),
        "–" if worker.load is None else percent_text(worker.load),
        # Rounded to MiB, as in the overview.
        worker.rss and worker.rss >> 20 << 20,
        is_busy=worker.load is not None and worker.load >= BUSY,
        # One without tabs, as under WSGI, is heard of only when it acts.
        is_late=worker.tabs > 0
        and stats.at - worker.seen > MISSED * conf.get().heartbeat,
        here=(worker.host, worker.pid) == (process.host, process.pid),
    )


def _charts(stats: Stats, *, day: bool) -> list[Chart]:
    """Draw the hour, or the day in coarser samples."""
    span = last_hour(stats.at)
    samples: Sequence[Sample] = stats.series
    if day:
        end = (stats.at // DAY_SAMPLE + 1) * DAY_SAMPLE
        span = Span(end, DAY, 2.5 * DAY_SAMPLE)
        samples = stats.day

    def points(value: Callable[[Sample], float | None]) -> list[Point]:
        found = [(each.at, value(each)) for each in samples]
        return [Point(at, number) for at, number in found if number is not None]

    rates = [
        Point(each.at, each.actions * 60 / (each.at - before.at))
        for before, each in pairwise(samples)
        if 0 < each.at - before.at <= span.gap
    ]
    each = _("in 15 min") if day else _("in 30 s")
    return [
        chart(
            _("Actions a minute"),
            rates,
            span,
            rate_text,
            now=stats.health.actions_per_minute,
        ),
        chart(
            _("Latency, p95"),
            points(lambda sample: sample.p95),
            span,
            duration_text,
            axis=scale_of_seconds,
        ),
        chart(
            f"{_('Refused')}, {each}",
            points(lambda sample: sample.refused),
            span,
            number_text,
        ),
        chart(
            f"{_('Errors')}, {each}",
            points(lambda sample: sample.errors),
            span,
            number_text,
        ),
    ]
