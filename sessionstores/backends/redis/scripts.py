"""How commands and scripts reach a Redis or Valkey server, and what its errors mean."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ... import conf
from ...exceptions import StoreUnavailable
from ...keys import StoreKey, cache_key, shared_key
from ..base import Backend
from .client import LoopClients, sender
from .cluster import first_key
from .errors import WAYS_OUT, lost, refused, silent, wrong_type
from .location import location_for, name_of
from .sync_pool import word_of

# A command is sent again only if it failed so soon that the second fits the deadline.
SOON = 0.3

# Scripts that bring all that they need.
ALONE = frozenset({"commit", "due", "read", "register", "swap"})


class Script(NamedTuple):
    """A script with the name by which the server knows it once it is loaded."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return one of the files in `lua/`, with what all of them share before it."""
    folder = Path(__file__).with_name("lua")
    parts = [name] if name in ALONE else ["prelude", name]
    return load_script(
        "\n".join((folder / f"{part}.lua").read_text() for part in parts)
    )


def load_script(text: str) -> Script:
    """Return the script of this text."""
    return Script(text, sha1(text.encode()).hexdigest())  # noqa: S324 - Redis's name


class RedisCommands(Backend):
    """Sends commands and scripts, each to the slot of its session."""

    def __init__(self, alias: str, *, blocking: bool) -> None:
        super().__init__(blocking=blocking)
        self._place = location_for(alias)
        if blocking:
            self._sender = sender(self._place)
        else:
            self._clients = LoopClients(self._place)

    async def _send(self, *command: Any, again: bool = True) -> Any:
        """Send one command; once more if its answer is lost soon and it bears that.

        Raises `StoreUnavailable`, and `StateCorrupt` for a key of another's type.
        """
        started = time.monotonic()
        try:
            return await self._once(command)
        except StoreUnavailable:
            if not again or time.monotonic() - started > SOON:
                raise
        return await self._once(command)

    async def _once(self, command: tuple[Any, ...], node: Any = None) -> Any:
        try:
            if self.blocking:
                return (node or self._sender).send(*command)
            return await (node or self._clients.current()).send(*command)
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise self._translated(error, command) from error

    def _translated(self, error: Exception, command: tuple[Any, ...]) -> Exception:
        """Return what an error of redis-py's, or of the network, is to callers."""
        server, word = name_of(self._place), word_of(error)
        if word == "WRONGTYPE":
            return wrong_type(server, first_key(command))
        if word in WAYS_OUT or isinstance(error, ResponseError):
            return refused(server, word, str(error))
        if isinstance(error, RedisTimeoutError | TimeoutError):
            return silent(server)
        return lost(server, str(error))

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
        self,
        name: str,
        calls: Sequence[tuple[str, Sequence[Any]]],
        *,
        again: bool = True,
    ) -> list[Any]:
        """Run a script for several sessions at once, with the arguments of each."""
        wanted = self._script(name)
        commands = [
            ("EVALSHA", wanted.sha, 1, self._session(session), *arguments)
            for session, arguments in calls
        ]
        answers = await self._send_all(commands)
        # The first loads it for all others on its server.
        while missing := [
            n for n, a in enumerate(answers) if isinstance(a, NoScriptError)
        ]:
            first, *rest = missing
            session, arguments = calls[first]
            answers[first] = await self._run(name, session, *arguments, again=again)
            anew = await self._send_all([commands[number] for number in rest])
            for number, answer in zip(rest, anew, strict=True):
                answers[number] = answer
        return answers

    async def _send_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one write; errors of the server's are among the answers."""
        try:
            if self.blocking:
                answers = self._sender.send_all(commands)
            else:
                client = self._clients.current()
                sent = [client.send(*command) for command in commands]
                answers = await asyncio.gather(*sent, return_exceptions=True)
        except (RedisError, OSError) as error:
            raise self._translated(error, commands[0]) from error
        for answer, command in zip(answers, commands, strict=True):
            if isinstance(answer, Exception) and not isinstance(answer, NoScriptError):
                raise self._translated(answer, command)
        return answers

    async def _ask_all(self, *command: Any) -> list[Any]:
        """Return each server's answer, of a cluster each primary's."""
        return [await self._once(command, node) for node in await self._nodes(command)]

    async def _nodes(self, command: tuple[Any, ...]) -> Sequence[Any]:
        try:
            if self.blocking:
                return self._sender.nodes()
            return await self._clients.current().nodes()
        except (RedisError, OSError) as error:
            raise self._translated(error, command) from error

    async def _scan(self, pattern: str) -> list[bytes]:
        """Return the keys of ours that match, in many small steps over all.

        Some may be among them more than once.
        """
        # What is special in a pattern may be part of the prefix.
        prefix = re.sub(r"([][*?\\])", r"\\\1", conf.get().key_prefix)
        how = "MATCH", f"{prefix}:{pattern}", "COUNT", 1_000
        found: list[bytes] = []
        for node in await self._nodes(("SCAN",)):
            cursor = b"0"
            while True:
                cursor, keys = await self._once(("SCAN", cursor, *how), node)
                found += keys
                if cursor == b"0":
                    break
        return found

    def _script(self, name: str) -> Script:
        return script(name)

    def _session(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "s")

    def _record(self, key: StoreKey) -> str:
        if key.is_session:
            return self._session(key.session)
        return cache_key(conf.get().key_prefix, key.session, "p", key.participant)

    def _index(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "i")

    def _tombstone(self, session: str) -> str:
        return cache_key(conf.get().key_prefix, session, "t")

    def _registry(self) -> str:
        return shared_key(conf.get().key_prefix, "reg", "")
