"""Settings of sites whose states are kept by one server or another."""

from __future__ import annotations

from typing import Any

Site = dict[str, Any]


def on_redis(port: int, database: int = 0) -> Site:
    """Return the settings for a Redis or Valkey."""
    return _with("redis.RedisCache", f"redis://127.0.0.1:{port}/{database}")


def on_memcached(port: int) -> Site:
    """Return the settings for a memcached."""
    return _with("memcached.PyMemcacheCache", f"127.0.0.1:{port}")


def on_database(database: dict[str, Any], table: str = "sessionstores_cache") -> Site:
    """Return the settings for a cache in a database, which needs its table yet."""
    site = _with("db.DatabaseCache", table)
    return {**site, "DATABASES": {"default": database}}


def _with(backend: str, location: str) -> Site:
    path = f"django.core.cache.backends.{backend}"
    return {"CACHES": {"default": {"BACKEND": path, "LOCATION": location}}}
