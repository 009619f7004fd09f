"""The contract over Redis or Valkey: each method one script, atomic on the server.

A session's keys share a slot, so a script sees all of them; the registry of sessions
stands apart, and whoever founds or removes a session looks after it (`_settle`). What
the keys hold is said in `lua/prelude.lua`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import NoScriptError, RedisError, ResponseError

from .. import conf
from ..exceptions import SessionLocked, StateCorrupt, StoreUnavailable
from ..keys import StoreKey, cache_key, shared_key
from ..revs import History, Rev
from .base import Backend
from .connections import NOBODY
from .encoding import MAX_EVENTS, merged
from .index import check_participants, ended, too_many_sessions
from .primitive import contended, unavailable
from .recent import Recent
from .redis_clients import LoopClients, blocking_client
from .redis_places import place_of
from .redis_report import report
from .values import (
    Attempt,
    BackendStats,
    ClientEntry,
    Committed,
    Finding,
    Lease,
    Opened,
    ParticipantInfo,
    Record,
    Removed,
    SessionInfo,
    Stale,
    Standing,
    Unchanged,
    Value,
)

logger = logging.getLogger("sessionstores.backends")

QUARANTINE = 86_400.0
# A command is sent again only if it failed so soon that the second fits the deadline.
SOON = 0.3
TRIES = 64
# A round trip to a server nearby takes a tenth of that.
SLOW_MS = 10
# So many at a time, that no script holds the server up for long.
REMOVED_AT_ONCE = 50
LEASED_AT_ONCE = 100

# What a server answers while it cannot do what it was asked.
_OUT_OF_ORDER = (
    *("OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS"),
    *("TRYAGAIN", "CLUSTERDOWN", "NOAUTH", "NOPERM", "WRONGPASS"),
)

# Scripts that bring all that they need.
ALONE = frozenset({"commit", "read", "register", "swap"})

T = TypeVar("T")

_REV = struct.Struct("<4sd4s")
_HEAD = struct.Struct("<4sdddd")
_TIME = struct.Struct("<d")
_ORDER = struct.Struct("<dd")
_CLIENT = struct.Struct("<dd")

_encode = msgspec.msgpack.Encoder().encode
_rejected = msgspec.msgpack.Decoder(dict[int, str]).decode
_event = msgspec.msgpack.Decoder(dict[str, Any]).decode
_details = msgspec.msgpack.Decoder(tuple[str, str, list[str]]).decode


class Script(NamedTuple):
    """A script with the name by which the server knows it once it is loaded."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return one of the files in `lua/`, with what all of them share before it."""
    folder = Path(__file__).with_name("lua")
    parts = [name] if name in ALONE else ["prelude", name]
    return made("\n".join((folder / f"{part}.lua").read_text() for part in parts))


def made(text: str) -> Script:
    """Return the script of this text."""
    return Script(text, sha1(text.encode()).hexdigest())  # noqa: S324 - Redis's name


class Head(NamedTuple):
    """The front of a record: all but its states and clients."""

    history: History
    created: float
    seen: float
    size: int


