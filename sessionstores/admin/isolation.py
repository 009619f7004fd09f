"""Looks whether the participants of a session share anything that they must not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import conf
from ..backends.base import EVERYONE, Lease, ParticipantInfo
from ..hub import hubs
from ..keys import SESSION, StoreKey, cache_key


class Probe(NamedTuple):
    """One question, whether all is well, and the answer in words."""

    name: str
    good: bool
    text: str


def probe(
    code: str, participants: Sequence[ParticipantInfo], leases: Sequence[Lease]
) -> list[Probe]:
    """Return what three looks find; they ask nothing of the cache beyond the arguments.

    Keys are what records are stored under. A rev is drawn at random for every commit
    of one record, so two participants at the same one would be looking at the same
    record. A connection may follow its own participant and the session, and others
    only where its role watches them.
    """
    return [
        _keys(code, participants),
        _records(participants),
        _connections(code, leases),
    ]


def _keys(code: str, participants: Sequence[ParticipantInfo]) -> Probe:
    prefix = conf.get().key_prefix
    keys = {cache_key(prefix, code, "p", each.id) for each in participants}
    shared = len(participants) - len(keys)
    text = ngettext(
        "%(count)d participant, %(keys)d key", "%(count)d participants, %(keys)d keys",
        len(participants),
    )  # fmt: skip
    return Probe(
        _("Keys"), not shared, text % {"count": len(participants), "keys": len(keys)}
    )


def _records(participants: Sequence[ParticipantInfo]) -> Probe:
    counts = Counter(str(each.rev) for each in participants)
    shared = sorted(each.id for each in participants if counts[str(each.rev)] > 1)
    if shared:
        text = _("The same record for %(ids)s") % {"ids": ", ".join(shared[:5])}
    else:
        text = _("No two at the same revision")
    return Probe(_("Records"), not shared, text)


def _connections(code: str, leases: Sequence[Lease]) -> Probe:
    astray = {
        lease.key.participant
        for lease in leases
        if lease.key.session != code
        or not {SESSION, lease.key.participant, EVERYONE} & lease.follows
    }
    watching = set()
    for hub in list(hubs.values()):
        for connection in list(hub.connections.values()):
            if connection.key.session != code:
                continue
            for key in list(connection.documents):
                if key.session != code:
                    astray.add(connection.key.participant)
                elif not _is_own(connection.key, key):
                    watching.add(connection.key.participant)
    if astray:
        text = _("Out of its session: %(ids)s") % {"ids": ", ".join(sorted(astray)[:5])}
    elif watching:
        text = _("Each follows its own; watching by role: %(ids)s") % {
            "ids": ", ".join(sorted(watching)[:5])
        }
    else:
        text = _("Each follows its own")
    return Probe(_("Connections"), not astray, text)


def _is_own(owner: StoreKey, key: StoreKey) -> bool:
    return key == owner or key.is_session
