"""Registry of sessions: a sorted set in its own hash slot.

Score: a time before which nothing in the session can expire, which is the last use of
its longest unused participant, or of the session, or earlier. Negative: nothing can
expire before the end of the session's keep, which is the score negated. 0: look again.
A last use may hide a keep that ends more than IDLE_TIMEOUT after it, so a session that
was used longer ago is looked at, whatever a sweep takes for idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ... import conf
from ...exceptions import StoreUnavailable
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, contended, too_many_sessions
from .scripts import ScriptRunner
from .serializers import index_key, pack_rev, registry_key, session_key

# Codes that one command returns, so that it is a matter of milliseconds.
WINDOW = 20_000


class RedisRegistry:
    """The registry; a call that creates or removes a session settles its entry last.

    Methods that have the name of a method of `Backend` fulfil its contract.
    """

    def __init__(self, scripts: ScriptRunner) -> None:
        self._scripts = scripts

    async def register(self, session: str) -> None:
        """Enter the session; raise `LimitReached` if that makes too many."""
        arguments = session, conf.get().max_sessions
        if not await self._scripts.call("register", (registry_key(),), arguments):
            raise too_many_sessions(session)

    async def settle(self, session: str) -> bool:
        """Enter the session, or remove it if it does not exist.

        True if this call removed it: of several at once, one is told so.
        The last of several callers at once sees what all of them did. A session that
        waits for the end of its keep is looked at again, since it is in use.
        """
        removed = False
        registry = registry_key()
        for _ in range(MAX_ATTEMPTS):
            exists, score = await self._scripts.send_all(
                [
                    ("EXISTS", session_key(session)),
                    ("ZSCORE", registry, session),
                ]
            )
            is_listed = score is not None
            waits = is_listed and float(score) < 0
            if bool(exists) == is_listed and not waits:
                return removed and not exists
            if exists:
                await self._scripts.send("ZADD", registry, 0, session)
            else:
                removed = bool(await self._scripts.send("ZREM", registry, session))
        raise contended(session)

    async def forget(self, session: str) -> bool:
        """Remove the entry of a session that has gone; True if this call removed it.

        Whoever has created the session meanwhile gets the entry back.
        """
        commands = [
            ("ZREM", registry_key(), session),
            ("EXISTS", session_key(session)),
        ]
        if self._scripts.location.cluster:
            # Of two nodes, the second might answer first.
            removed, exists = [await self._scripts.send(*each) for each in commands]
        else:
            removed, exists = await self._scripts.send_all(commands)
        if exists:
            await self.settle(session)
        return bool(removed) and not exists

    async def repair(self, session: str, what: int) -> None:
        """Repair what a script found: 1: the entry is due; 2: so is the session."""
        if what == 2:
            rev, timeout = pack_rev(Rev.first()), conf.get().idle_timeout
            await self._scripts.run("found", session, rev, timeout, "", 0, 1)
        if what:
            await self.settle(session)

    async def postpone(self, session: str, score: bytes) -> None:
        """Set the session's score, after a look at it; b"" leaves it as it is."""
        if not score:
            return
        # What was removed is to be reported, whatever fails now.
        with suppress(StoreUnavailable):
            await self._scripts.send("ZADD", registry_key(), "XX", score, session)
            # A newcomer settles it, unless that was before this was written. Those who
            # are kept have negative scores.
            if score.startswith(b"-") and await self._scripts.send(
                "ZCOUNT", index_key(session), 0, "+inf"
            ):
                await self.look_again(session)

    async def look_again(self, session: str) -> None:
        """Let the next sweep look at the session."""
        await self._scripts.send("ZADD", registry_key(), "XX", 0, session)

    async def sessions(self) -> list[str]:
        """Return the codes of all sessions, sorted."""
        codes = await self._scripts.send("ZRANGE", registry_key(), 0, -1)
        return _decoded(codes)

    async def session_count(self) -> int:
        """Return the number of sessions."""
        return int(await self._scripts.send("ZCARD", registry_key()))

    async def participant_count(self, code: str | None = None) -> int:
        """Return the number of participants, of all sessions if `code` is None."""
        codes = await self.sessions() if code is None else [code]
        commands = [("ZCARD", index_key(code)) for code in codes]
        return sum(await self._scripts.send_all(commands))

    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """Return the sessions to look at, with one command, however many there are.

        If more than `WINDOW` are due, it returns those due longest; the others follow,
        with no `after`, when these have been looked at.
        """
        due: Sequence[bytes] = await self._scripts.call(
            "due", (registry_key(),), (idle_for, conf.get().idle_timeout, WINDOW)
        )
        return [code for code in _decoded(due) if code > after][:limit]


def _decoded(members: Sequence[bytes]) -> list[str]:
    """Return the codes, sorted; what another program has added is none."""
    codes = []
    for member in members:
        with suppress(UnicodeDecodeError):
            codes.append(member.decode())
    return sorted(codes)
