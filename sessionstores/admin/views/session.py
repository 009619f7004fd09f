"""The page of a session: its people, where they are, its timeline, what it can do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.admin.models import LogEntry
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import conf
from ...backends import get_backend
from ...backends.base import Backend, run
from ...backends.types import ParticipantInfo, Record, SessionInfo
from ...exceptions import InsideTransaction, StateCorrupt, StoreUnavailable
from ...humanize import number_text, size_text
from ...keys import SESSION, StoreKey
from ...monitoring.alerts import BUDGET_PER_PARTICIPANT
from ...sessions.presence import attendees
from ..audit import entries
from ..components import chart
from ..components.table import Table
from ..isolation import probe
from ..menus import menu, session_menu
from ..page import AdminPage, outage
from ..people import (
    AT_STEP,
    LAYOUT,
    ParticipantRow,
    layout_of,
    name_of,
    rows_of,
    steps_of,
)
from ..progress import (
    NOWHERE,
    Position,
    PositionReader,
    progress_word,
    telling_states,
    total_of,
)
from ..timeline import TimelineEntry, describe

__all__ = [
    "history",
    "missing_context",
    "missing_page",
    "session",
    "session_live",
    "session_urls",
]

# Of more people than that, the states of those on the page are read, not of all.
WHOLE = 500
# Lines of the timeline where it has no column of its own, unless all are asked for.
BRIEF = 8
MAX_ENTRIES = 100
# Of those whom a session keeps out, the latest that its page lists.
MAX_LISTED = 50


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
        at=time.time(),
        **found,
    )


def session_live(page: AdminPage, code: str) -> HttpResponse:
    """Return the part of a session's page that refreshes itself."""
    return page.fragment("session", **content(page, code))


def content(page: AdminPage, code: str) -> dict[str, Any]:
    """Return the context of both, from a constant number of trips to the cache."""
    backend = get_backend(blocking=True)
    reader = PositionReader(backend, texts=page.rights.state)
    try:
        info = run(backend.session(code))
        if info is None:
            return missing_context(page, backend, code)
        participants = run(backend.participants(code))
        leases = run(backend.connections_of([code]))[code]
        kicked = run(backend.kicked(code))
        own = _own_position(backend, reader, code)
        is_whole = len(participants) <= WHOLE
        people = rows_of(
            participants,
            attendees(leases),
            describe(info.events),
            info,
            now=backend.clock(),
            positions=reader.of_people(code, [each.id for each in participants])
            if is_whole
            else {},
        )
        table = Table(people, layout_of(people, whole=is_whole), page.request.GET)
        if not is_whole:
            found = reader.of_people(code, [person.id for person in table.rows])
            table.rows = [
                row._replace(position=found.get(row.id, NOWHERE)) for row in table.rows
            ]
    except (StoreUnavailable, InsideTransaction) as error:
        return {**session_urls(page, code), **outage(error)}
    table.rows = [
        person._replace(url=page.url("participant", code, person.id))
        for person in table.rows
    ]
    manage = page.rights.manage
    online = sum(person.tabs > 0 for person in people)
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
        "found": _found(table),
        **_columns(table, people if is_whole else table.rows),
        **_timeline(page, info, people),
        "own": own,
        "own_word": progress_word("session"),
        "total": total_of(row.progress for row in (people if is_whole else table.rows)),
        "total_word": progress_word("participant"),
        "is_whole": is_whole,
        "steps": steps_of(people, table) if is_whole else (),
        "probes": (probes := probe(code, participants, leases)),
        "isolated": all(each.good for each in probes),
        "online": online,
        "tabs": sum(person.tabs for person in people),
        "people": len(people),
        "kept_until": info.created + info.keep if info.keep else 0,
        "processes": sorted({lease.process for lease in leases}),
        **_memory(info, participants),
        **_kept_out(kicked),
        "summary": ngettext(
            "%(online)s of %(count)s participant online",
            "%(online)s of %(count)s participants online",
            len(people),
        )
        % {"count": len(people), "online": online},
    }


def _own_position(backend: Backend, reader: PositionReader, code: str) -> Position:
    """Return the session's own step and progress, as its state says."""
    if not telling_states("session"):
        return NOWHERE
    try:
        record = run(backend.read(StoreKey.of_session(code), touch=False))
    except StateCorrupt:
        return NOWHERE
    states = record.states if isinstance(record, Record) else {}
    return reader.of_record(states, "session")


def _columns(
    table: Table[ParticipantRow], known: Sequence[ParticipantRow]
) -> dict[str, Any]:
    """Return the heads of the columns that have something to show, and the filters."""
    with_steps = any(person.step for person in known)
    with_progress = any(person.progress for person in known)
    unused = {
        name
        for name, used in (("step", with_steps), ("progress", with_progress))
        if not used
    }
    # Those at each step are listed by `steps_of`.
    everything, *some = table.filters(_("All"))[: 1 + len(LAYOUT.filters)]
    filters = [each for each in some if each.number or each.current]
    return {
        "heads": [head for head in table.heads() if head.name not in unused],
        "filters": [everything, *filters],
        "with_steps": with_steps,
        "with_progress": with_progress,
    }


