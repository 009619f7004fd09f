"""The overview page: all live sessions, figures of the hour, and warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ... import conf
from ...backends import get_backend
from ...backends.base import run
from ...backends.types import Lease, SessionSummary
from ...exceptions import InsideTransaction, StateCorrupt, StoreUnavailable
from ...humanize import number_text, percent_text, size_text
from ...manager import stores
from ...monitoring.history import SAMPLE_SECONDS
from ...monitoring.stats import Alert, Sample, Stats
from ...sessions.autosweep import FREQUENCY, JITTER, autosweep, is_wanted
from ...sessions.presence import attendees
from ..alert_texts import text_of_alert
from ..components import chart
from ..components.table import Column, Filter, Layout, Table
from ..menus import menu
from ..page import AdminPage, outage
from ..people import meta_text

ALERTS = {
    "near_limit": _("Near its limit"),
    "over_budget": _("Over budget"),
    "growing": _("Growing"),
    "unswept": _("Not swept"),
    "orphans": _("Lost records"),
    "slow": _("Slow"),
    "evicting": _("Evicting"),
}
HOUR = 3600.0
# Longer between two samples: no process was running that takes them.
GAP = 3.5 * SAMPLE_SECONDS
# Warnings that are shown; a link leads to the rest.
MAX_ALERTS = 6
# Sessions with more tabs show no steps: a page of them would be slow.
MAX_TABS = 100


class SessionRow(NamedTuple):
    """A session as a row of the table."""

    summary: SessionSummary
    average: float
    alerts: tuple[Alert, ...]
    spark: str = ""
    step: str = ""
    url: str = ""

    @property
    def code(self) -> str:
        """The session's code."""
        return self.summary.code


LAYOUT: Layout[SessionRow] = Layout(
    columns=(
        Column("code", _("Code"), lambda row: row.code),
        Column("label", _("Name"), lambda row: row.summary.label.casefold()),
        # Read only for the rows of the page, so not sortable.
        Column("step", _("Step")),
        Column("online", _("Online"), lambda row: row.summary.online, "number"),
        Column("people", _("People"), lambda row: row.summary.participants, "number"),
        Column("bytes", _("State"), lambda row: row.summary.bytes, "number"),
        Column("average", _("Per person"), lambda row: row.average, "number"),
        Column("seen", _("Last use"), lambda row: row.summary.seen, "time"),
        Column("created", _("Created"), lambda row: row.summary.created, "time"),
        Column(
            "activity",
            _("Activity, 30 min"),
            lambda row: sum(row.summary.activity),
            # Drawn, so not aligned like a number; the busiest come first.
            "time",
        ),
    ),
    filters=(
        Filter("active", _("Active"), lambda row: row.summary.online > 0),
        Filter("idle", _("Idle"), lambda row: not row.summary.online),
        Filter("locked", _("Locked"), lambda row: row.summary.locked),
        Filter("leaking", _("With warnings"), lambda row: bool(row.alerts)),
    ),
    texts=lambda row: (row.code, row.summary.label),
    tie=lambda row: (-row.summary.created, row.code),
    order="-created",
)


class Capability(NamedTuple):
    """A capability of the cache, and what its presence or absence means."""

    title: str
    present: bool
    text: str


def overview(page: AdminPage) -> HttpResponse:
    """Show all sessions, or that the cache does not answer."""
    return page.live(
        "overview",
        title=gettext("Live sessions"),
        fragment_url=page.url("live"),
        act_url=page.url("act"),
        sweep_url=page.url("sweep"),
        stats_url=page.url("stats"),
        query=page.request.GET.get("q", ""),
        **content(page),
    )


def overview_live(page: AdminPage) -> HttpResponse:
    """Return the part of the overview that refreshes itself."""
    return page.fragment("overview", **content(page))


