"""The technical part of the overview: charts, memory, cache and sweeper."""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from ... import conf
from ...backends import get_backend
from ...humanize import number_text, percent_text, size_text
from ...monitoring.history import SAMPLE_SECONDS
from ...monitoring.stats import Stats
from ...sessions.autosweep import FREQUENCY, JITTER, autosweep, is_wanted
from ..components.chart import Chart, Point, Span, bar, chart, scale_of_bytes

HOUR = 3600.0
# Longer between two samples: no process was running that takes them.
GAP = 3.5 * SAMPLE_SECONDS


class Capability(NamedTuple):
    """A capability of the cache, and what its presence or absence means."""

    title: str
    present: bool
    text: str


def technical(stats: Stats) -> dict[str, Any]:
    """Return the context of the technical part."""
    last = stats.last_sweep
    return {
        # Rounded to MiB: its last digits change with every request.
        "rss": (rss := stats.process.rss) and rss >> 20 << 20,
        "charts": _charts(stats),
        "capabilities": _capabilities(stats),
        "first_sweep": _first_sweep(stats),
        "budget": _budget(stats),
        "server_bar": _server_bar(stats),
        "next_sweep": last.at + last.interval if last and last.interval else 0,
        "people_each": stats.connections / stats.online if stats.online else 0,
    }


def last_hour(at: float) -> Span:
    """Return the time axis of the hour before `at`.

    In steps of a sample, or the chart would move a little at every refresh.
    """
    return Span((at // SAMPLE_SECONDS + 1) * SAMPLE_SECONDS, HOUR, GAP)


def _charts(stats: Stats) -> list[Chart]:
    span = last_hour(stats.at)
    online = [Point(each.at, each.online) for each in stats.series]
    stored = [Point(each.at, each.bytes) for each in stats.series]
    return [
        chart(_("Online"), online, span, number_text, now=stats.online),
        chart(
            _("Stored state"),
            stored,
            span,
            size_text,
            now=stats.bytes,
            axis=scale_of_bytes,
        ),
    ]


def _first_sweep(stats: Stats) -> str:
    """Say when the first sweep will be, where there was none yet."""
    longest = conf.get().idle_timeout / FREQUENCY * (1 + JITTER)
    if autosweep().is_running:
        return _("the first one within %(minutes)s min") % {
            "minutes": number_text(ceil(longest / 60))
        }
    if stats.scope == "shared":
        return _("run manage.py sweepstores")
    if not is_wanted():
        return _("AUTO_SWEEP is off")
    return _("sweeping begins with the first session")


def _budget(stats: Stats) -> dict[str, Any]:
    share = percent_text(stats.bytes / stats.budget if stats.budget else 0)
    text = _("%(used)s of %(budget)s: %(share)s %%") % {
        "used": size_text(stats.bytes),
        "budget": size_text(stats.budget),
        "share": share,
    }
    drawn = bar(stats.bytes, stats.budget, text) if stats.budget else ""
    return {"bar": drawn, "share": share}


def _server_bar(stats: Stats) -> str:
    server = stats.server
    if server is None or not server.used or not server.limit:
        return ""
    text = _("%(used)s of %(limit)s") % {
        "used": size_text(server.used),
        "limit": size_text(server.limit),
    }
    return bar(server.used, server.limit, text)


def _capabilities(stats: Stats) -> list[Capability]:
    backend = get_backend(blocking=True)
    shared, expires = backend.shared, not backend.in_memory
    reports = stats.server is not None
    atomic = _("Concurrent writers lose no update: compare-and-set.")
    listed = _("Sessions are counted from an index, without a scan.")
    if shared:
        sees = _("All workers see the same records.")
    else:
        sees = _("Only this process sees its records; a restart loses them.")
    if expires:
        kept = _("The cache itself expires idle records, even without a sweeper.")
    else:
        kept = _("Only the sweeper removes idle records; it runs in this process.")
    if reports:
        memory = _("The server reports how much memory it uses.")
    else:
        memory = _("No server reports how much memory it uses.")
    return [
        Capability(_("Atomic"), present=True, text=atomic),
        Capability(_("Countable"), present=True, text=listed),
        Capability(_("Shared"), present=shared, text=sees),
        Capability(_("Expires"), present=expires, text=kept),
        Capability(_("Reports memory"), present=reports, text=memory),
    ]
