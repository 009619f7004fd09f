"""The page of a participant or of a session's own record."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.http import HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from ... import conf
from ...backends import get_backend
from ...backends.base import run
from ...backends.types import UNKNOWN, Lease, ParticipantInfo, Record, SessionInfo
from ...exceptions import (
    InsideTransaction,
    StateCorrupt,
    StoreUnavailable,
    UnknownState,
)
from ...keys import SESSION, StoreKey, cache_key
from ...sessions.presence import attendees
from ...state.declaration import Scope, get_state, states_in
from ..audit import log_view
from ..components import tree
from ..operations import log_name
from ..page import AdminPage, outage
from ..people import ParticipantRow, rows_of, sensitive_names
from ..progress import PositionReader, progress_word
from ..redaction import redact_meta, redact_state
from ..timeline import describe
from .operate import menu
from .session import missing_context, session_urls


class StateCard(NamedTuple):
    """A state as the page shows it.

    `tree` is None if it is not shown; `problem` says why. `version` is that of the
    stored data, `declared` that of this process; 0: not declared. `hidden` counts the
    redacted values.
    """

    name: str
    bytes: int
    version: int
    declared: int
    tree: SafeString | None
    problem: str
    hidden: int
    url: str
    edit_url: str


def participant(page: AdminPage, code: str, id: str = SESSION) -> HttpResponse:
    """Show one record; without `view_state`, everything but the states."""
    key = StoreKey.stored(code, id)
    found = content(page, key)
    if "missing" in found:
        return page.render("missing", title=str(key), status=404, **found)
    if page.rights.state and "outage" not in found:
        log_view(page.user_id, log_name(key), refresh=False)
    return page.live(
        "participant",
        title=_title(key, found.get("person")),
        fragment_url=page.url("participant_live", code, id),
        topic=code,
        act_url=page.url("participants_act", code),
        **found,
    )


def _title(key: StoreKey, person: ParticipantRow | None) -> str:
    """Return who it is, with their role; the title of a session's own page."""
    if key.is_session:
        return _("The session’s own state")
    return f"{person.called} · {person.role_text}" if person else key.participant


def participant_live(page: AdminPage, code: str, id: str) -> HttpResponse:
    """Return the part of the page that refreshes itself."""
    key = StoreKey.stored(code, id)
    found = content(page, key)
    if page.rights.state and "record" in found:
        log_view(page.user_id, log_name(key), refresh=True)
    return page.fragment("participant", **found)


def content(page: AdminPage, key: StoreKey) -> dict[str, Any]:
    """Return the context of both, from four round trips to the cache."""
    backend = get_backend(blocking=True)
    common = {**session_urls(page, key.session), "key": key, "id": key.participant}
    try:
        infos = run(backend.participants(key.session))
        record = run(backend.read(key, touch=False))
        leases = run(backend.connections(key))
        info = run(backend.session(key.session))
        if info is None or not isinstance(record, Record):
            return {**missing_context(page, backend, key.session), **common}
    except (StoreUnavailable, InsideTransaction) as error:
        return {**outage(error), **common}
    except StateCorrupt as error:
        return {"corrupt": str(error), **common}
    leases = [] if key.is_session else leases
    reader = PositionReader(backend, texts=page.rights.state)
    person = _person(record, leases, infos, info, reader, backend.clock())
    sensitive = sensitive_names()
    return {
        **common,
        "record": record,
        "operations": menu("participants")
        if page.rights.manage and not key.is_session
        else (),
        "person": person,
        "word": progress_word("session" if key.is_session else "participant"),
        "timeline": []
        if key.is_session
        else [each for each in describe(info.events) if each.who == key.participant],
        "kept": person.info.kept_until > record.seen + conf.get().idle_timeout,
        "states": [
            _card(page, record, name, stored)
            for name, stored in sorted(record.states.items())
        ]
        if page.rights.state
        else [],
        "unused": _unused(record),
        "names": sorted(record.states),
        "connections": [
            {
                **lease._asdict(),
                "meta_text": redact_meta(
                    lease.meta, sensitive, whole=page.rights.state
                ),
            }
            for lease in sorted(leases, key=lambda lease: lease.since)
        ],
        "cache_key": _cache_key_text(key),
        "cache": conf.get().cache,
        "backend": type(backend).__name__,
        "limit": conf.get().max_state_bytes,
        "idle_minutes": conf.get().idle_timeout / 60,
        **_neighbours(page, infos, key),
        "summary": _("Revision %(rev)s") % {"rev": record.rev},
    }


