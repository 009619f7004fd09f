"""A session's page: who is in, what happens, and the way to act on it."""

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
from ...sessions.presence import Attendee, attendees
from ..audit import entries
from ..components import chart
from ..components.table import Column, Filter, Layout, Table
from ..isolation import probe
from ..page import AdminPage, outage
from ..timeline import ATTENDANCE, TimelineEntry, describe
from .operate import choices, choices_of_session

PRESENCE = {
    "online": gettext_lazy("Online"),
    "away": gettext_lazy("Away"),
    "leaving": gettext_lazy("Leaving"),
    "offline": gettext_lazy("Offline"),
}
SHAPES = {"online": "●", "away": "◑", "leaving": "◌", "offline": "○"}
# What a tab shows of itself may say more than fits.
MAX_NAME = 40
MAX_ENTRIES = 100


class Person(NamedTuple):
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
    def presence(self) -> str:
        """One of the names in `PRESENCE`; who is away has a tab, yet no eye on it."""
        if self.attendee is None:
            return "offline"
        if self.attendee.leaving:
            return "leaving"
        # So say their tabs, if a site has them say it.
        away = all(meta.get("away") is True for meta in self.attendee.metas)
        return "away" if away else "online"

    @property
    def presence_text(self) -> Any:
        """The same in words."""
        return PRESENCE[self.presence]

    @property
    def presence_shape(self) -> str:
        """The same as a shape: it must not take colours to tell."""
        return SHAPES[self.presence]

    @property
    def tabs(self) -> int:
        """How many connections are open."""
        return self.attendee.connections if self.attendee else 0


LAYOUT: Layout[Person] = Layout(
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


def session(frame: AdminPage, code: str) -> HttpResponse:
    """Show a session, that it is over, or why neither is possible now."""
    found = content(frame, code)
    if "gone" in found:
        return frame.render("gone", title=code, status=404, **found)
    return frame.live(
        "session",
        title=code,
        fragment_url=frame.url("session_live", code),
        topic=code,
        act_url=frame.url("session_act", code),
        people_url=frame.url("participants_act", code),
        query=frame.request.GET.get("q", ""),
        **found,
    )


def session_live(frame: AdminPage, code: str) -> HttpResponse:
    """Return the part of a session's page that refreshes itself."""
    return frame.fragment("session", **content(frame, code))


def content(frame: AdminPage, code: str) -> dict[str, Any]:
    """Return what both show, from three questions to the cache."""
    backend = get_backend(blocking=True)
    try:
        info = run(backend.session(code))
        if info is None:
            return gone(frame, backend, code)
        participants = run(backend.participants(code))
        leases = run(backend.connections_of([code]))[code]
    except (StoreUnavailable, InsideTransaction) as error:
        return {**places(frame, code), **outage(error)}
    happenings = describe(info.events)
    people = _people(participants, attendees(leases), happenings)
    listing = Table(people, LAYOUT, frame.request.GET)
    listing.rows = [
        person._replace(url=frame.url("participant", code, person.id))
        for person in listing.rows
    ]
    probes = probe(code, participants, leases)
    manage = frame.rights.manage
    online = sum(person.tabs > 0 for person in people)
    tabs = sum(person.tabs for person in people)
    return {
        **places(frame, code),
        "session": info,
        "deeds": choices_of_session(locked=info.locked) if manage else (),
        "menu": choices("participants") if manage else (),
        "listing": listing,
        "heads": [
            head
            for head in listing.heads()
            if head.name != "step" or any(person.step for person in people)
        ],
        "filters": listing.filters(_("All")),
        "timeline": happenings,
        "probes": probes,
        "isolated": all(each.good for each in probes),
        "online": online,
        "tabs": tabs,
        "people": len(people),
        "with_steps": any(person.step for person in people),
        "kept_until": info.created + info.keep if info.keep else 0,
        **_memory(info, people),
        "summary": ngettext(
            "%(online)s of %(count)s participant online",
            "%(online)s of %(count)s participants online",
            len(people),
        )
        % {"count": len(people), "online": online},
    }


def places(frame: AdminPage, code: str) -> dict[str, Any]:
    """Return a session's code and where its pages are."""
    return {
        "code": code,
        "session_url": frame.url("session", code),
        "own_url": frame.url("participant", code, SESSION),
        "history_url": frame.url("history", code),
        "export_url": frame.url("export", code),
    }


def gone(frame: AdminPage, backend: Backend, code: str) -> dict[str, Any]:
    """Return what is known where a session, or somebody in it, is not there."""
    key = StoreKey.of_session(code)
    ended = run(backend.standings([key]))[key].ended
    return {
        **places(frame, code),
        "gone": True,
        "ended": ended,
        "session_there": run(backend.session(code)) is not None,
        "summary": _("This session is over")
        if ended
        else _("It is not there any more"),
    }


def _memory(info: SessionInfo, people: list[Person]) -> dict[str, Any]:
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
    happenings: list[TimelineEntry],
) -> list[Person]:
    last: dict[str, TimelineEntry] = {}
    for happening in happenings:
        # The latest comes first; presence has a column of its own.
        if happening.kind not in ATTENDANCE:
            last.setdefault(happening.who, happening)
    idle_timeout = conf.get().idle_timeout
    return [
        Person(
            info,
            attendee := present.get(info.id),
            _shown(attendee, "name"),
            _shown(attendee, "step"),
            last.get(info.id),
            0 if attendee and not attendee.leaving else info.seen + idle_timeout,
        )
        for info in participants
    ]


def _shown(attendee: Attendee | None, name: str) -> str:
    """Return what the first of a participant's tabs to do so shows under a name."""
    metas = attendee.metas if attendee else ()
    return next(filter(None, (shown_in(meta, name) for meta in metas)), "")


def shown_in(meta: Mapping[str, Any], name: str) -> str:
    """Return what a tab shows of itself under a name, in short; "" if that is none."""
    value = meta.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = str(value)
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def history(frame: AdminPage, code: str) -> HttpResponse:
    """Show what staff have done to a session, and whose state they have seen."""
    found = list(entries(code)[: MAX_ENTRIES + 1])
    return frame.render(
        "history",
        title=_("Staff log of %(code)s") % {"code": code},
        **places(frame, code),
        entries=found[:MAX_ENTRIES],
        most=number_text(MAX_ENTRIES) if len(found) > MAX_ENTRIES else "",
    )
