"""Script runners for tests: one at the time of a test, and one that counts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import redis

from sessionstores.backends.redis.location import Location, location_for
from sessionstores.backends.redis.scripts import Script, ScriptRunner, load_script
from sessionstores.exceptions import StoreUnavailable
from tests.backends.driven import Clock

# Where a script asks the server for the time.
TIME = "call('TIME')"
# A busy machine may take its time: deadlines have tests of their own.
PATIENCE = 10.0


@lru_cache(maxsize=256)
def script_at(name: str, time: float) -> Script:
    """Return a script for which it is that time."""
    text = load_script(name).text
    assert TIME in text or name == "swap"
    seconds = int(time)
    return Script.of(
        text.replace(TIME, f"{{{seconds}, {round((time - seconds) * 1e6)}}}")
    )


_clients: dict[str, Any] = {}


def shared_client(location: Location) -> Any:
    """Return a client that tests share: one of a cluster takes long to begin."""
    address = location.url or location.cluster
    named = {"db", "username", "password"} & location.options.keys()
    options = {name: location.options[name] for name in sorted(named)}
    known = f"{address} {options}"
    if known not in _clients:
        kind: Any = redis.RedisCluster if location.cluster else redis.Redis
        _clients[known] = kind.from_url(address, **options)
    return _clients[known]


class ClockedScripts(ScriptRunner):
    """Runs scripts at the time of a test: they read it, and keys age with it."""

    def __init__(self, clock: Clock, *, blocking: bool) -> None:
        location = location_for("default")._replace(reply_seconds=PATIENCE)
        super().__init__(location, blocking=blocking)
        self.clock = clock
        self.outside: Any = shared_client(location)

    def script(self, name: str) -> Script:
        return script_at(name, self.clock.time)

    async def send(self, *command: Any, retry: bool = True) -> Any:
        self.age()
        return await super().send(*command, retry=retry)

    async def send_all(self, commands: Any) -> list[Any]:
        self.age()
        return await super().send_all(commands)

    def age(self) -> None:
        """Shorten the life of every key by as much as the clock has advanced."""
        passed = self.clock.time - getattr(self.clock, "aged", self.clock.time)
        self.clock.aged = self.clock.time  # type: ignore[attr-defined]
        if not passed:
            return
        for key in list(self.outside.scan_iter("*")):
            left = self.outside.pttl(key)
            if left >= 0:
                self.outside.pexpire(key, max(0, left - int(passed * 1000)))


class CountingScripts(ClockedScripts):
    """Counts the commands, and loses the reply to one of them."""

    sent = 0
    loses = 0

    async def send(self, *command: Any, retry: bool = True) -> Any:
        self.sent += 1
        reply = await super().send(*command, retry=retry)
        if self.sent == self.loses:
            raise StoreUnavailable("lost")
        return reply
