"""The overview: every live session, what they cost, and what is wrong with them."""

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
from ..alert_texts import words_for
from ..components import chart
from ..components.table import Column, Filter, Layout, Table
from ..page import AdminPage, outage
from .operate import choices
from .session import shown_in

LEAKS = {
    "near_limit": _("Near its limit"),
    "over_budget": _("Over budget"),
    "growing": _("Growing"),
    "unswept": _("Not swept"),
    "orphans": _("Lost records"),
    "slow": _("Slow"),
    "evicting": _("Evicting"),
}
HOUR = 3600.0
# Where so many samples are missing, nothing was running that would take them.
GAP = 3.5 * SAMPLE_SECONDS
# Leaks that are shown before a link to all of them.
MAX_LEAKS = 6
# Steps are shown of sessions with so many tabs: a page of larger ones would be slow.
CROWD = 100


class SessionRow(NamedTuple):
    """A session as a row: its figures, its share of the memory, what is wrong."""

    summary: SessionSummary
    average: float
    leaks: tuple[Alert, ...]
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
        # Known of those on the page alone, so there is no sorting by it.
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
            # It is drawn, so there is nothing to align; the busiest come first.
            "time",
        ),
    ),
    filters=(
        Filter("active", _("Active"), lambda row: row.summary.online > 0),
        Filter("idle", _("Idle"), lambda row: not row.summary.online),
        Filter("locked", _("Locked"), lambda row: row.summary.locked),
        Filter("leaking", _("With warnings"), lambda row: bool(row.leaks)),
    ),
    texts=lambda row: (row.code, row.summary.label),
    tie=lambda row: (-row.summary.created, row.code),
    order="-created",
)


class Ability(NamedTuple):
    """What a cache can do, or cannot, and what follows from that."""

    title: str
    there: bool
    text: str


def overview(frame: AdminPage) -> HttpResponse:
    """Show all sessions, or why that is not possible now."""
    return frame.live(
        "overview",
        title=gettext("Live sessions"),
        fragment_url=frame.url("live"),
        act_url=frame.url("act"),
        sweep_url=frame.url("sweep"),
        stats_url=frame.url("stats"),
        query=frame.request.GET.get("q", ""),
        **content(frame),
    )


def overview_live(frame: AdminPage) -> HttpResponse:
    """Return the part of the overview that refreshes itself."""
    return frame.fragment("overview", **content(frame))


def content(frame: AdminPage) -> dict[str, Any]:
    """Return what both show. An outage is an answer too: the page says so."""
    try:
        stats = stores.stats()
        listing = Table(rows(stats), LAYOUT, frame.request.GET)
        leases = _leases(listing.rows)
    except (StoreUnavailable, InsideTransaction) as error:
        return outage(error)
    # Only of those that are shown.
    listing.rows = [
        row._replace(
            spark=_spark(row.summary),
            step=steps(leases.get(row.code, ())),
            url=frame.url("session", row.code),
        )
        for row in listing.rows
    ]
    last = stats.last_sweep
    return {
        "stats": stats,
        # Its last digits change with every page.
        "rss": (rss := stats.process.rss) and rss >> 20 << 20,
        "listing": listing,
        "filters": listing.filters(gettext("All")),
        "charts": _charts(stats),
        "abilities": _abilities(stats),
        "menu": choices("sessions") if frame.rights.manage else (),
        "first_sweep": _first_sweep(stats),
        "budget": _budget(stats),
        "server_bar": _server_bar(stats),
        "next_sweep": last.at + last.interval if last and last.interval else 0,
        "leaks": [_warning(frame, leak) for leak in stats.leaks[:MAX_LEAKS]],
        "more_leaks": max(len(stats.leaks) - MAX_LEAKS, 0),
        "people_each": _each(stats.connections, stats.online),
        "summary": ngettext(
            "%(count)s session, %(online)s online",
            "%(count)s sessions, %(online)s online",
            stats.sessions,
        )
        % {"count": stats.sessions, "online": stats.online},
    }


def _warning(frame: AdminPage, leak: Alert) -> dict[str, Any]:
    code, colon, id = leak.key.partition(":")
    url = ""
    if code:
        url = frame.url(
            "participant" if colon else "session", *filter(None, (code, id))
        )
    words = words_for(leak)
    return {
        "kind": LEAKS.get(leak.code, leak.code),
        "text": words.text,
        "hint": words.hint,
        "key": leak.key.removesuffix(":*"),
        "url": url,
    }


