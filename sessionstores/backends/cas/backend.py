"""The contract of a backend, composed of parts over one key-value store."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ...exceptions import StateCorrupt
from ...keys import StoreKey
from ...state.revisions import Rev
from ..base import Backend
from ..types import (
    UNKNOWN,
    Attempt,
    Committed,
    Finding,
    Lease,
    Opened,
    ParticipantInfo,
    Profile,
    ProfileRule,
    Quarantined,
    Record,
    Removed,
    ServerInfo,
    SessionInfo,
    SessionSummary,
    Stale,
    Standing,
    StateAtRev,
    Unchanged,
    Value,
)
from .creation import RecordCreation
from .followers import Followers
from .index import Index
from .keeping import ParticipantKeeping
from .key_value import KeyValueStore
from .keys import value_key
from .kicks import Kicks
from .leases import Leases
from .orphans import Orphans
from .profiles import Profiles
from .records import Records
from .removal import RecordRemoval
from .revocations import Revocations
from .serializers import RecordDecoder
from .sessions import Sessions
from .summaries import SummaryReader
from .values import Values

T = TypeVar("T")
# A method that only passes on a part's coroutine is a plain function, which saves a
# frame.
Answer = Coroutine[Any, Any, T]


class CasBackend(Backend):
    """A backend over any store with compare-and-set on single keys: `KeyValueStore`."""

    def __init__(
        self, store: KeyValueStore, *, decoder: RecordDecoder | None = None
    ) -> None:
        super().__init__(blocking=store.blocking)
        self.store = store
        self._decoder = RecordDecoder() if decoder is None else decoder
        self._values = values = Values(store)
        self._index = index = Index(values)
        self._followers = Followers(values)
        self._leases = Leases(values)
        self._revocations = Revocations(values, index)
        keeping = ParticipantKeeping(values, index)
        creation = RecordCreation(values, index, keeping)
        self._records = Records(
            values, index, creation, keeping, self._followers, self._decoder
        )
        self._profiles = Profiles(values)
        self._removal = RecordRemoval(values, index, self._followers)
        self._kicks = Kicks(values, index, self._removal)
        self._sessions = Sessions(
            values, index, creation, self._removal, self._leases, keeping
        )
        self._summaries = SummaryReader(values, index)
        self._orphans = Orphans(values, index, self._removal)

    @property
    def shared(self) -> bool:
        """See `Backend.shared`."""
        return self.store.shared

    @property
    def in_memory(self) -> bool:
        """See `Backend.in_memory`."""
        return self.store.in_memory

    async def now(self) -> float:
        """See `Backend.now`."""
        return self.store.clock()

    # Records

    def open(
        self,
        key: StoreKey,
        states: Mapping[str, bytes],
        *,
        admitted: bool = False,
        profile: Profile = UNKNOWN,
    ) -> Answer[Opened]:
        """See `Backend.open`."""
        return self._records.open(key, states, admitted=admitted, profile=profile)

    def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Answer[Record | Unchanged | None]:
        """See `Backend.read`."""
        return self._records.read(key, known=known, touch=touch)

    def read_states(
        self, code: str, name: str, ids: Sequence[str] | None = None
    ) -> Answer[dict[str, StateAtRev | StateCorrupt]]:
        """See `Backend.read_states`."""
        return self._records.read_states(code, name, ids)

    def read_records(
        self, code: str, ids: Sequence[str]
    ) -> Answer[dict[str, Record | StateCorrupt]]:
        """See `Backend.read_records`."""
        return self._records.read_records(code, ids)

    def heads(self, keys: Sequence[StoreKey]) -> Answer[dict[StoreKey, Rev | None]]:
        """See `Backend.heads`."""
        return self._records.heads(keys)

    def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempts: Sequence[Attempt] = (),
        *,
        repeated: bool = False,
        is_change: bool = True,
    ) -> Answer[Committed | Stale]:
        """See `Backend.commit`."""
        return self._records.commit(
            base, rev, states, attempts, repeated=repeated, is_change=is_change
        )

    def touch(self, key: StoreKey, *, acted: bool = False) -> Answer[bool]:
        """See `Backend.touch`."""
        return self._records.touch(key, acted=acted)

    def delete(self, key: StoreKey) -> Answer[Removed | None]:
        """See `Backend.delete`."""
        return self._removal.delete(key)

    def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> Answer[bool]:
        """See `Backend.set_aside`."""
        return self._records.set_aside(key, name, data)

    def quarantined(self, name: str) -> Answer[Quarantined | None]:
        """See `Backend.quarantined`."""
        return self._records.quarantined(name)

    def set_profile(
        self, key: StoreKey, given: Profile, how: ProfileRule = "set"
    ) -> Answer[Profile | None]:
        """See `Standings.set_profile`."""
        return self._profiles.set(key, given, how)

    def remember_name(self, key: StoreKey, name: str) -> Answer[None]:
        """See `Standings.remember_name`."""
        return self._profiles.remember_name(key, name)

    def profiles(self, keys: Sequence[StoreKey]) -> Answer[dict[StoreKey, Profile]]:
        """See `Standings.profiles`."""
        return self._profiles.read(keys)

    # Sessions

    def create_session(
        self, code: str, *, label: str, keep: float, keep_participants: bool = True
    ) -> Answer[bool]:
        """See `Backend.create_session`."""
        return self._sessions.create(
            code, label=label, keep=keep, keep_participants=keep_participants
        )

    def session(self, code: str) -> Answer[SessionInfo | None]:
        """See `Backend.session`."""
        return self._sessions.info(code)

    def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        extend: float | None = None,
    ) -> Answer[SessionInfo | None]:
        """See `Backend.update_session`."""
        return self._sessions.update(
            code, label=label, keep=keep, locked=locked, extend=extend
        )

    def note(
        self, code: str, events: Sequence[Mapping[str, Any]], *, changes: int = 0
    ) -> Answer[None]:
        """See `Backend.note`."""
        return self._sessions.note(code, events, changes=changes)

    def end_session(self, code: str) -> Answer[list[Removed]]:
        """See `Backend.end_session`."""
        return self._sessions.end(code)

    def delete_session(self, code: str) -> Answer[list[Removed]]:
        """See `Backend.delete_session`."""
        return self._removal.clear_session(code)

    def sessions(self) -> Answer[list[str]]:
        """See `Backend.sessions`."""
        return self._index.sessions()

    def participants(self, code: str) -> Answer[list[ParticipantInfo]]:
        """See `Backend.participants`."""
        return self._sessions.participants(code)

    def session_count(self) -> Answer[int]:
        """See `Backend.session_count`."""
        return self._index.session_count()

    def participant_count(self, code: str | None = None) -> Answer[int]:
        """See `Backend.participant_count`."""
        return self._index.participant_count(code)

    def evict_idle(
        self,
        code: str,
        *,
        idle_for: float,
        limit: int,
        participant: str | None = None,
        with_states: bool = True,
    ) -> Answer[list[Removed]]:
        """See `Backend.evict_idle`."""
        return self._sessions.evict_idle(
            code,
            idle_for=idle_for,
            limit=limit,
            participant=participant,
            with_states=with_states,
        )

    def evict_empty_session(self, code: str, *, idle_for: float) -> Answer[bool]:
        """See `Backend.evict_empty_session`."""
        return self._sessions.evict_empty(code, idle_for=idle_for)

    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """See `Backend.due_sessions`. Returns all: the index keeps no times of use."""
        return [code for code in await self.sessions() if code > after][:limit]

    def orphans(self) -> Answer[list[StoreKey] | None]:
        """See `Backend.orphans`."""
        return self._orphans.find()

    def reindex(self, key: StoreKey) -> Answer[bool]:
        """See `Backend.reindex`."""
        return self._orphans.reindex(key)

    def summaries(self) -> Answer[list[SessionSummary]]:
        """See `Backend.summaries`."""
        return self._summaries.summaries()

    # Tokens

    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.revoke`."""
        await self._revocations.revoke(key)
        return await self._followers.followers(key)

    def standings(
        self, keys: Sequence[StoreKey], *, profiles: bool = False
    ) -> Answer[dict[StoreKey, Standing]]:
        """See `Backend.standings`."""
        return self._revocations.standings(keys, profiles=profiles)

    def kick(self, key: StoreKey) -> Answer[Removed | None]:
        """See `Standings.kick`."""
        return self._kicks.kick(key)

    def readmit(self, key: StoreKey) -> Answer[bool]:
        """See `Standings.readmit`."""
        return self._kicks.readmit(key)

    def kicked(self, code: str) -> Answer[dict[str, float]]:
        """See `Standings.kicked`."""
        return self._kicks.kicked(code)

    # Connections

    async def lease(self, leases: Sequence[Lease]) -> list[StoreKey]:
        """See `Backend.lease`."""
        joined = await self._leases.enter(leases)
        await self._followers.follow(leases)
        # Last, so that an eviction sees either the lease or a record just touched.
        acted = {lease.key for lease in leases if lease.acted}
        for key in dict.fromkeys(lease.key for lease in leases):
            with suppress(StateCorrupt):
                await self._records.touch(key, acted=key in acted)
        await self._leases.confirm(joined)
        return joined

    async def release(self, lease: Lease, *, grace: float = 0) -> bool:
        """See `Backend.release`."""
        await self._followers.unfollow(lease)
        return await self._leases.leave(lease, grace=grace)

    def reap(self, codes: Sequence[str]) -> Answer[list[StoreKey]]:
        """See `Backend.reap`."""
        return self._leases.reap(codes)

    def connections(self, key: StoreKey) -> Answer[list[Lease]]:
        """See `Backend.connections`."""
        return self._leases.connections(key)

    def connections_of(self, codes: Sequence[str]) -> Answer[dict[str, list[Lease]]]:
        """See `Backend.connections_of`."""
        return self._leases.connections_of(codes)

    def followers(self, key: StoreKey) -> Answer[frozenset[str]]:
        """See `Backend.followers`."""
        return self._followers.followers(key)

    # Shared values

    async def value(self, name: str) -> Value:
        """See `Backend.value`."""
        return (await self.values([name]))[name]

    async def values(self, names: Sequence[str]) -> dict[str, Value]:
        """See `Backend.values`."""
        keys = {name: value_key(name) for name in names}
        found = await self._values.get(*keys.values())
        return {
            name: Value(found[key].value, found[key].token)
            if key in found
            else Value(None, None)
            for name, key in keys.items()
        }

    async def swap_value(
        self, name: str, token: object, data: bytes, *, seconds: float
    ) -> bool:
        """See `Backend.swap_value`."""
        return await self._values.put(value_key(name), token, data, seconds) is not None

    # The store

    def server(self) -> Answer[ServerInfo | None]:
        """See `Backend.server`."""
        return self.store.server()

    def examine(self) -> Answer[list[Finding]]:
        """See `Backend.examine`."""
        return self.store.examine()

    async def clear(self) -> None:
        """See `Backend.clear`."""
        await self.store.clear()
        self._decoder.clear()
