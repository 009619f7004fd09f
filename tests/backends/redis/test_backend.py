"""Redis and Valkey: the contract over every way to reach a server, and more."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest
from pytest_django import Settings

from sessionstores.backends.redis.backend import RedisBackend
from tests.backends.redis.clocked import ClockedScripts
from tests.contract.contract import BackendContract, Clock
from tests.servers import ValkeyCluster


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
