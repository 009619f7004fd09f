"""The health page: what is slow, refused or failing, and the processes that serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.translation import gettext as _

from ... import conf
from ...exceptions import MESSAGES, InsideTransaction, StoreUnavailable
from ...humanize import duration_text, number_text, rate_text
from ...manager import stores
from ...monitoring.samples import Sample
from ...monitoring.stats import Stats
from ..components.chart import Chart, Point, Span, chart, scale_of_seconds
from ..components.table import Link
from ..page import AdminPage, outage
from ..troubles import troubles, worker_row
from .overview import MAX_ALERTS, shown_alert
from .technical import last_hour

DAY = 86_400.0
# Seconds between two samples of the day.
DAY_SAMPLE = 900.0


class RefusedCode(NamedTuple):
    """A code with which actions were refused; `text`: what people are told, or ""."""

    code: str
    times: int
    text: str


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
        "workers": [worker_row(stats, worker) for worker in stats.workers],
        "charts": _charts(stats, day=day),
        "day": day,
        "ranges": [
            Link(_("Last hour"), "?#ss-history", not day),
            Link(_("Last day"), "?range=day#ss-history", day),
        ],
        "limit": duration_text(conf.get().slow_operation_ms / 1000),
        "summary": found[0].text if found else _("All is well"),
    }


def refused_codes(refused: dict[str, int]) -> list[RefusedCode]:
    """Return the refusals by code, the most frequent first."""
    return [
        RefusedCode(code, count, str(MESSAGES.get(code, "")))
        for code, count in sorted(refused.items(), key=lambda each: (-each[1], each[0]))
    ]


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