def _found(table: Table[ParticipantRow]) -> str:
    """Say how many people a search or filter has found; "" without one."""
    counts = {"found": number_text(table.found), "total": number_text(table.total)}
    if table.query:
        text = ngettext(
            "%(found)s of %(total)s participants matches “%(query)s”",
            "%(found)s of %(total)s participants match “%(query)s”",
            table.found,
        ) % {**counts, "query": table.query}
    elif table.show:
        text = _("%(found)s of %(total)s participants") % counts
    else:
        return ""
    title = table.filter_title
    if table.show.startswith(AT_STEP):
        title = _("Step %(step)s") % {"step": title}
    return f"{text} · {title}" if title else text


def _timeline(
    page: AdminPage, info: SessionInfo, people: Sequence[ParticipantRow]
) -> dict[str, Any]:
    """Return the timeline, of one participant if the URL names one with `who`."""
    given = page.request.GET
    names = {person.id: person.called for person in people}
    who = given.get("who", "")[:64]
    found = [
        entry for entry in describe(info.events, names) if not who or entry.who == who
    ]
    show_all = "all" in given.getlist("timeline")
    return {
        "timeline": [(entry, _only(page, entry)) for entry in found],
        "who": names.get(who, who),
        "everybody_url": _with(page, who=None),
        "timeline_url": "" if show_all else _with(page, timeline="all"),
        "show_all": show_all,
        "brief": BRIEF,
        "more_entries": max(len(found) - BRIEF, 0),
    }


def _only(page: AdminPage, entry: TimelineEntry) -> str:
    return _with(page, who=entry.who) if entry.who else ""


def _with(page: AdminPage, **changes: str | None) -> str:
    """Return the page's URL with other parameters, at its timeline."""
    query = page.request.GET.copy()
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = value
    return f"?{query.urlencode()}#ss-timeline-title"


def session_urls(page: AdminPage, code: str) -> dict[str, Any]:
    """Return a session's code and the URLs of its pages."""
    return {
        "code": code,
        "session_url": page.url("session", code),
        "own_url": page.url("participant", code, SESSION),
        "history_url": page.url("history", code),
        "export_url": page.url("export", code),
        "print_url": page.url("print", code),
    }


def missing_context(page: AdminPage, backend: Backend, code: str) -> dict[str, Any]:
    """Return the context of a page whose session or participant does not exist.

    Or lives in the memory of another process, which cannot be seen from this one.
    """
    key = StoreKey.of_session(code)
    ended = run(backend.standings([key]))[key].ended
    exists = run(backend.session(code)) is not None
    is_hidden = not (backend.shared or ended or exists)
    summary = _("It does not exist any more")
    if ended:
        summary = _("This session is over")
    elif is_hidden:
        summary = _("It cannot be seen from here")
    return {
        **session_urls(page, code),
        "missing": True,
        "ended": ended,
        "session_exists": exists,
        "elsewhere": {"cache": conf.get().cache, "pid": os.getpid()}
        if is_hidden
        else None,
        "summary": summary,
    }


def missing_page(
    page: AdminPage, backend: Backend, code: str, title: str = ""
) -> HttpResponse:
    """Return a page for what does not exist, of a session or itself."""
    context = missing_context(page, backend, code)
    return page.render("missing", title=title or code, status=404, **context)


def _kept_out(kicked: Mapping[str, float]) -> dict[str, Any]:
    latest = sorted(kicked.items(), key=lambda each: (-each[1], each[0]))
    return {"kicked": latest[:MAX_LISTED], "more_kicked": len(latest[MAX_LISTED:])}


def _memory(
    info: SessionInfo, participants: Sequence[ParticipantInfo]
) -> dict[str, Any]:
    used = info.bytes + sum(each.bytes for each in participants)
    budget = BUDGET_PER_PARTICIPANT * len(participants)
    text = _("%(used)s of a budget of %(budget)s") % {
        "used": size_text(used),
        "budget": size_text(budget),
    }
    bar = chart.bar(used, budget, text) if budget else ""
    return {"used": used, "budget": budget, "budget_bar": bar}


def history(page: AdminPage, code: str) -> HttpResponse:
    """Show the log of a session: what staff have changed, and what they looked at."""
    show = page.request.GET.get("show", "")
    show = show if show in ("changes", "views") else ""
    found = list(entries(code, show)[: MAX_ENTRIES + 1])
    names = _names(code)
    links = {"": _("All"), "changes": _("Changes"), "views": _("Looked at")}
    return page.render(
        "history",
        title=_("Staff log of %(code)s") % {"code": code},
        **session_urls(page, code),
        entries=[(entry, *_about(page, entry, names)) for entry in found[:MAX_ENTRIES]],
        most=number_text(MAX_ENTRIES) if len(found) > MAX_ENTRIES else "",
        links=[
            (title, f"?show={name}" if name else "?", name == show)
            for name, title in links.items()
        ],
        show=show,
    )


def _names(code: str) -> dict[str, str]:
    """Return what the participants of a session are called, by id, as far as known."""
    try:
        people = run(get_backend(blocking=True).participants(code))
    except (StoreUnavailable, InsideTransaction):
        # The log is in the database, and does not need them.
        return {}
    return {info.id: name_of(info, None) for info in people}


def _about(
    page: AdminPage, entry: LogEntry, names: Mapping[str, str]
) -> tuple[str, str, str]:
    """Return the id that an entry is about, its name, and its page if that exists."""
    code, _colon, id = entry.object_repr.partition(":")
    url = page.url("participant", code, id) if id in names else ""
    return id, names.get(id, ""), url
