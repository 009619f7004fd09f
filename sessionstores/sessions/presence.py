"""Presence: the participants of a session with connections, and since when.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Any

import msgspec
from django.dispatch import Signal

from .. import event_bus, signals
from ..backends.base import Backend
from ..backends.types import Lease
from ..exceptions import SessionStoresError
from ..keys import StoreKey
from ..monitoring.log_limiter import log_limiter

logger = logging.getLogger("sessionstores.presence")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Attendee(msgspec.Struct, frozen=True):
    """A participant who is present.

    `since`: when the oldest of their connections was opened, in seconds since the
    epoch. `connections`: the number of open ones. `metas`: the meta of each, in the
    order in which they were opened. `leaving`: none is open, but the last one closed
    without a goodbye and so recently that it may be a reload; `metas` has its meta.
    """

    id: str
    since: float
    connections: int
    metas: tuple[dict[str, Any], ...]
    leaving: bool


def attendees(leases: Iterable[Lease]) -> dict[str, Attendee]:
    """Return the participants who hold leases of one session, by id, sorted."""
    return {
        id: Attendee(
            id,
            min(lease.since for lease in several),
            sum(not lease.leaving for lease in several),
            tuple(_decode(lease.meta) if lease.meta else {} for lease in seen),
            seen[0].leaving,
        )
        for id, several, seen in _by_participant(leases)
    }


def metas_of(leases: Iterable[Lease]) -> dict[str, tuple[bytes, ...]]:
    """Return the encoded metas of the participants of one session, by id."""
    return {
        id: tuple(lease.meta for lease in seen)
        for id, _, seen in _by_participant(leases)
    }


def _by_participant(
    leases: Iterable[Lease],
) -> Iterable[tuple[str, list[Lease], list[Lease]]]:
    """Yield ids with all leases, and with those that are shown to others."""

    def order(lease: Lease) -> tuple[str, float, str]:
        return lease.key.participant, lease.since, lease.connection

    ordered = sorted(leases, key=order)
    for id, group in groupby(ordered, lambda lease: lease.key.participant):
        several = list(group)
        # One of those that are leaving is enough: more of them are repeated reloads.
        live = [lease for lease in several if not lease.leaving]
        yield id, several, live or several[-1:]


async def attendance(backend: Backend, session: str) -> dict[str, Attendee]:
    """Return the participants present in a session, by id, sorted; one round trip."""
    found = await backend.connections_of([session])
    return attendees(found.get(session, ()))


async def reap(
    backend: Backend,
    sessions: Collection[str],
    *,
    besides: frozenset[str] = frozenset(),
) -> list[StoreKey]:
    """Remove expired connections; announce and return the participants who left.

    Safe with any number of callers at once: each leave is announced by one of them.
    Processes in `besides` are not notified.
    """
    absent = await backend.reap(list(sessions))
    for session in dict.fromkeys(key.session for key in absent):
        await notify(backend, session, besides=besides)
    await left(backend, absent)
    return absent


async def notify(
    backend: Backend,
    session: str,
    *,
    besides: frozenset[str] = frozenset(),
    changed: StoreKey | None = None,
) -> None:
    """Have the processes with tabs of a session read again who is present.

    With `changed`, that participant's name or role is what is new. A hint, since each
    process reads at every heartbeat anyway: if the cache does not answer, no process is
    notified, and nothing is raised.
    """
    key = StoreKey.of_session(session)
    try:
        followers = await backend.followers(key) - besides
    except SessionStoresError as error:
        text = "%s: presence is updated at the next beat only: %s"
        log_limiter(backend).log(logger, logging.INFO, text, session, error)
        return
    if followers and changed is not None:
        event_bus.bus.publish(event_bus.ProfileChange(changed, followers))
    elif followers:
        event_bus.bus.publish(event_bus.Attendance(key, followers))


async def joined(backend: Backend, keys: Collection[StoreKey]) -> None:
    """Send `participant_joined` for what `Backend.lease` returned."""
    await _send(backend, signals.participant_joined, "joined", keys)


async def left(backend: Backend, keys: Collection[StoreKey]) -> None:
    """Send `participant_left` for those whose last connection has closed."""
    await _send(backend, signals.participant_left, "left", keys)


async def _send(
    backend: Backend, signal: Signal, kind: str, keys: Collection[StoreKey]
) -> None:
    for key in keys:
        event_bus.bus.publish(event_bus.Note(key, kind))
        if signal.receivers:
            await signals.emit(
                signal,
                blocking=backend.blocking,
                sender=Attendee,
                session=key.session,
                participant=key.participant,
            )