def content(page: AdminPage) -> dict[str, Any]:
    """Return the context of both; in an outage, what the page says about it."""
    try:
        stats = stores.stats()
        table = Table(rows(stats), LAYOUT, page.request.GET)
        leases = _leases(table.rows)
    except (StoreUnavailable, InsideTransaction) as error:
        return outage(error)
    # Drawn only for the rows of the page.
    table.rows = [
        row._replace(
            spark=_spark(row.summary),
            step=steps(leases.get(row.code, ())),
            url=page.url("session", row.code),
        )
        for row in table.rows
    ]
    last = stats.last_sweep
    return {
        "stats": stats,
        # Rounded to MiB: its last digits change with every request.
        "rss": (rss := stats.process.rss) and rss >> 20 << 20,
        "table": table,
        "filters": table.filters(gettext("All")),
        "charts": _charts(stats),
        "capabilities": _capabilities(stats),
        "menu": menu("sessions") if page.rights.manage else (),
        "first_sweep": _first_sweep(stats),
        "budget": _budget(stats),
        "server_bar": _server_bar(stats),
        "next_sweep": last.at + last.interval if last and last.interval else 0,
        "alerts": [_warning(page, alert) for alert in stats.leaks[:MAX_ALERTS]],
        "more_alerts": max(len(stats.leaks) - MAX_ALERTS, 0),
        "people_each": _each(stats.connections, stats.online),
        "summary": ngettext(
            "%(count)s session, %(online)s online",
            "%(count)s sessions, %(online)s online",
            stats.sessions,
        )
        % {"count": stats.sessions, "online": stats.online},
    }


def _warning(page: AdminPage, alert: Alert) -> dict[str, Any]:
    code, colon, id = alert.key.partition(":")
    url = ""
    if code:
        url = page.url("participant" if colon else "session", *filter(None, (code, id)))
    text = text_of_alert(alert)
    return {
        "kind": ALERTS.get(alert.code, alert.code),
        "text": text.text,
        "hint": text.hint,
        "key": alert.key.removesuffix(":*"),
        "url": url,
    }


def rows(stats: Stats) -> list[SessionRow]:
    """Return a row for each session, without the parts drawn for one page only."""
    alerts: dict[str, list[Alert]] = {}
    for alert in stats.leaks:
        alerts.setdefault(alert.key.partition(":")[0], []).append(alert)
    return [
        SessionRow(
            summary,
            _each(summary.bytes, summary.participants),
            tuple(alerts.get(summary.code, ())),
        )
        for summary in stats.summaries
    ]


def _leases(shown: Sequence[SessionRow]) -> Mapping[str, Sequence[Lease]]:
    """Return the leases of the shown sessions with at most `MAX_TABS` tabs."""
    codes = [row.code for row in shown if 0 < row.summary.connections <= MAX_TABS]
    if codes:
        # Without leases the table is shown without steps.
        with suppress(StateCorrupt):
            return run(get_backend(blocking=True).connections_of(codes))
    return {}


def steps(leases: Sequence[Lease]) -> str:
    """Return the lowest and the highest step that connected tabs show, "2" or "1–3"."""
    # Most tabs may publish no step: that is seen without decoding.
    candidates = [x for x in leases if not x.leaving and b'"step"' in x.meta]
    published = {
        meta_text(meta, "step")
        for attendee in attendees(candidates).values()
        for meta in attendee.metas
    }
    found = sorted(published - {""}, key=_step_order)
    return "–".join(dict.fromkeys((found[0], found[-1]))) if found else ""


def _step_order(step: str) -> tuple[bool, int, str]:
    """Return the sort key of a step: numbers first, then texts."""
    try:
        return False, int(step), ""
    except ValueError:
        return True, 0, step


