"""Redis and Valkey: the contract over every way to reach a server, and more."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from typing import Any, ClassVar

import pytest
import redis
from pytest_django import Settings

from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.location import Location, location_for
from sessionstores.backends.redis.scripts import Script, ScriptRunner, load_script
from tests.contract.contract import BackendContract, Clock
from tests.servers import ValkeyCluster

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
    if address not in _clients:
        kind: Any = redis.RedisCluster if location.cluster else redis.Redis
        _clients[address] = kind.from_url(address)
    return _clients[address]


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


class RedisContract(BackendContract):
    THREADS: ClassVar[int] = 8
    COMMITS: ClassVar[int] = 250
    RACES: ClassVar[int] = 10
    INDEX: ClassVar[str] = "i"

    def make_backend(self, *, blocking: bool, clock: Clock) -> RedisBackend:
        scripts = ClockedScripts(clock, blocking=blocking)
        self.outside = scripts.outside
        return RedisBackend("default", blocking=blocking, scripts=scripts)

    def plant(self, key: str, value: bytes, clock: Clock) -> None:
        self.outside.delete(key)
        self.outside.set(key, value)

    def lose(self, key: str, clock: Clock) -> None:
        assert self.outside.delete(key) == 1


class TestRedisCache(RedisContract):
    @pytest.fixture(autouse=True)
    def _at(self, settings: Settings, redis_url: str) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis_url,
            }
        }


class TestDjangoRedis(RedisContract):
    COMMITS: ClassVar[int] = 25
    RACES: ClassVar[int] = 2

    @pytest.fixture(autouse=True)
    def _at(self, settings: Settings, redis_url: str) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": redis_url,
            }
        }


class TestCluster(RedisContract):
    COMMITS: ClassVar[int] = 25
    RACES: ClassVar[int] = 2

    @pytest.fixture(autouse=True)
    def _at(self, settings: Settings, cluster: ValkeyCluster) -> None:
        settings.SESSIONSTORES = {"REDIS": {"cluster": cluster.nodes[0].url}}


# Run by another process, since this one has imported hiredis. Prints what the system
# check says, then what a site's first use raises.
WITHOUT_HIREDIS = """
import sys
sys.modules["hiredis"] = None
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["sessionstores"],
    CACHES={"default": {"BACKEND": sys.argv[1], "LOCATION": "redis://x.invalid"}},
)
django.setup()
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from sessionstores import stores
print(*(found.msg for found in run_checks() if found.id == "sessionstores.E002"))
try:
    stores.create_session()
except ImproperlyConfigured as error:
    print(error)
"""


@pytest.mark.parametrize(
    "cache",
    ["django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"],
)
def test_without_hiredis_the_check_and_the_first_use_name_the_extra(cache: str) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_HIREDIS, cache]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    check, use = process.stdout.splitlines()
    assert "pip install 'django-sessionstores[redis]'" in check
    assert "hiredis" in check
    assert use == check
