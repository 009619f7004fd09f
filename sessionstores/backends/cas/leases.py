"""Who is connected, over a compare-and-set primitive.

A participant's connections share one value, whose step from none to some is a join,
and from some to none a leave: of all who write, one makes it. Who has any is told by
the session's attendance, an index of ids. It is written before the first connection
and after the last; both look again at what they may have crossed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from ... import conf
from ...exceptions import StateCorrupt, StoreUnavailable
from ...keys import StoreKey
from ..types import Lease
from .key_value import ABSENT
from .revocations import Revocations
from .serializers import (
    LeaseEntry,
    decode_connections,
    encode,
    has_line,
    ids_in,
    with_line,
    without_lines,
)


class Connections(Revocations):
    """What tabs need."""

    def _connections_lifetime(self) -> float:
        given = conf.get()
        # So long there is somebody to reap them, if there will ever be.
        return given.presence_lease + given.leave_grace + 2 * given.idle_timeout

    async def lease(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """See `Backend.lease`."""
        by_key: dict[StoreKey, list[Lease]] = {}
        for lease in leases:
            by_key.setdefault(lease.key, []).append(lease)
        await self._attend(by_key)
        joined = await self._enter_connections(by_key)
        await self._follow(leases, conf.get().presence_lease)
        # Last, so that an eviction sees either the lease or a record just touched.
        for key in by_key:
            with suppress(StateCorrupt):
                await self.touch(key)
        if joined:
            await self._attend(await self._unattended(joined))
        return joined

    async def _enter_connections(
        self, leases: Mapping[StoreKey, Sequence[Lease]]
    ) -> list[StoreKey]:
        window = conf.get().presence_lease

        def entering(several: Sequence[Lease]) -> Callable[[bytes], bytes]:
            def enter(value: bytes) -> bytes:
                now = self._clock()
                entries = {entry.id: entry for entry in decode_connections(value)}
                for lease in several:
                    known = entries.get(lease.connection)
                    since = known.since if known else now
                    entry = LeaseEntry.of(lease, since, now + window)
                    entries[lease.connection] = entry
                return encode(list(entries.values()))

            return enter

        names = {self._connections(key): key for key in leases}
        replaced = await self._update_all(
            {name: entering(leases[key]) for name, key in names.items()},
            self._connections_lifetime(),
        )
        return [
            key for name, key in names.items() if not decode_connections(replaced[name])
        ]

    async def release(self, lease: Lease, *, grace: float = 0) -> bool:
        """See `Backend.release`."""
        await self._unfollow(lease, conf.get().presence_lease)

        def leave(value: bytes) -> bytes:
            kept = []
            for entry in decode_connections(value):
                if entry.id != lease.connection:
                    kept.append(entry)
                elif grace > 0:
                    deadline = self._clock() + grace
                    kept.append(entry._replace(deadline=deadline, leaving=True))
            return encode(kept) if kept else b""

        name = self._connections(lease.key)
        before = await self._update(name, leave, self._connections_lifetime())
        if grace > 0 or [e.id for e in decode_connections(before)] != [
            lease.connection
        ]:
            return False
        await self._strike([lease.key])
        return True

    async def reap(self, codes: Sequence[str]) -> list[StoreKey]:
        """See `Backend.reap`."""
        attending = await self._attending(codes)
        entries = await self._entries_of(attending)
        now = self._clock()
        absent, left = [], []
        try:
            for key, held in entries.items():
                if not held:
                    absent.append(key)
                elif min(e.deadline for e in held) <= now and await self._reap(key):
                    left.append(key)
        except StoreUnavailable:
            # Who has been found to have left is not found again.
            if not left:
                raise
        await self._strike([*absent, *left])
        return left

    async def _reap(self, key: StoreKey) -> bool:
        """Remove what has run out; True if that took the participant's last."""
        kept: list[LeaseEntry] = []

        def drop(value: bytes) -> bytes:
            now = self._clock()
            kept[:] = [e for e in decode_connections(value) if e.deadline > now]
            return encode(kept) if kept else b""

        name = self._connections(key)
        before = await self._update(name, drop, self._connections_lifetime())
        return not kept and bool(decode_connections(before))

    # The attendance

    async def _attend(self, keys: Collection[StoreKey]) -> None:
        """Enter participants, and keep those who are there."""

        def entering(ids: Sequence[str]) -> Callable[[bytes], bytes]:
            def enter(index: bytes) -> bytes:
                for id in ids:
                    index = with_line(index, id)
                return index

            return enter

        changes = {
            self._attendance(session): entering(ids)
            for session, ids in ids_by_session(keys).items()
        }
        await self._update_all(changes, self._connections_lifetime())

    async def _strike(self, keys: Collection[StoreKey]) -> None:
        """Take those out who have no connection; a line too many does no harm.

        Only from the index as it was before they were looked at: who has come since
        has written it anew.
        """
        sessions = ids_by_session(keys)
        names = {session: self._attendance(session) for session in sessions}
        with suppress(StoreUnavailable):
            found = await self._get(*names.values())
            entries = await self._entries_of(keys)
            absent = [key for key, held in entries.items() if not held]
            for session, ids in ids_by_session(absent).items():
                index = found.get(names[session], ABSENT)
                if kept := without_lines(index.value, ids):
                    lifetime = self._connections_lifetime()
                    await self._put(names[session], index.token, kept, lifetime)
                elif index.token is not None:
                    await self._drop(names[session], index.token)
            entries = await self._entries_of(absent)
            await self._attend([key for key, held in entries.items() if held])

    async def _unattended(self, keys: Collection[StoreKey]) -> list[StoreKey]:
        names = {key: self._attendance(key.session) for key in keys}
        found = await self._get(*set(names.values()))
        return [
            key
            for key, name in names.items()
            if not has_line(found.get(name, ABSENT).value, key.participant)
        ]

    async def _attending(self, codes: Collection[str]) -> list[StoreKey]:
        names = {code: self._attendance(code) for code in codes}
        found = await self._get(*names.values())
        return [
            StoreKey(code, id)
            for code, name in names.items()
            for id in ids_in(found.get(name, ABSENT).value)
        ]

    # Looking

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        if key.is_session:
            return (await self.connections_of([key.session]))[key.session]
        return leases_of(await self._connections_of([key]))

    async def connections_of(self, codes: Sequence[str]) -> dict[str, list[Lease]]:
        """See `Backend.connections_of`."""
        leases: dict[str, list[Lease]] = {code: [] for code in codes}
        by_key = await self._connections_of(await self._attending(list(leases)))
        for lease in leases_of(by_key):
            leases[lease.key.session].append(lease)
        return leases

    async def _connections_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, list[LeaseEntry]]:
        """Return those that have not run out."""
        entries = await self._entries_of(keys)
        now = self._clock()
        return {
            key: [entry for entry in held if entry.deadline > now]
            for key, held in entries.items()
        }

    async def _entries_of(
        self, keys: Collection[StoreKey]
    ) -> dict[StoreKey, list[LeaseEntry]]:
        names = {key: self._connections(key) for key in keys}
        found = await self._get(*names.values())
        return {
            key: decode_connections(found.get(name, ABSENT).value)
            for key, name in names.items()
        }


def leases_of(connections: Mapping[StoreKey, Sequence[LeaseEntry]]) -> list[Lease]:
    """Return connections as the contract shows them."""
    return [entry.lease(key) for key, held in connections.items() for entry in held]


def ids_by_session(keys: Collection[StoreKey]) -> dict[str, list[str]]:
    """Return the ids of each session among `keys`."""
    sessions: dict[str, list[str]] = {}
    for session, id in keys:
        sessions.setdefault(session, []).append(id)
    return sessions
