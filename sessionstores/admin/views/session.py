"""The page of a session: participants, timeline, isolation checks, operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ... import conf
from ...backends import get_backend
from ...backends.base import Backend, run
from ...backends.types import ParticipantInfo, SessionInfo
from ...exceptions import InsideTransaction, StoreUnavailable
from ...humanize import number_text, size_text
from ...keys import SESSION, StoreKey
from ...monitoring.alerts import BUDGET_PER_PARTICIPANT
from ...participants.participant import DEFAULT_ROLE
from ...sessions.presence import Attendee, attendees
from ..audit import entries
from ..components import chart
from ..components.table import Column, Filter, Layout, Table
from ..isolation import probe
from ..menus import menu, session_menu
from ..page import AdminPage, outage
from ..published import published
from ..timeline import ATTENDANCE, TimelineEntry, describe

PRESENCE = {
    "online": gettext_lazy("Online"),
    "away": gettext_lazy("Away"),
    "leaving": gettext_lazy("Leaving"),
    "offline": gettext_lazy("Offline"),
}
SHAPES = {"online": "●", "away": "◑", "leaving": "◌", "offline": "○"}
MAX_ENTRIES = 100
# Of those whom a session keeps out, the latest that its page lists.
MAX_LISTED = 50


class ParticipantRow(NamedTuple):
    """A participant as a row of the page."""

    info: ParticipantInfo
    attendee: Attendee | None
    name: str
    step: str
    last: TimelineEntry | None
    until: float
    url: str = ""

    @property
    def id(self) -> str:
        """The participant's id."""
        return self.info.id

    @property
    def who(self) -> str:
        """What they are called, and their role if it is not everybody's."""
        role = self.info.profile.role
        return " · ".join(
            filter(None, (self.name, role if role != DEFAULT_ROLE else ""))
        )

    @property
    def presence(self) -> str:
        """A key of `PRESENCE`; "away": connected, with no tab in the foreground."""
        if self.attendee is None:
            return "offline"
        if self.attendee.leaving:
            return "leaving"
        # Only if the site's tabs publish it.
        away = all(meta.get("away") is True for meta in self.attendee.metas)
        return "away" if away else "online"

    @property
    def presence_text(self) -> Any:
        """The same in words."""
        return PRESENCE[self.presence]

    @property
    def presence_shape(self) -> str:
        """The same as a symbol, for readers who cannot see its colour."""
        return SHAPES[self.presence]

    @property
    def tabs(self) -> int:
        """How many connections are open."""
        return self.attendee.connections if self.attendee else 0


LAYOUT: Layout[ParticipantRow] = Layout(
    columns=(
        Column("id", gettext_lazy("Participant"), lambda row: row.id),
        Column(
            "presence",
            gettext_lazy("Presence"),
            lambda row: list(PRESENCE).index(row.presence),
        ),
        Column("tabs", gettext_lazy("Tabs"), lambda row: row.tabs, "number"),
        Column("step", gettext_lazy("Step"), lambda row: row.step),
        Column("rev", gettext_lazy("Rev"), lambda row: row.info.rev.counter, "number"),
        Column("bytes", gettext_lazy("State"), lambda row: row.info.bytes, "number"),
        Column("until", gettext_lazy("Kept"), lambda row: row.until),
        Column(
            "last",
            gettext_lazy("Last action"),
            lambda row: row.last.at if row.last else 0,
            "time",
        ),
    ),
    filters=(
        Filter("online", PRESENCE["online"], lambda row: row.presence == "online"),
        Filter("away", PRESENCE["away"], lambda row: row.presence == "away"),
        Filter("leaving", PRESENCE["leaving"], lambda row: row.presence == "leaving"),
        Filter("offline", PRESENCE["offline"], lambda row: row.presence == "offline"),
    ),
    texts=lambda row: (row.id, row.name),
    tie=lambda row: row.id,
    order="id",
    size=50,
)


def session(page: AdminPage, code: str) -> HttpResponse:
    """Show a session, that it is over, or that the cache does not answer."""
    found = content(page, code)
    if "missing" in found:
        return page.render("missing", title=code, status=404, **found)
    return page.live(
        "session",
        title=code,
        fragment_url=page.url("session_live", code),
        topic=code,
        act_url=page.url("session_act", code),
        people_url=page.url("participants_act", code),
        query=page.request.GET.get("q", ""),
        **found,
    )


def session_live(page: AdminPage, code: str) -> HttpResponse:
    """Return the part of a session's page that refreshes itself."""
    return page.fragment("session", **content(page, code))


