"""A participant's page, or the session's own record: its states, as far as shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ... import conf
from ...backends import get_backend
from ...backends.base import Backend, run
from ...backends.types import Lease, ParticipantInfo, Record
from ...exceptions import (
    InsideTransaction,
    StateCorrupt,
    StoreUnavailable,
    UnknownState,
)
from ...keys import SESSION, StoreKey, cache_key
from ...sessions.presence import attendees
from ...state.declaration import get_state, states_in
from ..audit import log, log_view
from ..components import tree
from ..page import AdminPage, outage
from ..redaction import disclose
from .operate import choices
from .session import Person, gone, places

# Of one state; the rest is a download.
MAX_SHOWN = 65_536


class Shown(NamedTuple):
    """A state as the page shows it.

    `tree` is None if it is not shown, and `problem` says why. `version` is that of the
    stored data, `declared` what this process declares; 0: it is not declared.
    """

    name: str
    bytes: int
    version: int
    declared: int
    tree: SafeString | None
    cut: bool
    problem: str
    hidden: int
    url: str
    edit_url: str


def participant(frame: AdminPage, code: str, id: str = SESSION) -> HttpResponse:
    """Show one record; without `view_state`, all but the states."""
    key = StoreKey(code, id)
    found = content(frame, key)
    if "gone" in found:
        return frame.render("gone", title=str(key), status=404, **found)
    if frame.rights.state and "outage" not in found:
        log_view(frame.user_id, name_of(key), refresh=False)
    return frame.live(
        "participant",
        title=_("The session’s own state") if key.is_session else id,
        fragment_url=frame.url("participant_live", code, id),
        topic=code,
        act_url=frame.url("participants_act", code),
        **found,
    )


def participant_live(frame: AdminPage, code: str, id: str) -> HttpResponse:
    """Return the part of the page that refreshes itself."""
    key = StoreKey(code, id)
    found = content(frame, key)
    if frame.rights.state and "record" in found:
        log_view(frame.user_id, name_of(key), refresh=True)
    return frame.fragment("participant", **found)


def name_of(key: StoreKey) -> str:
    """Return how the admin's log names a record."""
    return key.session if key.is_session else str(key)


def content(frame: AdminPage, key: StoreKey) -> dict[str, Any]:
    """Return what both show, from three questions to the cache."""
    backend = get_backend(blocking=True)
    common = {**places(frame, key.session), "key": key, "id": key.participant}
    try:
        infos = run(backend.participants(key.session))
        record = run(backend.read(key, touch=False))
        leases = run(backend.connections(key))
        if not isinstance(record, Record):
            return {**gone(frame, backend, key.session), **common}
    except (StoreUnavailable, InsideTransaction) as error:
        return {**outage(error), **common}
    except StateCorrupt as error:
        return {"corrupt": str(error), **common}
    leases = [] if key.is_session else leases
    return {
        **common,
        "record": record,
        "deeds": choices("participants")
        if frame.rights.manage and not key.is_session
        else (),
        "person": _person(record, leases),
        "states": [
            _shown(frame, record, name, stored)
            for name, stored in sorted(record.states.items())
        ]
        if frame.rights.state
        else [],
        "missing": _missing(record),
        "names": sorted(record.states),
        "connections": [
            {**lease._asdict(), "meta_text": lease.meta.decode()}
            for lease in sorted(leases, key=lambda lease: lease.since)
        ],
        "cache_key": stored_under(key),
        "cache": conf.get().cache,
        "backend": type(backend).__name__,
        "limit": conf.get().max_state_bytes,
        "idle_minutes": conf.get().idle_timeout / 60,
        "most_shown": MAX_SHOWN,
        **_neighbours(frame, infos, key),
        "summary": _("Revision %(rev)s") % {"rev": record.rev},
    }


def stored_under(key: StoreKey) -> str:
    """Return the cache's key of a record, as an operator would look for it."""
    kind, name = ("s", "") if key.is_session else ("p", key.participant)
    return cache_key(conf.get().key_prefix, key.session, kind, name)


def _person(record: Record, leases: list[Lease]) -> Person:
    attendee = attendees(leases).get(record.key.participant)
    open_ = sum(not lease.leaving for lease in leases)
    info = ParticipantInfo(
        record.key.participant,
        record.rev,
        record.created,
        record.seen,
        record.bytes,
        open_,
    )
    until = 0 if open_ else record.seen + conf.get().idle_timeout
    return Person(info, attendee, "", "", None, until)


