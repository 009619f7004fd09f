"""The registry of sessions, which stands in another slot than they do.

A sorted set: each session by a time before which nothing in it is due, a lower bound of
the last use of the longest unused participant, or of its own. Where nothing can be due
before the end of its keep, that end stands there, negated; and 0 asks for a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ... import conf
from ...exceptions import StoreUnavailable
from ...state.revisions import Rev
from ..errors import MAX_ATTEMPTS, contended, too_many_sessions
from .serializers import packed
from .server import RedisServer

# Codes that one command returns, so that it is a matter of milliseconds.
WINDOW = 20_000


class RedisRegistry(RedisServer):
    """Whoever founds or removes a session looks after the registry last (`_settle`)."""

    async def now(self) -> float:
        """See `Backend.now`."""
        return float(await self._call("now", (self._registry(),), ()))

    async def _register(self, session: str) -> None:
        """Enter the session; raise `LimitReached` if that makes too many."""
        limit = conf.get().max_sessions
        if not await self._call("register", (self._registry(),), (session, limit)):
            raise too_many_sessions(session)

    async def _settle(self, session: str) -> bool:
        """Make the registry agree with what is there; tell if the session stood in it.

        The last of several that cross sees what all of them did. A session in use is
        due for a look, if it only waited for the end of its keep.
        """
        was_listed = None
        for _ in range(MAX_ATTEMPTS):
            there, listed = await self._send_all(
                [
                    ("EXISTS", self._session(session)),
                    ("ZSCORE", self._registry(), session),
                ]
            )
            if was_listed is None:
                was_listed = listed is not None
            waits = listed is not None and float(listed) < 0
            if bool(there) == (listed is not None) and not waits:
                return was_listed
            if there:
                await self._send("ZADD", self._registry(), 0, session)
            else:
                await self._send("ZREM", self._registry(), session)
        raise contended(session)

    async def _mended(self, session: str, mend: int) -> None:
        """Do what a script found to be done: 1: enter the session; 2: found it, too."""
        if mend == 2:
            rev, timeout = packed(Rev.first()), conf.get().idle_timeout
            await self._run("found", session, rev, timeout, "", 0)
        if mend:
            await self._settle(session)

    async def _move_on(self, session: str, bound: bytes) -> None:
        """Let the session be until something in it is due; b"" leaves it as it is."""
        if not bound:
            return
        # What was removed is to be reported, whatever fails now.
        with suppress(StoreUnavailable):
            await self._send("ZADD", self._registry(), "XX", bound, session)
            # Who joins looks after it, unless it did so before this was written.
            if bound.startswith(b"-") and await self._send(
                "ZCARD", self._index(session)
            ):
                await self._look_soon(session)

    async def _look_soon(self, session: str) -> None:
        await self._send("ZADD", self._registry(), "XX", 0, session)

    async def sessions(self) -> list[str]:
        """See `Backend.sessions`."""
        codes = await self._send("ZRANGE", self._registry(), 0, -1)
        return sorted(code.decode() for code in codes)

    async def session_count(self) -> int:
        """See `Backend.session_count`."""
        return int(await self._send("ZCARD", self._registry()))

    async def participant_count(self, code: str | None = None) -> int:
        """See `Backend.participant_count`."""
        codes = await self.sessions() if code is None else [code]
        return sum(
            await self._send_all([("ZCARD", self._index(code)) for code in codes])
        )

    async def due_sessions(
        self, *, idle_for: float, limit: int, after: str = ""
    ) -> list[str]:
        """See `Backend.due_sessions`. One command, however many sessions there are.

        Of more than `WINDOW` that are due, it tells those due longest; the others
        follow, with no `after`, when these have been through.
        """
        due: Sequence[bytes] = await self._call(
            "due", (self._registry(),), (idle_for, WINDOW)
        )
        codes = sorted(code.decode() for code in due)
        return [code for code in codes if code > after][:limit]
