"""Leases: the connections of participants, and who is connected.

A participant's connections share one value, whose step from none to some is a join,
and from some to none a leave: of all who write it, one makes that step. The session's
attendance is an index of the participants with connections. It is written before the
first connection and after the last; both then check what may have interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import StoreKey
from ..types import Lease
from .key_value import ABSENT
from .keys import attendance_key, leases_key, leases_keys
from .serializers import (
    LeaseEntry,
    decode_connections,
    encode,
    has_line,
    ids_in,
    with_line,
    without_lines,
)
from .values import Values


class Leases:
    """Enters, renews, removes and lists leases."""

    def __init__(self, values: Values) -> None:
        self._values = values

    async def enter(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """Enter or renew connections; return the participants who have joined.

        `confirm` must follow, once all else that a join implies is written.
        """
        by_key: dict[StoreKey, list[Lease]] = {}
        for lease in leases:
            by_key.setdefault(lease.key, []).append(lease)
        await self._attend(by_key)
        window = conf.get().presence_lease

        def entering(several: Sequence[Lease]) -> Callable[[bytes], bytes]:
            def enter(value: bytes) -> bytes:
                now = self._values.now()
                entries = {entry.id: entry for entry in decode_connections(value)}
                for lease in several:
                    known = entries.get(lease.connection)
                    since = known.since if known else now
                    entry = LeaseEntry.of(lease, since, now + window)
                    entries[lease.connection] = entry
                return encode(list(entries.values()))

            return enter

        names = {leases_key(key): key for key in by_key}
        replaced = await self._values.update_all(
            {name: entering(by_key[key]) for name, key in names.items()},
            _lifetime(),
        )
        return [
            key for name, key in names.items() if not decode_connections(replaced[name])
        ]

    async def confirm(self, joined: Collection[StoreKey]) -> None:
        """Enter joined participants again if a simultaneous leave has removed them."""
        if joined:
            await self._attend(await self._missing_from_attendance(joined))

    async def leave(self, lease: Lease, *, grace: float = 0) -> bool:
        """Remove a connection, or mark it as leaving; see `Backend.release`."""

        def leave(value: bytes) -> bytes:
            kept = []
            for entry in decode_connections(value):
                if entry.id != lease.connection:
                    kept.append(entry)
                elif grace > 0:
                    deadline = self._values.now() + grace
                    kept.append(entry._replace(deadline=deadline, leaving=True))
            return encode(kept) if kept else b""

        before = await self._values.update(leases_key(lease.key), leave, _lifetime())
        if grace > 0 or [e.id for e in decode_connections(before)] != [
            lease.connection
        ]:
            return False
        await self._remove_from_attendance([lease.key])
        return True

    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """See `Backend.reap`."""
        attending = await self._attending(codes)
        entries = await self._entries_of(attending)
        now = self._values.now()
        absent, left = [], []
        try:
            for key, held in entries.items():
                if not held:
                    absent.append(key)
                elif min(e.deadline for e in held) <= now and await self._reap(key):
                    left.append(key)
        except StoreUnavailable:
            # Another call would not find those again who have left already.
            if not left:
                raise
        await self._remove_from_attendance([*absent, *left])
        return left

    async def _reap(self, key: StoreKey) -> bool:
        """Remove expired connections; True if the participant has left with them."""
        kept: list[LeaseEntry] = []

        def drop(value: bytes) -> bytes:
            now = self._values.now()
            kept[:] = [e for e in decode_connections(value) if e.deadline > now]
            return encode(kept) if kept else b""

        before = await self._values.update(leases_key(key), drop, _lifetime())
        return not kept and bool(decode_connections(before))

    # The attendance

    async def _attend(self, keys: Collection[StoreKey]) -> None:
        """Enter participants, and renew those who are entered."""

        def entering(ids: Sequence[str]) -> Callable[[bytes], bytes]:
            def enter(index: bytes) -> bytes:
                for id in ids:
                    index = with_line(index, id)
                return index

            return enter

        changes = {
            attendance_key(session): entering(ids)
            for session, ids in ids_by_session(keys).items()
        }
        await self._values.update_all(changes, _lifetime())

    async def _remove_from_attendance(self, keys: Collection[StoreKey]) -> None:
        """Remove those without a connection; one that is left over does no harm.

        Only from the attendance as it was before their connections were read: those who
        came since have written it anew.
        """
        sessions = ids_by_session(keys)
        names = {session: attendance_key(session) for session in sessions}
        with suppress(StoreUnavailable):
            found = await self._values.get(*names.values())
            entries = await self._entries_of(keys)
            absent = [key for key, held in entries.items() if not held]
            for session, ids in ids_by_session(absent).items():
                index = found.get(names[session], ABSENT)
                if kept := without_lines(index.value, ids):
                    lifetime = _lifetime()
                    await self._values.put(names[session], index.token, kept, lifetime)
                elif index.token is not None:
                    await self._values.drop(names[session], index.token)
            entries = await self._entries_of(absent)
            await self._attend([key for key, held in entries.items() if held])

    async def _missing_from_attendance(
        self, keys: Collection[StoreKey]
    ) -> list[StoreKey]:
        names = {key: attendance_key(key.session) for key in keys}
        found = await self._values.get(*set(names.values()))
        return [
            key
            for key, name in names.items()
            if not has_line(found.get(name, ABSENT).value, key.participant)
        ]

    async def _attending(self, codes: Collection[str]) -> list[StoreKey]:
        names = {code: attendance_key(code) for code in codes}
        found = await self._values.get(*names.values())
        return [
            StoreKey.stored(code, id)
            for code, name in names.items()
            for id in ids_in(found.get(name, ABSENT).value)
        ]

    # Reading

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        if key.is_session:
            return (await self.connections_of([key.session]))[key.session]
        return _leases_of(await self.live([key]))

    async def connections_of(self, codes: Sequence[str]) -> dict[str, list[Lease]]:
        """See `Backend.connections_of`."""
        leases: dict[str, list[Lease]] = {code: [] for code in codes}
        by_key = await self.live(await self._attending(list(leases)))
        for lease in _leases_of(by_key):
            leases[lease.key.session].append(lease)
        return leases

    async def live(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, list[LeaseEntry]]:
        """Return each participant's connections that have not expired."""
        entries = await self._entries_of(keys)
        now = self._values.now()
        return {
            key: [entry for entry in held if entry.deadline > now]
            for key, held in entries.items()
        }

    async def _entries_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, list[LeaseEntry]]:
        names = leases_keys(keys)
        found = await self._values.get(*names.values())
        return {
            key: decode_connections(found[name].value) if name in found else []
            for key, name in names.items()
        }


def _lifetime() -> float:
    given = conf.get()
    # After that, no process is left that would reap them.
    return given.presence_lease + given.leave_grace + 2 * given.idle_timeout


def _leases_of(connections: Mapping[StoreKey, Sequence[LeaseEntry]]) -> list[Lease]:
    """Return connections as the contract shows them."""
    return [entry.lease(key) for key, held in connections.items() for entry in held]


def ids_by_session(keys: Collection[StoreKey]) -> dict[str, list[str]]:
    """Return the ids of each session among `keys`."""
    sessions: dict[str, list[str]] = {}
    for session, id in keys:
        sessions.setdefault(session, []).append(id)
    return sessions