def _cache_key_text(key: StoreKey) -> str:
    """Return the key of a record in the cache, for an operator to look it up."""
    kind, name = ("s", "") if key.is_session else ("p", key.participant)
    return cache_key(conf.get().key_prefix, key.session, kind, name)


def _person(
    record: Record,
    leases: list[Lease],
    infos: list[ParticipantInfo],
    session: SessionInfo,
    reader: PositionReader,
    now: float,
) -> ParticipantRow:
    id = record.key.participant
    listed = {info.id: info for info in infos}.get(id)
    info = ParticipantInfo(
        id,
        record.rev,
        record.created,
        record.seen,
        record.bytes,
        sum(not lease.leaving for lease in leases),
        listed.kept_until if listed else 0.0,
        listed.profile if listed else UNKNOWN,
        listed.shown_name if listed else "",
    )
    scope: Scope = "session" if record.key.is_session else "participant"
    positions = {id: reader.of_record(record.states, scope)}
    entries, present = describe(session.events), attendees(leases)
    (row,) = rows_of([info], present, entries, session, now=now, positions=positions)
    return row


def _neighbours(
    page: AdminPage, infos: list[ParticipantInfo], key: StoreKey
) -> dict[str, str]:
    """Return the neighbours by id; the session's own record comes before all."""
    names = {info.id: info.profile.name or info.id for info in infos}
    ids = [SESSION, *names]
    place = ids.index(key.participant) if key.participant in ids else len(ids)
    around = {"previous": ids[place - 1 : place], "following": ids[place + 1 :][:1]}
    found = {}
    for name, id in around.items():
        shown = id[0] if id else ""
        is_session = shown == SESSION
        found[name] = (
            pgettext("live", "session") if is_session else names.get(shown, "")
        )
        found[f"{name}_url"] = (
            page.url("participant", key.session, shown) if shown else ""
        )
    return found


def _unused(record: Record) -> list[str]:
    """Return the names of declared states that the record does not have yet."""
    classes = states_in("session" if record.key.is_session else "participant")
    declared = {cls.__sessionstores__.name for cls in classes}
    return sorted(declared - record.states.keys())


def _card(page: AdminPage, record: Record, name: str, stored: bytes) -> StateCard:
    key = record.key
    version = int(stored.partition(b":")[0]) if stored[:1].isdigit() else 0
    drawn, problem, hidden, declared = None, "", 0, 0
    url = page.url("download", *key, name)
    try:
        declared = get_state(name).__sessionstores__.version
        redacted = redact_state(record, name)
        hidden = len(redacted.placeholders)
        drawn = tree.draw(redacted.data, redacted.placeholders, url)
    except UnknownState:
        problem = _(
            "No state of this name is declared any more, so it is not known which "
            "parts of it are sensitive: it is not shown."
        )
    except StateCorrupt as error:
        problem = _newer() if error.newer else _unreadable()
    may_edit = page.rights.manage and drawn is not None
    return StateCard(
        name,
        len(stored),
        version,
        declared,
        drawn,
        problem,
        hidden,
        url if drawn else "",
        page.url("edit", *key, name) if may_edit else "",
    )


def _newer() -> str:
    return _(
        "It is of a newer version than this process declares, so it is not known which "
        "parts of it are sensitive: it is not shown."
    )


def _unreadable() -> str:
    # Without the text of the error, which may quote the data.
    return _(
        "It does not fit its declaration in this process, so it is not known which "
        "parts of it are sensitive: it is not shown. The server’s log says more once "
        "somebody uses it."
    )
