"""Isolation checks: participants of a session share no record, tab or object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..backends.types import EVERYONE, Lease, ParticipantInfo
from ..keys import SESSION, StoreKey
from ..realtime.connection import Connection
from ..realtime.hub import hubs


class IsolationProbe(NamedTuple):
    """One check: its name, whether it passed, and the result in words."""

    name: str
    good: bool
    text: str


def probe(
    code: str, participants: Sequence[ParticipantInfo], leases: Sequence[Lease]
) -> list[IsolationProbe]:
    """Return the results of three checks. No I/O beyond what the arguments took.

    Records: revs are random, so two participants at one rev would share a record.
    Connections: each follows its own participant and session, and others only if its
    role may watch them. Objects: no two tabs of this process share an outbox or a
    document.
    """
    tabs = [
        connection
        for hub in list(hubs.values())
        for connection in list(hub.connections.values())
        if connection.key.session == code
    ]
    return [_records(participants), _connections(code, leases, tabs), _objects(tabs)]


def _records(participants: Sequence[ParticipantInfo]) -> IsolationProbe:
    counts = Counter(str(each.rev) for each in participants)
    shared = sorted(each.id for each in participants if counts[str(each.rev)] > 1)
    if shared:
        text = _("The same record for %(ids)s") % {"ids": ", ".join(shared[:5])}
    else:
        text = _("No two participants at one revision")
    return IsolationProbe(_("Records"), not shared, text)


def _connections(
    code: str, leases: Sequence[Lease], tabs: Sequence[Connection]
) -> IsolationProbe:
    misplaced = {
        lease.key.participant
        for lease in leases
        if lease.key.session != code
        or not {SESSION, lease.key.participant, EVERYONE} & lease.follows
    }
    watching = set()
    for tab in tabs:
        watched = list(tab.watch_list.documents.values())
        for key in [*list(tab.documents), *(document.key for document in watched)]:
            if key.session != code:
                misplaced.add(tab.key.participant)
            elif not _is_own(tab.key, key):
                watching.add(tab.key.participant)
    if misplaced:
        text = _("Follows another session: %(ids)s") % {
            "ids": ", ".join(sorted(misplaced)[:5])
        }
    elif watching:
        text = _("Each follows its own; watching by role: %(ids)s") % {
            "ids": ", ".join(sorted(watching)[:5])
        }
    else:
        text = _("Each follows its own")
    return IsolationProbe(_("Connections"), not misplaced, text)


def _objects(tabs: Sequence[Connection]) -> IsolationProbe:
    owners: dict[int, set[str]] = {}
    names = {tab.id: tab.key.participant for tab in tabs}
    for tab in tabs:
        watched = list(tab.watch_list.documents.values())
        for part in (tab.outbox, *list(tab.documents.values()), *watched):
            owners.setdefault(id(part), set()).add(tab.id)
    shared = {names[tab] for each in owners.values() if len(each) > 1 for tab in each}
    if shared:
        text = _("Two tabs share an object: %(ids)s") % {
            "ids": ", ".join(sorted(shared)[:5])
        }
    elif not tabs:
        text = _("The process that answers has no open tab")
    else:
        text = ngettext(
            "%(count)d tab in the process that answers, nothing shared",
            "%(count)d tabs in the process that answers, nothing shared",
            len(tabs),
        ) % {"count": len(tabs)}
    return IsolationProbe(_("Objects"), not shared, text)


def _is_own(owner: StoreKey, key: StoreKey) -> bool:
    return key == owner or key.is_session