def content(page: AdminPage, code: str) -> dict[str, Any]:
    """Return the context of both, from four round trips to the cache."""
    backend = get_backend(blocking=True)
    try:
        info = run(backend.session(code))
        if info is None:
            return missing_context(page, backend, code)
        participants = run(backend.participants(code))
        leases = run(backend.connections_of([code]))[code]
        kicked = run(backend.kicked(code))
    except (StoreUnavailable, InsideTransaction) as error:
        return {**session_urls(page, code), **outage(error)}
    timeline = describe(info.events)
    people = _people(participants, attendees(leases), timeline)
    table = Table(people, LAYOUT, page.request.GET)
    table.rows = [
        person._replace(url=page.url("participant", code, person.id))
        for person in table.rows
    ]
    probes = probe(code, participants, leases)
    manage = page.rights.manage
    online = sum(person.tabs > 0 for person in people)
    tabs = sum(person.tabs for person in people)
    return {
        **session_urls(page, code),
        "session": info,
        "operations": session_menu(
            locked=info.locked, steps=any(each.step for each in people)
        )
        if manage
        else (),
        "menu": menu("participants") if manage else (),
        "table": table,
        "heads": [
            head
            for head in table.heads()
            if head.name != "step" or any(person.step for person in people)
        ],
        "filters": table.filters(_("All")),
        "timeline": timeline,
        "probes": probes,
        "isolated": all(each.good for each in probes),
        "online": online,
        "tabs": tabs,
        "people": len(people),
        "with_steps": any(person.step for person in people),
        "kept_until": info.created + info.keep if info.keep else 0,
        **_memory(info, people),
        **_kept_out(kicked),
        "summary": ngettext(
            "%(online)s of %(count)s participant online",
            "%(online)s of %(count)s participants online",
            len(people),
        )
        % {"count": len(people), "online": online},
    }


def session_urls(page: AdminPage, code: str) -> dict[str, Any]:
    """Return a session's code and the URLs of its pages."""
    return {
        "code": code,
        "session_url": page.url("session", code),
        "own_url": page.url("participant", code, SESSION),
        "history_url": page.url("history", code),
        "export_url": page.url("export", code),
    }


def missing_context(page: AdminPage, backend: Backend, code: str) -> dict[str, Any]:
    """Return the context of a page whose session or participant does not exist."""
    key = StoreKey.of_session(code)
    ended = run(backend.standings([key]))[key].ended
    return {
        **session_urls(page, code),
        "missing": True,
        "ended": ended,
        "session_exists": run(backend.session(code)) is not None,
        "summary": _("This session is over")
        if ended
        else _("It does not exist any more"),
    }


def _kept_out(kicked: Mapping[str, float]) -> dict[str, Any]:
    latest = sorted(kicked.items(), key=lambda each: (-each[1], each[0]))
    return {"kicked": latest[:MAX_LISTED], "more_kicked": len(latest[MAX_LISTED:])}


def _memory(info: SessionInfo, people: list[ParticipantRow]) -> dict[str, Any]:
    used = info.bytes + sum(person.info.bytes for person in people)
    budget = BUDGET_PER_PARTICIPANT * len(people)
    text = _("%(used)s of a budget of %(budget)s") % {
        "used": size_text(used),
        "budget": size_text(budget),
    }
    bar = chart.bar(used, budget, text) if budget else ""
    return {"used": used, "budget": budget, "budget_bar": bar}


def _people(
    participants: list[ParticipantInfo],
    present: Mapping[str, Attendee],
    timeline: list[TimelineEntry],
) -> list[ParticipantRow]:
    last: dict[str, TimelineEntry] = {}
    for entry in timeline:
        # The latest entry comes first; presence has a column of its own.
        if entry.kind not in ATTENDANCE:
            last.setdefault(entry.who, entry)
    idle_timeout = conf.get().idle_timeout
    return [
        ParticipantRow(
            info,
            attendee := present.get(info.id),
            info.profile.name or published(attendee, "name"),
            published(attendee, "step"),
            last.get(info.id),
            0
            if attendee and not attendee.leaving
            else max(info.seen + idle_timeout, info.kept_until),
        )
        for info in participants
    ]


def history(page: AdminPage, code: str) -> HttpResponse:
    """Show the log of a session: operations of staff, and views of states."""
    found = list(entries(code)[: MAX_ENTRIES + 1])
    return page.render(
        "history",
        title=_("Staff log of %(code)s") % {"code": code},
        **session_urls(page, code),
        entries=found[:MAX_ENTRIES],
        most=number_text(MAX_ENTRIES) if len(found) > MAX_ENTRIES else "",
    )