def _first_sweep(stats: Stats) -> str:
    """Say when the first sweep will be, where there was none yet."""
    longest = conf.get().idle_timeout / FREQUENCY * (1 + JITTER)
    if autosweep().is_running:
        return gettext("the first one within %(minutes)s min") % {
            "minutes": number_text(ceil(longest / 60))
        }
    if stats.scope == "shared":
        return gettext("run manage.py sweepstores")
    if not is_wanted():
        return gettext("AUTO_SWEEP is off")
    return gettext("sweeping begins with the first session")


def _each(total: float, count: int) -> float:
    return total / count if count else 0


def _spark(summary: SessionSummary) -> str:
    total = sum(summary.activity)
    label = ngettext(
        "%(count)s change in 30 minutes", "%(count)s changes in 30 minutes", total
    )
    return chart.sparkline(summary.activity, label % {"count": number_text(total)})


def _charts(stats: Stats) -> list[dict[str, Any]]:
    """Draw the last hour, with its figures in words."""
    # In steps of a sample, or the chart would move a little at every refresh.
    end = (stats.at // SAMPLE_SECONDS + 1) * SAMPLE_SECONDS
    drawn = [
        _chart(
            gettext("Online"), stats.series, "online", stats.online, number_text, end
        ),
        _chart(
            gettext("Stored state"), stats.series, "bytes", stats.bytes, size_text, end
        ),
    ]
    for each in drawn:
        each["svg"] = chart.line(each["points"], begin=end - HOUR, end=end, gap=GAP)
    return drawn


def _chart(
    title: str,
    series: Sequence[Sample],
    name: str,
    now: float,
    shown: Callable[[float], str],
    end: float,
) -> dict[str, Any]:
    points = [chart.Point(each.at, getattr(each, name)) for each in series]
    values = [now, *(point.value for point in points)]
    peak = max(points, key=lambda point: point.value, default=None)
    return {
        "title": title,
        # At the right edge, or it would move between two samples.
        "points": [*points, chart.Point(end, now)] if points else [],
        "now": shown(now),
        "peak": shown(max(values)),
        # 0 if the peak is now.
        "peak_at": peak.at if peak and peak.value >= now else 0,
        "low": shown(min(values)),
    }


def _budget(stats: Stats) -> dict[str, Any]:
    share = percent_text(_each(stats.bytes, stats.budget))
    text = gettext("%(used)s of %(budget)s: %(share)s %%") % {
        "used": size_text(stats.bytes),
        "budget": size_text(stats.budget),
        "share": share,
    }
    bar = chart.bar(stats.bytes, stats.budget, text) if stats.budget else ""
    return {"bar": bar, "share": share}


def _server_bar(stats: Stats) -> str:
    server = stats.server
    if server is None or not server.used or not server.limit:
        return ""
    text = gettext("%(used)s of %(limit)s") % {
        "used": size_text(server.used),
        "limit": size_text(server.limit),
    }
    return chart.bar(server.used, server.limit, text)


def _capabilities(stats: Stats) -> list[Capability]:
    backend = get_backend(blocking=True)
    shared, expires = backend.shared, not backend.in_memory
    reports = stats.server is not None
    atomic = gettext("Concurrent writers lose no update: compare-and-set.")
    listed = gettext("Sessions are counted from an index, without a scan.")
    if shared:
        sees = gettext("All workers see the same records.")
    else:
        sees = gettext("Only this process sees its records; a restart loses them.")
    if expires:
        kept = gettext("The cache itself expires idle records, even without a sweeper.")
    else:
        kept = gettext(
            "Only the sweeper removes idle records; it runs in this process."
        )
    if reports:
        memory = gettext("The server reports how much memory it uses.")
    else:
        memory = gettext("No server reports how much memory it uses.")
    return [
        Capability(gettext("Atomic"), present=True, text=atomic),
        Capability(gettext("Listed"), present=True, text=listed),
        Capability(gettext("Shared"), present=shared, text=sees),
        Capability(gettext("Expires"), present=expires, text=kept),
        Capability(gettext("Own memory figures"), present=reports, text=memory),
    ]
