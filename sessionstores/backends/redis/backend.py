"""Backend on Redis or Valkey: each method one script, atomic on the server.

A session's keys share a slot, so a script sees all of them; the registry of sessions
is in another, so a call that creates or removes a session settles it there. What the
keys hold is documented in `lua/prelude.lua`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from ... import conf
from ...exceptions import SessionStoresError
from ...keys import StoreKey
from ...state.revisions import Rev
from ..base import Backend
from ..client_entries import NO_MERGE, merge
from ..errors import (
    MAX_ATTEMPTS,
    check_participants,
    contended,
    ended,
    is_unrelated,
    kicked,
    locked,
    outcome_unknown,
)
from ..record_cache import RecordCache
from ..types import (
    CLIENT_MEMORY,
    UNKNOWN,
    Attempt,
    Committed,
    Opened,
    Profile,
    Record,
    Removed,
    Stale,
    Unchanged,
    Value,
)
from .delegation import delegated
from .kicks import RedisKicks
from .leases import RedisLeases
from .location import location_for
from .problems import problem
from .profiles import RedisProfiles
from .quarantine import RedisQuarantine
from .registry import RedisRegistry
from .scripts import ScriptRunner
from .serializers import (
    COMMITTED,
    PackedHead,
    by_session,
    corrupt,
    pack_commit,
    pack_profile,
    pack_rev,
    record_key,
    unpack_followers,
    unpack_head,
    unpack_record,
    unpack_removed,
    unpack_rev,
)
from .server import RedisServer
from .sessions import RedisSessions

logger = logging.getLogger("sessionstores.backends")

_encode = msgspec.msgpack.Encoder().encode


class RedisBackend(Backend):
    """Records on one server, or a cluster, that all processes share.

    Records are handled here, all else in parts over the same `scripts`; these are
    made for the location of the cache `alias`, unless given.
    """

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False

    def __init__(
        self, alias: str, *, blocking: bool, scripts: ScriptRunner | None = None
    ) -> None:
        super().__init__(blocking=blocking)
        if scripts is None:
            scripts = ScriptRunner(location_for(alias), blocking=blocking)
        self._scripts = scripts
        self._recent = RecordCache()
        # Every dispatch calls it.
        self.recall = self._recent.get  # type: ignore[method-assign]
        self._registry = RedisRegistry(scripts)
        self._sessions = RedisSessions(scripts, self._registry, self._recent)
        self._leases = RedisLeases(scripts, self._registry)
        self._kicks = RedisKicks(scripts, self._recent)
        self._profiles = RedisProfiles(scripts)
        self._server = RedisServer(scripts)
        self._quarantine = RedisQuarantine(scripts, self._recent)

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        return problem(alias)

    # Records

    async def open(
        self,
        key: StoreKey,
        states: Mapping[str, bytes],
        *,
        admitted: bool = False,
        profile: Profile = UNKNOWN,
    ) -> Opened:
        """See `Backend.open`."""
        session, id = key
        given = conf.get()
        rev, session_rev = Rev.first(), Rev.first()
        may_create = False
        for _ in range(MAX_ATTEMPTS):
            reply, *rest = await self._scripts.run(
                "open",
                session,
                id,
                pack_rev(rev),
                given.idle_timeout,
                given.max_participants,
                int(may_create),
                pack_rev(session_rev),
                int(admitted),
                *pack_profile(profile),
                *(part for pair in states.items() for part in pair),
            )
            if reply == b"unfounded":
                await self._registry.register(session)
                may_create = True
                continue
            if reply != b"record" and may_create:
                await self._registry.settle(session)
            if reply == b"record":
                repair, fields, created, lost = rest
                await self._registry.repair(session, 1 if may_create else repair)
                record = self._unpack(key, fields)
                return Opened(record, created=bool(created), lost=bool(lost))
            self._refuse(reply, key, rest)
        raise contended(key)

    def _refuse(self, reply: bytes, key: StoreKey, rest: Sequence[Any]) -> None:
        if reply == b"corrupt":
            raise corrupt(key)
        if reply == b"ended":
            raise ended(key.session)
        if reply == b"kicked":
            self._recent.drop(key)
            raise kicked(key)
        if reply == b"locked":
            raise locked(key)
        check_participants(key.session, rest[0], conf.get().max_participants)

    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """See `Backend.read`. Transfers no state that `recall` has."""
        held = self._recent.get(key)
        rev = known or (held.rev if held else None)
        reply, *rest = await self._scripts.call(
            "read",
            (record_key(key),),
            (pack_rev(rev) if rev else b"", conf.get().idle_timeout),
        )
        if reply == b"absent":
            self._recent.drop(key)
            return None
        if reply == b"corrupt":
            raise corrupt(key)
        due, found = rest
        if reply == b"record":
            record = self._unpack(key, found)
        elif held is not None and held.rev == rev:
            record = msgspec.structs.replace(held, seen=unpack_head(found).seen)
        else:
            record = None
        if due and touch:
            head = await self._mark_used(key)
            if head is None:
                return None
            if record is not None:
                record = msgspec.structs.replace(record, seen=head.seen)
        if record is None or record.rev == known:
            return Unchanged(known or unpack_head(found).history.rev)
        return record

    async def _mark_used(
        self, key: StoreKey, how: Literal["due", "acted", "always"] = "due"
    ) -> PackedHead | None:
        """Mark the record as used; return its head, None if there is none.

        `how`: "due", if that is due; "acted", also if this is the first thing that the
        participant has changed; or "always".
        """
        session, id = key
        timeout = conf.get().idle_timeout
        reply, *rest = await self._scripts.run("touch", session, id, timeout, how)
        if reply == b"absent":
            self._recent.drop(key)
            return None
        if reply == b"corrupt":
            raise corrupt(key)
        repair, packed = rest
        await self._registry.repair(session, repair)
        return unpack_head(packed)

    def _unpack(self, key: StoreKey, fields: Sequence[bytes]) -> Record:
        """Return a record from its hash; `recall` has it from now on."""
        record = unpack_record(key, fields)
        self._recent.put(record)
        return record

    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """See `Backend.heads`."""
        heads: dict[StoreKey, Rev | None] = {}
        calls = by_session(keys)
        replies = await self._scripts.run_all("heads", calls)
        for (session, ids), revs in zip(calls, replies, strict=True):
            for id, rev in zip(ids, revs, strict=True):
                heads[StoreKey.stored(session, id)] = unpack_rev(rev) if rev else None
        return heads

    async def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempts: Sequence[Attempt] = (),
        *,
        repeated: bool = False,
        is_change: bool = True,
    ) -> Committed | Stale:
        """See `Backend.commit`."""
        key = base.key
        # The script knows the time, this process only estimates it.
        merging = merge(base.clients, attempts, base.seen) if attempts else NO_MERGE
        keys, arguments = pack_commit(base, rev, states, merging, is_change=is_change)
        reply, lost = await self._scripts.call_twice("commit", keys, arguments)
        lines: Sequence[bytes | None] = None, None
        if isinstance(reply, list):
            verdict, *rest = reply
            if verdict != b"ok":
                doubt = repeated or lost
                return self._uncommitted(base, rev, verdict, rest, doubt)
            reply, lines = rest
        now, seen, is_due = COMMITTED.unpack(reply)
        kept = dict(base.states)
        for name, data in states.items():
            if data is None:
                kept.pop(name, None)
            else:
                kept[name] = data
        history = base.history.extend(rev)
        clients = dict(merging.clients if attempts else base.clients)
        for name, entry in merging.written.items():
            clients[name] = entry._replace(at=now)
        for name, entry in list(clients.items()):
            if entry.at <= now - CLIENT_MEMORY:
                del clients[name]
        record = Record(
            key, history, kept, clients, base.created, seen, profile=base.profile
        )
        self._recent.put(record)
        if is_due:
            # The commit is in, whatever fails now.
            try:
                await self._mark_used(key, "always")
            except SessionStoresError as error:
                logger.info("%s was not marked as used: %s", key, error)
        return Committed(record, unpack_followers(key, reply, lines))

    def _uncommitted(
        self,
        base: Record,
        rev: Rev,
        verdict: bytes,
        rest: Sequence[Any],
        doubt: object,
    ) -> Committed | Stale:
        """Return the outcome of a commit that the last call did not make.

        `doubt`: whether, or by which error, the reply to an earlier call was lost.
        """
        key = base.key
        if verdict == b"absent":
            self._recent.drop(key)
            return Stale(None)
        if verdict == b"corrupt":
            raise corrupt(key)
        now, fields, lines = rest
        record = self._unpack(key, fields)
        if verdict == b"in":
            return Committed(record, unpack_followers(key, now, lines))
        if doubt and (verdict == b"unknown" or is_unrelated(record, base, rev)):
            cause = doubt if isinstance(doubt, Exception) else None
            raise outcome_unknown(rev, record) from cause
        return Stale(record)

    async def touch(self, key: StoreKey, *, acted: bool = False) -> bool:
        """See `Backend.touch`."""
        return await self._mark_used(key, "acted" if acted else "due") is not None

    async def delete(self, key: StoreKey) -> Removed | None:
        """See `Backend.delete`."""
        self._recent.drop(key)
        if key.is_session:
            rev = pack_rev(Rev.first())
            final = await self._scripts.run(
                "wipe", key.session, rev, conf.get().idle_timeout, retry=False
            )
            return unpack_removed(key.session, final) if final else None
        found = await self._scripts.run(
            "remove", key.session, key.participant, retry=False
        )
        return unpack_removed(key.session, found[0]) if found else None

    set_profile = delegated("_profiles", RedisProfiles.set_profile)
    remember_name = delegated("_profiles", RedisProfiles.remember_name)
    profiles = delegated("_profiles", RedisProfiles.profiles)
    set_aside = delegated("_quarantine", RedisQuarantine.set_aside)
    quarantined = delegated("_quarantine", RedisQuarantine.quarantined)

    # Sessions

    create_session = delegated("_sessions", RedisSessions.create_session)
    session = delegated("_sessions", RedisSessions.session)
    update_session = delegated("_sessions", RedisSessions.update_session)
    note = delegated("_sessions", RedisSessions.note)
    end_session = delegated("_sessions", RedisSessions.end_session)
    delete_session = delegated("_sessions", RedisSessions.delete_session)
    read_states = delegated("_sessions", RedisSessions.read_states)
    read_records = delegated("_sessions", RedisSessions.read_records)
    participants = delegated("_sessions", RedisSessions.participants)
    evict_idle = delegated("_sessions", RedisSessions.evict_idle)
    evict_empty_session = delegated("_sessions", RedisSessions.evict_empty_session)
    orphans = delegated("_sessions", RedisSessions.orphans)
    reindex = delegated("_sessions", RedisSessions.reindex)
    summaries = delegated("_sessions", RedisSessions.summaries)

    # Registry

    sessions = delegated("_registry", RedisRegistry.sessions)
    session_count = delegated("_registry", RedisRegistry.session_count)
    participant_count = delegated("_registry", RedisRegistry.participant_count)
    due_sessions = delegated("_registry", RedisRegistry.due_sessions)

    # Tokens and connections

    revoke = delegated("_leases", RedisLeases.revoke)
    standings = delegated("_leases", RedisLeases.standings)
    kick = delegated("_kicks", RedisKicks.kick)
    readmit = delegated("_kicks", RedisKicks.readmit)
    kicked = delegated("_kicks", RedisKicks.kicked)
    lease = delegated("_leases", RedisLeases.lease)
    release = delegated("_leases", RedisLeases.release)
    reap = delegated("_leases", RedisLeases.reap)
    connections = delegated("_leases", RedisLeases.connections)
    connections_of = delegated("_leases", RedisLeases.connections_of)
    followers = delegated("_leases", RedisLeases.followers)

    # Server and shared values

    now = delegated("_server", RedisServer.now)
    values = delegated("_server", RedisServer.values)
    swap_value = delegated("_server", RedisServer.swap_value)
    server = delegated("_server", RedisServer.server)
    run_name = delegated("_server", RedisServer.run_name)
    examine = delegated("_server", RedisServer.examine)

    async def value(self, name: str) -> Value:
        """See `Backend.value`."""
        return (await self._server.values([name]))[name]

    async def clear(self) -> None:
        """See `Backend.clear`."""
        self._recent.clear()
        await self._server.clear()
