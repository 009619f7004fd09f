"""Backends: where records live, one for each cache that the settings name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.cache import InvalidCacheBackendError
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from .. import conf
from ..concurrency.threads import mutex
from .base import Backend
from .server_workers import warn_of_others

_NEVER = {
    DummyCache: "keeps nothing",
    FileBasedCache: "loses acknowledged writes when two processes write at once",
}
# By the name of the cache class, so that no unused package is imported: our class, and
# the extra of ours that it needs.
_BACKENDS = {
    "django.core.cache.backends.locmem.LocMemCache": ("locmem.LocMemBackend", None),
    "django.core.cache.backends.redis.RedisCache": (
        "redis.backend.RedisBackend",
        "redis",
    ),
    "django_redis.cache.RedisCache": ("redis.backend.RedisBackend", "redis"),
    "django_valkey.base.BaseValkeyCache": ("redis.backend.RedisBackend", "redis"),
    "django.core.cache.backends.memcached.BaseMemcachedCache": (
        "memcached.MemcachedBackend",
        "memcached",
    ),
    "django.core.cache.backends.db.DatabaseCache": ("database.DatabaseBackend", None),
}
# A change of these makes new backends, and connections.
_RESET_BY = {"CACHES", "DATABASES", "SESSIONSTORES", "TIME_ZONE", "USE_TZ"}
_WAY_OUT = (
    "Name an alias of CACHES in SESSIONSTORES['CACHE'] that is a LocMemCache, a Redis "
    "cache, memcached or a DatabaseCache; for any other way to reach a Redis or "
    "Valkey, give SESSIONSTORES['REDIS'] its address."
)


def get_backend(*, blocking: bool, alias: str | None = None) -> Backend:
    """Return this process's backend for the cache `alias`, or else for `CACHE`.

    The blocking flavour is for synchronous code, the other for coroutines. Raises
    `ImproperlyConfigured` for a cache with a `problem`.
    """
    name = alias or conf.get().cache
    flavours = _backends.get(name) or _create(name)
    return flavours[blocking]


def in_use(backend: Backend, *, blocking: bool) -> Backend | None:
    """Return a flavour of a backend that this process uses; None: it has been dropped.

    Reads no settings, which may name another site by now, or none.
    """
    for flavours in list(_backends.values()):
        if backend in flavours:
            return flavours[blocking]
    return None


def problem(alias: str) -> str | None:
    """Return why the cache `alias` cannot hold records; None if it can.

    Reads settings only, and connects to nothing.
    """
    try:
        return _problem(_backend_class(alias), alias)
    except ImproperlyConfigured as error:
        return str(error)


def _problem(cls: type[Backend], alias: str) -> str | None:
    return conf.prefix_problem(alias) or cls.problem(alias)


def _backend_class(alias: str) -> type[Backend]:
    if alias not in settings.CACHES:
        known = ", ".join(map(repr, sorted(settings.CACHES)))
        raise ImproperlyConfigured(
            f"CACHES has no alias {alias!r}, only {known}. {_WAY_OUT}"
        )
    path = settings.CACHES[alias].get("BACKEND")
    if places_redis(conf.get().redis):
        return _loaded(alias, path, "redis.backend.RedisBackend", "redis")
    try:
        cls = _cache_class(path)
    except InvalidCacheBackendError as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] cannot be loaded: {error}."
        ) from error
    for refused, reason in _NEVER.items():
        if issubclass(cls, refused):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] is a {cls.__name__}, which {reason}. {_WAY_OUT}"
            )
    for name in _lineage(cls):
        if name in _BACKENDS:
            return _loaded(alias, path, *_BACKENDS[name])
    raise ImproperlyConfigured(
        f"CACHES[{alias!r}] is a {cls.__name__}, which has no backend in "
        f"sessionstores ({path}). {_WAY_OUT}"
    )


def places_redis(given: dict[str, Any] | None) -> bool:
    """Return whether a `REDIS` setting names a server of its own."""
    return bool(given) and not {"url", "sentinels", "cluster"}.isdisjoint(given or {})


def _loaded(alias: str, path: object, name: str, extra: str | None) -> type[Backend]:
    try:
        cls: type[Backend] = import_string(f"{__name__}.{name}")
    except ImportError as error:
        if extra is None:
            raise
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] ({path}) needs a package that is missing ({error}): "
            f"pip install 'django-sessionstores[{extra}]'."
        ) from error
    return cls


def _lineage(cls: type) -> list[str]:
    """Return the paths of a class and its ancestors."""
    return [f"{each.__module__}.{each.__qualname__}" for each in cls.__mro__]


def _cache_class(path: object) -> type:
    try:
        cls: Any = import_string(path) if isinstance(path, str) else path
    except ImportError as error:
        raise InvalidCacheBackendError(f"BACKEND {path!r}: {error}") from error
    # django-valkey's caches have the methods of a BaseCache without being one.
    if isinstance(cls, type) and (
        issubclass(cls, BaseCache) or not _BACKENDS.keys().isdisjoint(_lineage(cls))
    ):
        return cls
    raise InvalidCacheBackendError(f"BACKEND {path!r} is not a cache class")


# Makes one flavour of an alias's backend: `make(alias, blocking=…)`.
Maker = Callable[..., Backend]

# Both flavours of each alias; the index is whether it blocks.
_backends: dict[str, tuple[Backend, Backend]] = {}
# What makes them in place of the settings: of the blocks of `made_by`, the last counts.
_makers: list[Maker | None] = []
_lock = mutex()


def _create(alias: str) -> tuple[Backend, Backend]:
    # One pair for all threads: it owns the clock, and what this process remembers.
    with _lock:
        if alias not in _backends:
            make = current_maker() or _configured(alias)
            flavours = make(alias, blocking=False), make(alias, blocking=True)
            flavours[False].clock = flavours[True].clock
            flavours[False].memory = flavours[True].memory
            _backends[alias] = flavours
            if not flavours[True].shared:
                warn_of_others(alias)
        return _backends[alias]


def _configured(alias: str) -> Maker:
    cls = _backend_class(alias)
    if reason := _problem(cls, alias):
        raise ImproperlyConfigured(reason)
    return cls


def current_maker() -> Maker | None:
    """Return what makes backends in place of the settings; None: the settings do."""
    return _makers[-1] if _makers else None


@contextmanager
def made_by(make: Maker | None) -> Iterator[None]:
    """Have `make` make all backends in a block, in every thread; None: the settings.

    Those from before are dropped, and those of the block after it. Blocks may end in
    any order, as fixtures do. For tests; not while others use the backends.
    """
    try:
        _makers.append(make)
        drop_backends()
        yield
    finally:
        del _makers[max(place for place, each in enumerate(_makers) if each is make)]
        drop_backends()


def _renew_lock() -> None:
    # Another thread may have held it at the fork.
    global _lock
    _lock = mutex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def drop_backends() -> None:
    """Drop all backends, with what this process remembers of them; end its threads.

    The next `get_backend` makes new ones. For tests, and for settings that change.
    """
    while _backends:
        _, (backend, _) = _backends.popitem()
        backend.memory.close()


@receiver(setting_changed)
def _drop_backends(*, setting: str, **kwargs: Any) -> None:
    if setting in _RESET_BY:
        drop_backends()
