"""The backend that the settings choose."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.core.cache import InvalidCacheBackendError
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from .. import conf
from .base import Backend
from .locmem import LocMemBackend

_NEVER = {
    DummyCache: "keeps nothing",
    FileBasedCache: "loses acknowledged writes when two processes write at once",
}
_NOT_YET = (RedisCache, BaseMemcachedCache, DatabaseCache)
_WAY_OUT = (
    "Name an alias of CACHES that is a LocMemCache in SESSIONSTORES['CACHE']; records "
    "are kept apart from what the site caches there."
)


def get_backend(*, blocking: bool) -> Backend:
    """Return this process's backend for the cache that `CACHE` names.

    The blocking flavour is for synchronous code, the other for coroutines. Raises
    `ImproperlyConfigured` for a cache that cannot be used, see `problem`.
    """
    return _backend(conf.get().cache, blocking=blocking)


def problem(alias: str) -> str | None:
    """Say in words why the cache `alias` cannot hold records; None if it can.

    Reads settings only: no cache is made and none is asked.
    """
    if alias not in settings.CACHES:
        known = ", ".join(map(repr, sorted(settings.CACHES)))
        return f"CACHES has no alias {alias!r}, only {known}. {_WAY_OUT}"
    path = settings.CACHES[alias].get("BACKEND")
    try:
        cls = _cache_class(path)
    except InvalidCacheBackendError as error:
        return f"CACHES[{alias!r}] cannot be loaded: {error}."
    if issubclass(cls, LocMemCache):
        return None
    for refused, reason in _NEVER.items():
        if issubclass(cls, refused):
            return f"CACHES[{alias!r}] is a {cls.__name__}, which {reason}. {_WAY_OUT}"
    if issubclass(cls, _NOT_YET):
        reason = "has no backend yet in this version of sessionstores"
    else:
        reason = f"has no backend in sessionstores ({path})"
    return f"CACHES[{alias!r}] is a {cls.__name__}, which {reason}. {_WAY_OUT}"


def _cache_class(path: object) -> type[BaseCache]:
    try:
        cls: Any = import_string(path) if isinstance(path, str) else path
    except ImportError as error:
        raise InvalidCacheBackendError(f"BACKEND {path!r}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, BaseCache)):
        raise InvalidCacheBackendError(f"BACKEND {path!r} is not a cache class")
    return cls


@cache
def _backend(alias: str, *, blocking: bool) -> Backend:
    if reason := problem(alias):
        raise ImproperlyConfigured(reason)
    return LocMemBackend(alias, blocking=blocking)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "SESSIONSTORES"}:
        _backend.cache_clear()
