"""The overview page: figures at a glance, warnings, and all live sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ...backends import get_backend
from ...backends.base import run
from ...backends.types import Lease, SessionSummary
from ...exceptions import InsideTransaction, StateCorrupt, StoreUnavailable
from ...humanize import number_text
from ...manager import stores
from ...monitoring.stats import Alert, Stats
from ...sessions.presence import attendees
from ..alert_texts import text_of_alert
from ..components.chart import sparkline
from ..components.table import Column, Filter, Layout, Table
from ..menus import menu
from ..page import AdminPage, outage
from ..people import meta_text
from ..troubles import is_slow, other_troubles
from .technical import technical

ALERTS = {
    "near_limit": _("Near its limit"),
    "over_budget": _("Over budget"),
    "growing": _("Growing"),
    "unswept": _("Not swept"),
    "orphans": _("Lost records"),
    "slow": _("Slow"),
    "evicting": _("Evicting"),
}
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
        Column("seen", _("Last use"), lambda row: row.summary.seen, "time"),
        Column("created", _("Created"), lambda row: row.summary.created, "time"),
        Column(
            "activity",
            _("Activity, 30 min"),
            lambda row: sum(row.summary.activity),
            # Drawn, so not aligned like a number; the busiest come first.
            "time",
        ),
        Column("bytes", _("State"), lambda row: row.summary.bytes, "number"),
        Column("average", _("Per person"), lambda row: row.average, "number"),
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
    return {
        "stats": stats,
        "table": table,
        "found": _found(table),
        "filters": table.filters(gettext("All")),
        "menu": menu("sessions") if page.rights.manage else (),
        "alerts": [shown_alert(page, alert) for alert in stats.leaks[:MAX_ALERTS]],
        "more_alerts": max(len(stats.leaks) - MAX_ALERTS, 0),
        "health_url": page.url("health"),
        # Fractions are plural.
        "rate": int(rate) if (rate := stats.health.actions_per_minute) % 1 == 0 else 2,
        "refused": sum(stats.health.refused.values()),
        "is_slow": is_slow(stats.health),
        "troubles": list(other_troubles(stats)),
        "summary": ngettext(
            "%(count)s session, %(online)s online",
            "%(count)s sessions, %(online)s online",
            stats.sessions,
        )
        % {"count": stats.sessions, "online": stats.online},
        **technical(stats),
    }


def _found(table: Table[SessionRow]) -> str:
    """Say how many sessions a search or filter has found; "" without one."""
    counts = {"found": number_text(table.found), "total": number_text(table.total)}
    if table.query:
        text = ngettext(
            "%(found)s of %(total)s sessions matches “%(query)s”",
            "%(found)s of %(total)s sessions match “%(query)s”",
            table.found,
        ) % {**counts, "query": table.query}
    elif table.show:
        text = gettext("%(found)s of %(total)s sessions") % counts
    else:
        return ""
    return f"{text} · {table.filter_title}" if table.show else text


def shown_alert(page: AdminPage, alert: Alert) -> dict[str, Any]:
    """Return the texts of an alert, and the page of what it is about."""
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
        # By it, the script remembers which were read.
        "id": f"{alert.code} {alert.key}",
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
            summary.bytes / summary.participants if summary.participants else 0,
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


def _spark(summary: SessionSummary) -> str:
    total = sum(summary.activity)
    label = ngettext(
        "%(count)s change in 30 minutes", "%(count)s changes in 30 minutes", total
    )
    return sparkline(summary.activity, label % {"count": number_text(total)})