class RedisBackend(Backend):
    """Records on one server, or a cluster of them, that all processes share."""

    shared: ClassVar[bool] = True
    in_memory: ClassVar[bool] = False

    def __init__(self, alias: str, *, blocking: bool) -> None:
        super().__init__(blocking=blocking)
        place = place_of(alias)
        self._place = place
        self._recent = Recent()
        if blocking:
            self._client = blocking_client(place)
        else:
            self._clients = LoopClients(place)

    @classmethod
    def problem(cls, alias: str) -> str | None:
        """See `Backend.problem`."""
        try:
            place_of(alias)
        except ImproperlyConfigured as error:
            return str(error)
        return None

    # Commands

    async def _send(self, *command: Any, again: bool = True) -> Any:
        """Send one command; once more if its answer is lost soon and it bears that.

        Raises `StoreUnavailable`.
        """
        started = time.monotonic()
        try:
            return await self._once(command)
        except StoreUnavailable:
            if not again or time.monotonic() - started > SOON:
                raise
        return await self._once(command)

    async def _once(self, command: tuple[Any, ...]) -> Any:
        try:
            if self.blocking:
                return self._client.execute_command(*command)
            return await self._clients.current().send(*command)
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        word = str(error).split(" ", 1)[0]
        if isinstance(error, ResponseError) and word not in _OUT_OF_ORDER:
            return error
        return unavailable(error)

    async def _run(
        self, name: str, session: str, *arguments: Any, again: bool = True
    ) -> Any:
        return await self._call(name, (self._session(session),), arguments, again=again)

    async def _call(
        self,
        name: str,
        keys: tuple[str, ...],
        arguments: Sequence[Any],
        *,
        again: bool = True,
    ) -> Any:
        wanted = self._script(name)
        rest = len(keys), *keys, *arguments
        try:
            return await self._send("EVALSHA", wanted.sha, *rest, again=again)
        except NoScriptError:
            # It has not run. This loads it, too.
            return await self._send("EVAL", wanted.text, *rest, again=again)

    async def _run_all(
        self, name: str, calls: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[Any]:
        """Run a script for several sessions at once, with the arguments of each."""
        wanted = self._script(name)
        commands = [
            ("EVALSHA", wanted.sha, 1, self._session(session), *arguments)
            for session, arguments in calls
        ]
        answers = await self._send_all(commands)
        for number, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                session, arguments = calls[number]
                answers[number] = await self._run(name, session, *arguments)
        return answers

    async def _send_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one write; errors of the server's are among the answers."""
        try:
            if not self.blocking:
                client = self._clients.current()
                sent = [client.send(*command) for command in commands]
                answers = await asyncio.gather(*sent, return_exceptions=True)
            else:
                pipeline = self._client.pipeline(transaction=False)
                for command in commands:
                    pipeline.execute_command(*command)
                answers = pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise unavailable(error) from error
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, NoScriptError):
                raise self._translated(answer)
        return answers

    def _script(self, name: str) -> Script:
        return script(name)

    def _session(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "s")

    def _registry(self) -> str:
        return shared_key(conf.get().key_prefix, "reg", "")

    async def now(self) -> float:
        """See `Backend.now`."""
        return float(await self._call("now", (self._registry(),), ()))

    # Records

    def recall(self, key: StoreKey) -> Record | None:
        """See `Backend.recall`."""
        return self._recent.get(key)

    async def open(self, key: StoreKey, states: Mapping[str, bytes]) -> Opened:
        """See `Backend.open`."""
        session, id = key
        given = conf.get()
        rev, founding = Rev.first(), Rev.first()
        may_found = False
        for _ in range(TRIES):
            answer, *rest = await self._run(
                "open",
                session,
                id,
                packed(rev),
                given.idle_timeout,
                given.max_participants,
                int(may_found),
                packed(founding),
                *(part for pair in states.items() for part in pair),
            )
            if answer == b"unfounded":
                await self._register(session)
                may_found = True
                continue
            if answer != b"record" and may_found:
                await self._settle(session)
            if answer == b"record":
                mend, fields, created = rest
                await self._mended(session, 1 if may_found else mend)
                record = self._remembered(key, fields)
                return Opened(record, created=bool(created))
            self._refuse(answer, key, rest)
        raise contended(key)

    def _refuse(self, answer: bytes, key: StoreKey, rest: Sequence[Any]) -> None:
        if answer == b"corrupt":
            raise corrupt(key)
        if answer == b"ended":
            raise ended(key.session)
        if answer == b"locked":
            raise SessionLocked(
                f"Session {key.session} takes no newcomers, so {key.participant} "
                "cannot join. Unlock it first."
            )
        check_participants(key.session, rest[0], conf.get().max_participants)

    async def read(
        self, key: StoreKey, *, known: Rev | None = None, touch: bool = True
    ) -> Record | Unchanged | None:
        """See `Backend.read`. Transfers no state that this process has at hand."""
        held = self._recent.get(key)
        rev = known or (held.rev if held else None)
        answer, *rest = await self._call(
            "read",
            (self._record(key),),
            (packed(rev) if rev else b"", conf.get().idle_timeout),
        )
        if answer == b"absent":
            self._recent.drop(key)
            return None
        if answer == b"corrupt":
            raise corrupt(key)
        due, found = rest
        if answer == b"record":
            record = self._remembered(key, found)
        elif held is not None and held.rev == rev:
            record = msgspec.structs.replace(held, seen=head_of(found).seen)
        else:
            record = None
        if due and touch:
            head = await self._touched(key)
            if head is None:
                return None
            if record is not None:
                record = msgspec.structs.replace(record, seen=head.seen)
        if record is None or record.rev == known:
            return Unchanged(known or head_of(found).history.rev)
        return record

    async def _touched(self, key: StoreKey, *, if_due: bool = True) -> Head | None:
        """Mark the record as used; return its head, None if it is gone."""
        session, id = key
        timeout = conf.get().idle_timeout
        answer, *rest = await self._run("touch", session, id, timeout, int(if_due))
        if answer == b"absent":
            self._recent.drop(key)
            return None
        if answer == b"corrupt":
            raise corrupt(key)
        mend, front = rest
        await self._mended(session, mend)
        return head_of(front)

    def _record(self, key: StoreKey) -> str:
        if key.is_session:
            return self._session(key.session)
        return cache_key(conf.get().key_prefix, key.session, "p", key.participant)

    def _remembered(self, key: StoreKey, fields: Sequence[bytes]) -> Record:
        record = record_of(key, fields)
        self._recent.put(record)
        return record

    async def heads(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Rev | None]:
        """See `Backend.heads`."""
        heads: dict[StoreKey, Rev | None] = {}
        calls = by_session(keys)
        answers = await self._run_all("heads", calls)
        for (session, ids), revs in zip(calls, answers, strict=True):
            for id, rev in zip(ids, revs, strict=True):
                heads[StoreKey(session, id)] = unpacked(rev) if rev else None
        return heads

    async def commit(
        self,
        base: Record,
        rev: Rev,
        states: Mapping[str, bytes | None],
        attempt: Attempt | None = None,
        *,
        repeated: bool = False,
    ) -> Committed | Stale:
        """See `Backend.commit`."""
        key = base.key
        size = base.bytes
        put: list[Any] = []
        gone = []
        for name, data in states.items():
            size -= len(base.states.get(name, b""))
            if data is None:
                gone.append(name)
            else:
                size += len(data)
                put += name, data
        timeout = conf.get().idle_timeout
        order = packed(base.rev) + packed(rev) + _ORDER.pack(timeout, size)
        prefix = conf.get().key_prefix
        keys = self._record(key), cache_key(prefix, key.session, "f")
        client = remembered(base.clients, attempt) if attempt else (b"", b"")
        arguments = order, key.participant, *client, len(put), *put, *gone
        started = time.monotonic()
        lost: StoreUnavailable | None = None
        try:
            answer = await self._call("commit", keys, arguments, again=False)
        except StoreUnavailable as error:
            if time.monotonic() - started > SOON:
                raise
            lost = error
            answer = await self._call("commit", keys, arguments, again=False)
        verdict, *rest = answer
        if verdict == b"ok":
            return await self._committed(base, states, attempt, rest)
        if verdict == b"absent":
            self._recent.drop(key)
            return Stale(None)
        if verdict == b"corrupt":
            raise corrupt(key)
        moment, fields, lines = rest
        record = self._remembered(key, fields)
        if verdict == b"in":
            return Committed(record, followers_in(key, moment, lines))
        if verdict == b"unknown" and (repeated or lost):
            raise StoreUnavailable(
                f"Whether the commit of {rev} to {key} is in cannot be told: the "
                f"record is at {record.rev}, past its memory. Read it before you try "
                "again."
            ) from lost
        return Stale(record)

    async def _committed(
        self,
        base: Record,
        changes: Mapping[str, bytes | None],
        attempt: Attempt | None,
        answer: Sequence[Any],
    ) -> Committed:
        key = base.key
        moment, front, due, lines = answer
        head = head_of(front)
        states = {**base.states, **changes}
        kept = {name: data for name, data in states.items() if data is not None}
        (at,) = _TIME.unpack(moment)
        clients = merged(base.clients, attempt, at)
        record = Record(key, head.history, kept, clients, head.created, head.seen)
        self._recent.put(record)
        if due:
            # The commit is in, whatever fails now.
            with suppress(StoreUnavailable):
                await self._touched(key, if_due=False)
        return Committed(record, followers_in(key, moment, lines))

    async def touch(self, key: StoreKey) -> bool:
        """See `Backend.touch`."""
        return await self._touched(key) is not None

    async def delete(self, key: StoreKey) -> Removed | None:
        """See `Backend.delete`."""
        self._recent.drop(key)
        if key.is_session:
            rev = packed(Rev.first())
            final = await self._run(
                "wipe", key.session, rev, conf.get().idle_timeout, again=False
            )
            return removed_of(key.session, final) if final else None
        found = await self._run("remove", key.session, key.participant, again=False)
        return removed_of(key.session, found[0]) if found else None

    async def set_aside(
        self, key: StoreKey, name: str | None, data: bytes | None
    ) -> None:
        """See `Backend.set_aside`."""
        digest = secrets.token_hex(8)
        if name is not None:
            value = _encode([name, data or b""])
            # Named by its content: repeated, it is kept once; what differs is kept too.
            digest = sha1(value).hexdigest()[:16]  # noqa: S324 - no secret
        aside = f"q:{key.participant}:{digest}"
        prefix = cache_key(conf.get().key_prefix, key.session, "").removesuffix("::")
        if name is not None:
            milliseconds = int(QUARANTINE * 1000)
            await self._send("SET", f"{prefix}:{aside}", value, "PX", milliseconds)
        elif not await self._run(
            "aside", key.session, key.participant, aside, QUARANTINE
        ):
            return
        self._recent.drop(key)
        logger.warning(
            "What stood at %s is kept for a day as %s:%s.", key, prefix, aside
        )

    # The registry of sessions, which stands in another slot than they do

    async def _register(self, session: str) -> None:
        """Enter the session; raise `LimitReached` if that makes too many."""
        limit = conf.get().max_sessions
        if not await self._call("register", (self._registry(),), (session, limit)):
            raise too_many_sessions(session)

    async def _settle(self, session: str) -> None:
        """Make the registry agree with what is there.

        Whoever founds or removes a session does this last, so the last of several
        that cross sees what all of them did.
        """
        for _ in range(TRIES):
            there, listed = await self._send_all(
                [
                    ("EXISTS", self._session(session)),
                    ("SISMEMBER", self._registry(), session),
                ]
            )
            if bool(there) == bool(listed):
                return
            await self._send("SADD" if there else "SREM", self._registry(), session)
        raise contended(session)

    async def _mended(self, session: str, mend: int) -> None:
        """Do what a script found to be done: 1: enter the session; 2: found it, too."""
        if mend == 2:
            await self._run(
                "found",
                session,
                packed(Rev.first()),
                conf.get().idle_timeout,
                "",
                0,
            )
        if mend:
            await self._settle(session)

    # Sessions

    async def create_session(self, code: str, *, label: str, keep: float) -> bool:
        """See `Backend.create_session`."""
        if await self.session(code) is not None:
            return False
        await self._register(code)
        try:
            rev, timeout = packed(Rev.first()), conf.get().idle_timeout
            return bool(await self._run("found", code, rev, timeout, label, keep))
        finally:
            await self._settle(code)

    async def session(self, code: str) -> SessionInfo | None:
        """See `Backend.session`."""
        return await self._about(code, b"", b"", b"", b"")

    async def update_session(
        self,
        code: str,
        *,
        label: str | None = None,
        keep: float | None = None,
        locked: bool | None = None,
        event: Mapping[str, Any] | None = None,
    ) -> SessionInfo | None:
        """See `Backend.update_session`."""
        return await self._about(
            code,
            b"" if label is None else f"={label}",
            b"" if keep is None else keep,
            b"" if locked is None else int(locked),
            b"" if event is None else _encode(event),
        )

    async def _about(
        self, code: str, label: Any, keep: Any, locked: Any, event: bytes
    ) -> SessionInfo | None:
        answer, *rest = await self._run(
            "session",
            code,
            label,
            keep,
            locked,
            event,
            conf.get().idle_timeout,
            MAX_EVENTS,
            # A repeated event would stand there twice.
            again=not event,
        )
        if answer == b"absent":
            return None
        if answer == b"corrupt":
            raise corrupt(StoreKey.of_session(code))
        front, named, kept, lock, events = rest
        head = head_of(front)
        return SessionInfo(
            code,
            (named or b"").decode(),
            head.created,
            float(kept or 0),
            lock == b"1",
            head.seen,
            head.size,
            tuple(map(_event, events)),
        )

    async def end_session(self, code: str) -> list[Removed]:
        """See `Backend.end_session`."""
        ids = await self._run("end", code, conf.get().token_max_age)
        return await self._clear_session(code, ids)

    async def delete_session(self, code: str) -> list[Removed]:
        """See `Backend.delete_session`."""
        members = cache_key(conf.get().key_prefix, code, "i")
        return await self._clear_session(
            code, await self._send("ZRANGE", members, 0, -1)
        )

    async def _clear_session(self, code: str, ids: Sequence[bytes]) -> list[Removed]:
        finals = []
        for some in in_chunks(sorted(ids), REMOVED_AT_ONCE):
            finals += await self._run("remove", code, *some, again=False)
        rev, timeout = packed(Rev.first()), conf.get().idle_timeout
        if own := await self._run("drop", code, rev, timeout, again=False):
            finals.append(own)
        await self._settle(code)
        return [self._gone(code, final) for final in finals]

    def _gone(self, session: str, final: Sequence[Any]) -> Removed:
        removed = removed_of(session, final)
        self._recent.drop(removed.key)
        return removed

    async def sessions(self) -> list[str]:
        """See `Backend.sessions`."""
        codes = await self._send("SMEMBERS", self._registry())
        return sorted(code.decode() for code in codes)

    async def session_count(self) -> int:
        """See `Backend.session_count`."""
        return int(await self._send("SCARD", self._registry()))

    async def participants(self, code: str) -> list[ParticipantInfo]:
        """See `Backend.participants`."""
        listed = iter(await self._run("participants", code))
        found = []
        for id, front, connections in zip(listed, listed, listed, strict=True):
            head = head_of(front)
            found.append(
                ParticipantInfo(
                    id.decode(),
                    head.history.rev,
                    head.created,
                    head.seen,
                    head.size,
                    connections,
                )
            )
        return sorted(found)

    async def participant_count(self, code: str | None = None) -> int:
        """See `Backend.participant_count`."""
        codes = await self.sessions() if code is None else [code]
        prefix = conf.get().key_prefix
        indexes = [("ZCARD", cache_key(prefix, code, "i")) for code in codes]
        return sum(await self._send_all(indexes))

    async def evict_idle(
        self, code: str, *, idle_for: float, limit: int
    ) -> list[Removed]:
        """See `Backend.evict_idle`."""
        finals = await self._run("evict", code, idle_for, limit, again=False)
        return [self._gone(code, final) for final in finals]

    async def evict_empty_session(self, code: str, *, idle_for: float) -> bool:
        """See `Backend.evict_empty_session`."""
        answer = await self._run("empty", code, idle_for)
        if answer != b"stays":
            self._recent.drop(StoreKey.of_session(code))
            await self._settle(code)
        return bool(answer != b"stays")

    # Tokens

    async def revoke(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.revoke`."""
        age = conf.get().token_max_age
        followers = await self._run("revoke", key.session, key.participant, age)
        if followers == b"corrupt":
            raise lost_revocations(key.session)
        moment, *lines = followers
        return followers_in(key, moment, lines)

    async def standings(self, keys: Sequence[StoreKey]) -> dict[StoreKey, Standing]:
        """See `Backend.standings`."""
        standings = {}
        calls = by_session(keys)
        answers = await self._run_all("standings", calls)
        for (session, ids), (has_ended, times) in zip(calls, answers, strict=True):
            if times == b"corrupt":
                raise lost_revocations(session)
            everyone, *own = times
            for id, at in zip(ids, own, strict=True):
                revoked = [float(one) for one in (everyone, at) if one is not None]
                standings[StoreKey(session, id)] = Standing(
                    bool(has_ended), max(revoked, default=None)
                )
        return standings

    # Connections

    async def lease(self, leases: Sequence[Lease]) -> None:
        """See `Backend.lease`."""
        given = conf.get()
        sessions: dict[str, list[Lease]] = {}
        for lease in leases:
            sessions.setdefault(lease.key.session, []).append(lease)
        times = given.presence_lease, given.idle_timeout
        calls = [
            (session, [*times, *(part for lease in some for part in parts_of(lease))])
            for session, several in sessions.items()
            for some in in_chunks(several, LEASED_AT_ONCE)
        ]
        mends = await self._run_all("lease", calls)
        for (session, _), mend in zip(calls, mends, strict=True):
            await self._mended(session, mend)

    async def release(self, lease: Lease) -> None:
        """See `Backend.release`."""
        session, id = lease.key
        await self._run(
            "release", session, id, lease.connection, lease.process, *lease.follows
        )

    async def connections(self, key: StoreKey) -> list[Lease]:
        """See `Backend.connections`."""
        listed = iter(await self._run("connections", key.session, key.participant))
        found = []
        for name, details in zip(listed, listed, strict=True):
            id, _, connection = name.decode().partition("/")
            process, client, follows = _details(details)
            found.append(
                Lease(
                    connection,
                    StoreKey(key.session, id),
                    process,
                    client,
                    frozenset(follows),
                )
            )
        return found

    async def followers(self, key: StoreKey) -> frozenset[str]:
        """See `Backend.followers`."""
        moment, *lines = await self._run("followers", key.session, key.participant)
        return followers_in(key, moment, lines)

    # Shared values

    async def value(self, name: str) -> Value:
        """See `Backend.value`. The token is what was seen."""
        data = await self._send("GET", self._value(name))
        return Value(data, b"-" if data is None else b"+" + data)

    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """See `Backend.swap_value`."""
        arguments = token, data, seconds
        return bool(
            await self._call("swap", (self._value(name),), arguments, again=False)
        )

    def _value(self, name: str) -> str:
        return shared_key(conf.get().key_prefix, "v", name)

    # All together

    async def stats(self) -> BackendStats:
        """See `Backend.stats`. Two round trips, however much there is."""
        codes = await self.sessions()
        sums = await self._run_all("stats", [(code, ()) for code in codes])
        participants, connections, size = (
            map(sum, zip(*sums, strict=True)) if sums else (0, 0, 0)
        )
        return BackendStats(len(codes), participants, connections, size)

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        started = time.monotonic()
        await self.now()
        took = (time.monotonic() - started) * 1000
        infos = await self._infos()
        speed = Finding("ok", f"Round trip {took:.1f} ms")
        if took > SLOW_MS:
            speed = Finding(
                "warning",
                f"A round trip takes {took:.0f} ms; each dispatch is one.",
                "Put the server nearer to the workers.",
            )
        return [*report(infos), speed]

    async def _infos(self) -> list[Mapping[str, Any]]:
        """Return INFO of the server, or of each of the cluster's primaries."""
        several = {"target_nodes": "primaries"} if self._place.cluster else {}
        try:
            if self.blocking:
                info = self._client.info(**several)
            else:
                info = await self._clients.current().client.info(**several)
        except (RedisError, OSError) as error:
            raise self._translated(error) from error
        return list(info.values()) if self._place.cluster else [info]

    async def clear(self) -> None:
        """See `Backend.clear`."""
        self._recent.clear()
        pattern = f"{conf.get().key_prefix}:*"
        if self.blocking:
            keys = list(self._client.scan_iter(pattern, count=1000))
        else:
            client = self._clients.current().client
            keys = [key async for key in client.scan_iter(pattern, count=1000)]
        await self._send_all([("UNLINK", key) for key in keys])


# What the scripts say and are told


def packed(rev: Rev) -> bytes:
    """Return a rev as scripts compare it."""
    return _REV.pack(rev.incarnation.encode(), rev.counter, bytes.fromhex(rev.tail))


def unpacked(rev: bytes) -> Rev:
    """Return the rev that a script told."""
    incarnation, counter, tail = _REV.unpack(rev)
    return Rev(incarnation.decode(), int(counter), tail.hex())


def head_of(front: bytes) -> Head:
    """Return what the field `h` of a record holds."""
    incarnation, counter, created, seen, size = _HEAD.unpack_from(front)
    ring = front[_HEAD.size :]
    rev = Rev(incarnation.decode(), int(counter), ring[-4:].hex())
    return Head(History(rev, ring), created, seen, int(size))


def record_of(key: StoreKey, fields: Sequence[bytes]) -> Record:
    """Return the record whose hash this is: names and values in turn."""
    states: dict[str, bytes] = {}
    clients: dict[str, ClientEntry] = {}
    head: Head | None = None
    for name, value in in_pairs(fields):
        if name == b"h":
            head = head_of(value)
        elif name.startswith(b"s:"):
            states[name[2:].decode()] = value
        elif name.startswith(b"c:"):
            at, last = _CLIENT.unpack_from(value)
            entry = ClientEntry(int(last), _rejected(value[_CLIENT.size :]), at)
            clients[name[2:].decode()] = entry
    if head is None:
        raise corrupt(key)
    return Record(key, head.history, states, clients, head.created, head.seen)


def removed_of(session: str, final: Sequence[Any]) -> Removed:
    """Return what a script took away: the id, the hash or None, the followers."""
    id, fields, (moment, *lines) = final
    key = StoreKey(session, id.decode())
    states = None if fields is None else record_of(key, fields).states
    return Removed(key, states, followers_in(key, moment, lines))


def parts_of(lease: Lease) -> tuple[Any, ...]:
    """Return a lease as the script takes it."""
    follows = sorted(lease.follows)
    details = _encode([lease.process, lease.client, follows])
    id, process = lease.key.participant, lease.process
    return id, lease.connection, details, process, len(follows), *follows


def followers_in(
    key: StoreKey, moment: bytes, lines: Sequence[bytes | None]
) -> frozenset[str]:
    """Return the processes that follow a record: its own lines, and everyone's."""
    own, everyone = lines
    if key.is_session:
        everyone = None
    if own is None and everyone is None:
        return NOBODY
    (now,) = _TIME.unpack(moment)
    entries = ((own or b"") + (everyone or b"")).decode().splitlines()
    pairs = (entry.split(" ") for entry in entries)
    return frozenset(process for deadline, process in pairs if float(deadline) > now)


def remembered(
    clients: Mapping[str, ClientEntry], attempt: Attempt
) -> tuple[str, bytes]:
    """Return a client's id and what its entry will hold, behind the time."""
    known = clients.get(attempt.client)
    last = max(attempt.id, known.last) if known else attempt.id
    return attempt.client, _TIME.pack(last) + _encode(attempt.rejected)


def by_session(keys: Iterable[StoreKey]) -> list[tuple[str, list[str]]]:
    """Return the ids of each session among `keys`."""
    sessions: dict[str, list[str]] = {}
    for session, id in keys:
        sessions.setdefault(session, []).append(id)
    return list(sessions.items())


def in_pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return a flat answer's names with their values."""
    return zip(flat[::2], flat[1::2], strict=True)


def in_chunks(several: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Return the sequence in parts of at most `size`."""
    return (several[at : at + size] for at in range(0, len(several), size))


def corrupt(key: StoreKey) -> StateCorrupt:
    """Return the error for what stands at `key` and is no record."""
    return StateCorrupt(
        f"What the server holds at {key} is not a record. Set it aside, and a later "
        "access starts afresh."
    )


def lost_revocations(session: str) -> StateCorrupt:
    """Return the error for revocations that are no longer any."""
    return StateCorrupt(
        f"The revocations of session {session} cannot be read. End the session, "
        "which voids all its tokens."
    )
