"""Script runner: sends scripts and commands to the server and translates its errors."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, RedisError

from ... import conf
from ...concurrency.backoff import Backoff
from ...exceptions import SessionStoresError, StoreUnavailable
from ..base import pause
from ..errors import still_unknown
from .client import connect_loops, connect_threads
from .errors import is_passing, translated
from .location import Location, name_of, speaks_tls
from .serializers import first_key, session_key
from .sync_pool import Command

# A command is sent again only if it failed so soon that the second fits the deadline.
RETRY_SECONDS = 0.3
# Before a command that the server refused for a moment is sent again.
_PAUSES = Backoff(0.02, 0.1)

# Scripts that run without `prelude.lua` before them.
_STANDALONE = frozenset({"commit", "due", "read", "register", "swap"})


class Script(NamedTuple):
    """The text of a script, and the digest by which a server that has it knows it."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """Return the script with this text."""
        return cls(text, sha1(text.encode()).hexdigest())  # noqa: S324 - Redis's name


@cache
def load_script(name: str) -> Script:
    """Return a script of `lua/`, with what the scripts share before it."""
    folder = Path(__file__).with_name("lua")
    parts = [name] if name in _STANDALONE else ["prelude", name]
    return Script.of("\n".join((folder / f"{part}.lua").read_text() for part in parts))


class ScriptRunner:
    """Runs scripts and sends commands, each where its first key is served.

    The blocking flavour sends from threads and never suspends; the other from
    coroutines. All methods raise `StoreUnavailable` for a server that does not reply
    or refuses, and `StateCorrupt` for a key of another type.
    """

    def __init__(self, location: Location, *, blocking: bool) -> None:
        self.location = location
        self._server = name_of(location)
        self._threads = connect_threads(location) if blocking else None
        self._loops = connect_loops(location)

    script = staticmethod(load_script)

    async def run(
        self, name: str, session: str, *arguments: Any, retry: bool = True
    ) -> Any:
        """Run a script on the keys of a session."""
        return await self.call(name, (session_key(session),), arguments, retry=retry)

    async def call(
        self,
        name: str,
        keys: tuple[str, ...],
        arguments: Sequence[Any],
        *,
        retry: bool = True,
    ) -> Any:
        """Run a script on keys of one slot; once more, with `retry`, as `send` does."""
        script = self.script(name)
        rest = len(keys), *keys, *arguments
        try:
            return await self.send("EVALSHA", script.sha, *rest, retry=retry)
        except NoScriptError:
            # It has not run. This loads it, too.
            return await self.send("EVAL", script.text, *rest, retry=retry)

    async def call_twice(
        self, name: str, keys: tuple[str, ...], arguments: Sequence[Any]
    ) -> tuple[Any, StoreUnavailable | None]:
        """Run a script that knows its repeat; once more if it soon fails.

        Returns the reply, and the error of the first time if that may have taken
        effect.
        """
        started = time.monotonic()
        try:
            return await self.call(name, keys, arguments, retry=False), None
        except StoreUnavailable as error:
            if time.monotonic() - started > RETRY_SECONDS:
                raise
            lost = None if error.refused else error
        try:
            return await self.call(name, keys, arguments, retry=False), lost
        except StoreUnavailable as error:
            if lost is not None:
                raise still_unknown(lost, error) from error
            raise

    async def send(self, *command: Any, retry: bool = True) -> Any:
        """Send a command; with `retry`, once more if its reply is soon lost.

        What the server refuses for a moment is sent again until the deadline.
        """
        started = time.monotonic()
        refusals = 0
        lost: StoreUnavailable | None = None
        while True:
            try:
                if self._threads is not None:
                    return self._threads.send(*command)
                return await self._loops.current().send(*command)
            except NoScriptError:
                raise
            except (RedisError, OSError) as error:
                if is_passing(error) and await self._may_wait(started, refusals):
                    refusals += 1
                    continue
                failure = self._translated(error, command)
                if not isinstance(failure, StoreUnavailable):
                    raise failure from error
                if lost is not None:
                    raise still_unknown(lost, failure) from error
                if not retry or time.monotonic() - started > RETRY_SECONDS:
                    raise failure from error
                retry, lost = False, None if failure.refused else failure

    async def _may_wait(self, started: float, refusals: int) -> bool:
        """Wait before the next try; False, at once, if that would be past the deadline.

        `started` is when the first was made.
        """
        seconds = _PAUSES.delay(refusals)
        if time.monotonic() + seconds >= started + self.location.reply_seconds:
            return False
        await pause(seconds, blocking=self._threads is not None)
        return True

    async def run_all(
        self,
        name: str,
        calls: Sequence[tuple[str, Sequence[Any]]],
        *,
        retry: bool = True,
    ) -> list[Any]:
        """Run a script for several sessions at once, with the arguments of each."""
        script = self.script(name)
        commands = [
            ("EVALSHA", script.sha, 1, session_key(session), *arguments)
            for session, arguments in calls
        ]
        replies = await self.send_all(commands)
        # The first loads it for all others on its server.
        while missing := [
            n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)
        ]:
            first, *rest = missing
            session, arguments = calls[first]
            replies[first] = await self.run(name, session, *arguments, retry=retry)
            again = await self.send_all([commands[number] for number in rest])
            for number, reply in zip(rest, again, strict=True):
                replies[number] = reply
        return replies

    async def send_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write, once; the first error reply is raised.

        But `NoScriptError` is among the replies. What the server refuses for a moment
        is sent again until the deadline.
        """
        started = time.monotonic()
        replies = await self._exchange(commands)
        refusals = 0
        while refused := [n for n, reply in enumerate(replies) if is_passing(reply)]:
            if not await self._may_wait(started, refusals):
                break
            refusals += 1
            again = await self._exchange([commands[number] for number in refused])
            for number, reply in zip(refused, again, strict=True):
                replies[number] = reply
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, Exception) and not isinstance(reply, NoScriptError):
                raise self._translated(reply, command)
        return replies

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write; return the replies, errors included."""
        if self._threads is None:
            connection = self._loops.current()
            sent = [connection.send(*command) for command in commands]
            return await asyncio.gather(*sent, return_exceptions=True)
        try:
            return self._threads.send_all(commands)
        except (RedisError, OSError) as error:
            return [error] * len(commands)

    async def send_to_each(self, *command: Any) -> list[Any]:
        """Return each server's reply to a command; of a cluster, each primary's."""
        return [
            await self._send_to(primary, command)
            for primary in await self._primaries(command)
        ]

    async def scan(self, pattern: str) -> list[bytes]:
        """Return our keys that match a pattern, in many small steps over all keys.

        Some may be returned more than once.
        """
        # Special characters of a pattern may be part of the prefix.
        prefix = re.sub(r"([][*?\\])", r"\\\1", conf.get().key_prefix)
        options = "MATCH", f"{prefix}:{pattern}", "COUNT", 1_000
        found: list[bytes] = []
        for primary in await self._primaries(("SCAN", "")):
            cursor = b"0"
            while True:
                step = "SCAN", cursor, *options
                cursor, keys = await self._send_to(primary, step)
                found += keys
                if cursor == b"0":
                    break
        return found

    async def _primaries(self, command: Command) -> Sequence[Any]:
        try:
            if self._threads is not None:
                return self._threads.primaries()
            return await self._loops.current().primaries()
        except (RedisError, OSError) as error:
            raise self._translated(error, command) from error

    async def _send_to(self, primary: Any, command: Command) -> Any:
        try:
            reply = primary.send(*command)
            return reply if self._threads is not None else await reply
        except (RedisError, OSError) as error:
            raise self._translated(error, command) from error

    def _translated(self, error: Exception, command: Command) -> SessionStoresError:
        key = first_key(command) if len(command) > 1 else ""
        seconds, tls = self.location.reply_seconds, speaks_tls(self.location)
        return translated(error, self._server, key, seconds, tls=tls)