def _neighbours(
    frame: AdminPage, infos: list[ParticipantInfo], key: StoreKey
) -> dict[str, str]:
    """Return who comes before and after, by id; the session itself before all."""
    ids = [SESSION, *(info.id for info in infos)]
    place = ids.index(key.participant) if key.participant in ids else len(ids)
    around = {"previous": ids[place - 1 : place], "following": ids[place + 1 :][:1]}
    found = {}
    for name, id in around.items():
        shown = id[0] if id else ""
        found[name] = pgettext("live", "session") if shown == SESSION else shown
        found[f"{name}_url"] = (
            frame.url("participant", key.session, shown) if shown else ""
        )
    return found


def _missing(record: Record) -> list[str]:
    """Return the states that are declared and were not used yet."""
    classes = states_in("session" if record.key.is_session else "participant")
    declared = {cls.__sessionstores__.name for cls in classes}
    return sorted(declared - record.states.keys())


def _shown(frame: AdminPage, record: Record, name: str, stored: bytes) -> Shown:
    key = record.key
    version = int(stored.partition(b":")[0]) if stored[:1].isdigit() else 0
    drawn, problem, hidden, declared = None, "", 0, 0
    try:
        declared = get_state(name).__sessionstores__.version
        shown = disclose(record, name)
        hidden = len(shown.hidden)
        drawn = tree.draw(shown.data, shown.hidden, MAX_SHOWN)
    except UnknownState:
        problem = _(
            "No state of this name is declared any more, so it is not known what in it "
            "is sensitive: it is not shown."
        )
    except StateCorrupt as error:
        problem = _newer() if error.newer else _unreadable()
    may_edit = frame.rights.manage and drawn is not None
    return Shown(
        name,
        len(stored),
        version,
        declared,
        drawn.html if drawn else None,
        drawn.cut if drawn else False,
        problem,
        hidden,
        frame.url("download", *key, name) if drawn else "",
        frame.url("edit", *key, name) if may_edit else "",
    )


def _newer() -> str:
    return _(
        "It is of a newer version than this process declares, so it is not known what "
        "in it is sensitive: it is not shown."
    )


def _unreadable() -> str:
    # Not what the error says: that may quote the data.
    return _(
        "It cannot be read as this process declares it, so it is not known what in it "
        "is sensitive: it is not shown. The log says more once somebody uses it."
    )


def download(frame: AdminPage, code: str, id: str, name: str) -> HttpResponse:
    """Send a state as a JSON file, redacted."""
    key = StoreKey(code, id)
    record = run(get_backend(blocking=True).read(key, touch=False))
    shown = exported(record, name) if isinstance(record, Record) else None
    if shown is None:
        raise Http404(_("There is no such state."))
    log(frame.user_id, [name_of(key)], f"Downloaded the state {name}.")
    file = f"{code}-{'session' if key.is_session else id}-{name}.json"
    return HttpResponse(_json(shown), headers=_file(file))


def export(frame: AdminPage, code: str) -> HttpResponse | StreamingHttpResponse:
    """Send all states of a session as one JSON file, redacted.

    Participant by participant, so that a large session is never in memory as a whole.
    """
    backend = get_backend(blocking=True)
    info = run(backend.session(code))
    if info is None:
        found = gone(frame, backend, code)
        return frame.render("gone", title=code, status=404, **found)
    ids = [SESSION, *(each.id for each in run(backend.participants(code)))]
    log(frame.user_id, [code], "Exported the session.")
    head = {
        "session": code,
        "label": info.label,
        "created": info.created,
        "exported": timezone.now().isoformat(),
    }
    return StreamingHttpResponse(
        _exported(backend, code, ids, head), headers=_file(f"{code}.json")
    )


def _exported(
    backend: Backend, code: str, ids: list[str], head: dict[str, Any]
) -> Iterator[str]:
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "records": {'
    separator = "\n"
    for id in ids:
        try:
            record = run(backend.read(StoreKey(code, id), touch=False))
        except StateCorrupt:
            record = None
        if not isinstance(record, Record):
            continue
        states = {
            name: shown
            for name in record.states
            if (shown := exported(record, name)) is not None
        }
        entry = {"rev": str(record.rev), "states": states}
        yield f"{separator}{json.dumps(id)}: {json.dumps(entry, ensure_ascii=False)}"
        separator = ",\n"
    yield "\n}}\n"


def exported(record: Record, name: str) -> Any:
    """Return a state's plain form, redacted; None if it cannot be shown."""
    if name not in record.states:
        return None
    try:
        return disclose(record, name).data
    except (UnknownState, StateCorrupt):
        return None


def _json(data: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"


def _file(name: str) -> dict[str, str]:
    # The name is made of codes, ids and state names: none of them needs quoting.
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
