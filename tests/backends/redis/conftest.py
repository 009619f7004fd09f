"""A backend on the shared Valkey, at the time of a test, that counts its commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from sessionstores.backends.base import run
from sessionstores.backends.redis.backend import RedisBackend
from tests.backends.driven import Clock
from tests.backends.redis.clocked import CountingScripts


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scripts(settings: Settings, redis_url: str, clock: Clock) -> CountingScripts:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": redis_url,
        }
    }
    return CountingScripts(clock, blocking=True)


@pytest.fixture
def backend(scripts: CountingScripts) -> Iterator[RedisBackend]:
    backend = RedisBackend("default", blocking=True, scripts=scripts)
    run(backend.clear())
    yield backend
    run(backend.clear())