def rows(stats: Stats) -> list[SessionRow]:
    """Return a row for each session; sparklines are drawn for those that are shown."""
    leaks: dict[str, list[Alert]] = {}
    for leak in stats.leaks:
        leaks.setdefault(leak.key.partition(":")[0], []).append(leak)
    return [
        SessionRow(
            summary,
            _each(summary.bytes, summary.participants),
            tuple(leaks.get(summary.code, ())),
        )
        for summary in stats.summaries
    ]


def _leases(shown: Sequence[SessionRow]) -> Mapping[str, Sequence[Lease]]:
    """Return the leases of the sessions on the page, but for crowded ones."""
    codes = [row.code for row in shown if 0 < row.summary.connections <= CROWD]
    if codes:
        # Without them there are no steps to show, and the table is there.
        with suppress(StateCorrupt):
            return run(get_backend(blocking=True).connections_of(codes))
    return {}


def steps(leases: Sequence[Lease]) -> str:
    """Return the lowest and the highest step that connected tabs show, "2" or "1–3"."""
    # Of thousands, most may show none: it takes no decoding to see that.
    telling = [x for x in leases if not x.leaving and b'"step"' in x.meta]
    told = {
        shown_in(meta, "step")
        for attendee in attendees(telling).values()
        for meta in attendee.metas
    }
    found = sorted(told - {""}, key=_place_of)
    return "–".join(dict.fromkeys((found[0], found[-1]))) if found else ""


def _place_of(step: str) -> tuple[bool, int, str]:
    """Order steps by number; those that are none come last, as texts do."""
    try:
        return False, int(step), ""
    except ValueError:
        return True, 0, step


def _first_sweep(stats: Stats) -> str:
    """Say when there will be a sweep, where there was none yet."""
    longest = conf.get().idle_timeout / FREQUENCY * (1 + JITTER)
    if autosweep().is_running:
        return gettext("the first one within %(minutes)s min") % {
            "minutes": number_text(ceil(longest / 60))
        }
    if stats.scope == "shared":
        return gettext("run manage.py sweepstores")
    if not is_wanted():
        return gettext("AUTO_SWEEP is off")
    return gettext("it begins with the first session")


def _each(total: float, count: int) -> float:
    return total / count if count else 0


def _spark(summary: SessionSummary) -> str:
    total = sum(summary.activity)
    label = ngettext(
        "%(count)s change in 30 minutes", "%(count)s changes in 30 minutes", total
    )
    return chart.sparkline(summary.activity, label % {"count": number_text(total)})


def _charts(stats: Stats) -> list[dict[str, Any]]:
    """Draw the hour, and say in words what can be seen in it."""
    # In steps of a sample, or everything would move a little at every refresh.
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
        # At the edge, or it would move between two samples.
        "points": [*points, chart.Point(end, now)] if points else [],
        "now": shown(now),
        "peak": shown(max(values)),
        # When it is now, nothing needs to be said.
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


def _abilities(stats: Stats) -> list[Ability]:
    backend = get_backend(blocking=True)
    shared, expires = backend.shared, not backend.in_memory
    tells = stats.server is not None
    atomic = gettext("Two writers at once lose nothing: compare-and-set.")
    listed = gettext("Sessions are counted from an index, without a scan.")
    if shared:
        seen = gettext("All workers see the same records.")
    else:
        seen = gettext("Only this process sees its records; a restart forgets them.")
    if expires:
        kept = gettext("The cache itself removes what nobody uses, if no sweeper does.")
    else:
        kept = gettext("Only the sweeper removes what nobody uses; it runs here.")
    if tells:
        told = gettext("The server says how much memory it uses.")
    else:
        told = gettext("There is no server that says how much memory it uses.")
    return [
        Ability(gettext("Atomic"), there=True, text=atomic),
        Ability(gettext("Listed"), there=True, text=listed),
        Ability(gettext("Shared"), there=shared, text=seen),
        Ability(gettext("Expires"), there=expires, text=kept),
        Ability(gettext("Own memory figures"), there=tells, text=told),
    ]
