"""System checks of the cache and the channel layer, and for several processes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from math import inf
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db import connections
from django.utils.module_loading import import_string

from .. import conf
from ..backends import get_backend, places_redis, problem
from ..backends.database import database_of, table_of
from .settings import TAG, Apps, usable_conf

DATABASE = "django.core.cache.backends.db.DatabaseCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO_VALKEY = "django_valkey.base.BaseValkeyCache"
REDIS = ("django.core.cache.backends.redis.RedisCache", DJANGO_REDIS, DJANGO_VALKEY)
# The settings by which packages hide outages in all their caches.
HIDING = {
    DJANGO_REDIS: "DJANGO_REDIS_IGNORE_EXCEPTIONS",
    DJANGO_VALKEY: "DJANGO_VALKEY_IGNORE_EXCEPTIONS",
}
# The default serializers of Django and of django-redis.
PICKLING = (".RedisSerializer", ".PickleSerializer")
IN_MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
# RedisPubSubChannelLayer has none of the limits below: it reads for a tenth of a
# second at a time, sends over one connection, and its queues are unbounded.
CORE_LAYER = "channels_redis.core.RedisChannelLayer"

# The default of MAX_ENTRIES, and a value that no site reaches.
DJANGO_MAX_ENTRIES = 300
ENOUGH_ENTRIES = 1_000_000
# How long RedisChannelLayer waits for a message.
LAYER_READ_SECONDS = 5
# Limits that redis-py has by default from version 8 on.
REDIS_PY_8 = {"socket_timeout": 5, "max_connections": 100}
ENOUGH_CONNECTIONS = 500
LAYER_CAPACITY = 100
ENOUGH_CAPACITY = 1_000
# What a site sets that is behind a proxy.
PROXY_SETTINGS = (
    "SECURE_PROXY_SSL_HEADER",
    "USE_X_FORWARDED_HOST",
    "USE_X_FORWARDED_PORT",
)
# Seconds that a driver may wait for a database.
LONGEST_WAIT = 2

_PUBSUB = "Use channels_redis.pubsub.RedisPubSubChannelLayer, which has no such limit"


@register(TAG)
def check_workers(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005 at every check, if the environment asks for several workers."""
    return list(_process_local()) if _several_workers() else []


@register(TAG, deploy=True)
def check_processes(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005 for deployment: a cache or layer that only one process sees."""
    return [] if _several_workers() else list(_process_local())


def _process_local() -> Iterator[CheckMessage]:
    given = usable_conf()
    if (
        given is not None
        and problem(given.cache) is None
        and not get_backend(blocking=True).shared
    ):
        yield Warning(
            f"The cache {given.cache!r} keeps records in the memory of this process: "
            "other processes do not see them, and a restart loses them.",
            hint="Set SESSIONSTORES['CACHE'] to a cache that processes share. If the "
            "site is one process and may lose its data, silence this check.",
            id="sessionstores.W004",
        )
    if IN_MEMORY_LAYER in _lineage(_layer()):
        yield Warning(
            "The channel layer reaches only this process: tabs that another process "
            "serves see a change only at their next heartbeat.",
            hint="Use a layer that processes share, such as channels_redis.pubsub."
            "RedisPubSubChannelLayer. If the site is one process, silence this "
            "check.",
            id="sessionstores.W005",
        )


def _several_workers() -> bool:
    # Gunicorn and uvicorn read their number of workers from it.
    number = os.environ.get("WEB_CONCURRENCY", "")
    return number.isdecimal() and int(number) > 1


@register(TAG)
def check_database_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W008: Django culls the table of the records. W009, W018: its database."""
    given = _records_in(DATABASE)
    if given is None:
        return []
    found: list[CheckMessage] = []
    table = table_of(given.cache)
    for alias, cache in settings.CACHES.items():
        if DATABASE not in _lineage(cache) or table_of(alias) != table:
            continue
        limit = _options(cache).get("MAX_ENTRIES", DJANGO_MAX_ENTRIES)
        if _number(limit) < ENOUGH_ENTRIES:
            found.append(
                Warning(
                    f"CACHES[{alias!r}] allows {limit} rows in the table {table!r}, "
                    "which holds the records. Beyond that, each write of Django's "
                    "cache deletes rows in the order of their keys, records included.",
                    hint="Give the records a table of their own (createcachetable "
                    "creates it) under an alias with OPTIONS = {'MAX_ENTRIES': 10**9}, "
                    "named in SESSIONSTORES['CACHE'].",
                    id="sessionstores.W008",
                )
            )
    database = database_of(table)
    if connections[database].settings_dict["ATOMIC_REQUESTS"]:
        found.append(
            Warning(
                f"ATOMIC_REQUESTS is on for the database {database!r}, which holds "
                "the records: every use of a store in a synchronous view raises "
                "InsideTransaction.",
                hint="Decorate these views with transaction.non_atomic_requests, turn "
                "ATOMIC_REQUESTS off, or keep the records in a database of their own "
                "(DATABASE_ROUTERS, app label 'django_cache').",
                id="sessionstores.W009",
            )
        )
    if _waits_for_ever(connections[database]):
        found.append(
            Warning(
                f"The driver of the database {database!r}, which holds the records, "
                "has no call that another thread could abort: where the server falls "
                "silent, a synchronous view waits as long as the driver does, perhaps "
                "for ever.",
                hint="Use mysqlclient, or set in DATABASES"
                f"[{database!r}]['OPTIONS'] 'read_timeout' and 'write_timeout' to "
                f"{LONGEST_WAIT} seconds at most.",
                id="sessionstores.W018",
            )
        )
    return found


def _waits_for_ever(connection: Any) -> bool:
    """Return whether nothing bounds a call to a server that does not answer."""
    if connection.vendor != "mysql":
        return False
    driver = getattr(connection.Database, "connections", connection.Database)
    # By its socket, a call is aborted from another thread.
    if hasattr(getattr(driver, "Connection", None), "fileno"):
        return False
    options = connection.settings_dict["OPTIONS"]
    waits = (options.get(name) for name in ("read_timeout", "write_timeout"))
    return not all(wait and 0 < _number(wait) <= LONGEST_WAIT for wait in waits)


@register(TAG)
def check_outages(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W010: a cache that answers as if it were empty while it is unreachable."""
    given = usable_conf()
    uses: dict[str, str] = {}
    if given is not None and not places_redis(given.redis):
        uses[given.cache] = (
            "Records bypass the option and raise StoreUnavailable; everything else "
            "that reads from this cache continues as if it were empty."
        )
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache":
        uses[settings.SESSION_CACHE_ALIAS] = (
            "Django's sessions are in it: in an outage everybody looks new, and join() "
            "gives people a new identity with an empty state."
        )
    return [
        Warning(
            f"CACHES[{alias!r}] hides outages ({option}). {consequence}",
            hint=f"Remove {option}, so that an outage is an error.",
            id="sessionstores.W010",
        )
        for alias, consequence in uses.items()
        if (option := _hides_outages(settings.CACHES.get(alias, {})))
    ]


def _hides_outages(cache: Mapping[str, Any]) -> str | None:
    """Return the option or setting that hides outages; None if none does."""
    options = _options(cache)
    for option in ("IGNORE_EXCEPTIONS", "ignore_exc"):
        if option in options:
            return option if options[option] else None
    for path, setting in HIDING.items():
        if getattr(settings, setting, False) and path in _lineage(cache):
            return setting
    return None


@register(TAG)
def check_redis_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W011: several servers, of which the records use only the first."""
    given = _records_in(*REDIS)
    if given is None:
        return []
    cache = settings.CACHES[given.cache]
    given_as: str | Sequence[str] = cache.get("LOCATION") or ""
    locations = re.split("[;,]", given_as) if isinstance(given_as, str) else given_as
    # With sentinels, all locations name the same service.
    if len(locations) < 2 or "SENTINELS" in _options(cache):
        return []
    return [
        Warning(
            f"CACHES[{given.cache!r}] names {len(locations)} servers. Records use only "
            "the first. The others, from which Django's cache reads at random, must be "
            "its replicas and do not provide failover.",
            hint="If they are replicas of the first, silence this check. For failover, "
            "set SESSIONSTORES['REDIS'] to the sentinels; for shards, to the cluster.",
            id="sessionstores.W011",
        )
    ]


@register(TAG)
def check_redis_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W012: reads time out. W013: few connections. W014: small capacity."""
    layer = _layer()
    if CORE_LAYER not in _lineage(layer):
        return []
    config = layer.get("CONFIG") or {}
    clients = [_client_arguments(host) for host in config.get("hosts") or [{}]]
    seconds = min(_number(client.get("socket_timeout")) for client in clients)
    limit = min(_number(client.get("max_connections")) for client in clients)
    capacity = config.get("capacity", LAYER_CAPACITY)
    found: list[CheckMessage] = []
    if seconds <= LAYER_READ_SECONDS:
        found.append(
            Warning(
                f"The channel layer waits {LAYER_READ_SECONDS} s for a message, but "
                f"its Redis client only {seconds:g} s for a reply: in an idle process, "
                "reads keep failing, and messages from other processes are late.",
                hint=f"{_PUBSUB}, or set its hosts to "
                "{'address': 'redis://…', 'socket_timeout': 15}.",
                id="sessionstores.W012",
            )
        )
    if limit < ENOUGH_CONNECTIONS:
        found.append(
            Warning(
                f"The channel layer has at most {limit:g} connections to Redis; a "
                "further call at the same time raises MaxConnectionsError. "
                "sessionstores sends its messages one after the other; consumers of "
                "the site may not.",
                hint=f"{_PUBSUB}, or set its hosts to "
                "{'address': 'redis://…', 'max_connections': 1000}.",
                id="sessionstores.W013",
            )
        )
    if _number(capacity) < ENOUGH_CAPACITY:
        found.append(
            Warning(
                f"The channel layer holds {capacity} messages for all channels of a "
                "process together and drops further ones: tabs then see a change only "
                "at their next heartbeat.",
                hint=f"{_PUBSUB}, or give its CONFIG 'capacity': {ENOUGH_CAPACITY}.",
                id="sessionstores.W014",
            )
        )
    return found


def _client_arguments(host: object) -> dict[str, Any]:
    """Return the arguments of a layer's Redis client; those in its URL win."""
    defaults = REDIS_PY_8 if int(version("redis").split(".")[0]) >= 8 else {}
    given = dict(host) if isinstance(host, Mapping) else {"address": host}
    address = given.get("address")
    query = urlsplit(address).query if isinstance(address, str) else ""
    return {**defaults, **given, **dict(parse_qsl(query))}


@register(TAG, deploy=True)
def check_pickle(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W015: whoever can write to the server can run code in the site."""
    given = _records_in(*REDIS)
    if given is None:
        return []
    options = _options(settings.CACHES[given.cache])
    given_as = options.get("serializer") or options.get("SERIALIZER") or PICKLING[0]
    if not any(name in str(given_as) for name in PICKLING):
        return []
    return [
        Warning(
            f"CACHES[{given.cache!r}] unpickles what it reads, so anybody who can "
            "write to that server can run code in every process that reads from it "
            "through Django's cache. Records are never unpickled.",
            hint="Set a serializer in its OPTIONS that does not pickle. If only this "
            "site can reach the server, silence this check.",
            id="sessionstores.W015",
        )
    ]


@register(TAG)
def check_static_files(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W022: WhiteNoise deletes the modules that scripts import."""
    if not getattr(settings, "WHITENOISE_KEEP_ONLY_HASHED_FILES", False):
        return []
    path = settings.STORAGES.get("staticfiles", {}).get("BACKEND", "")
    with suppress(ImportError):
        # True where the names in imports are replaced by hashed ones.
        if getattr(import_string(path), "support_js_module_import_aggregation", False):
            return []
    return [
        Warning(
            "WHITENOISE_KEEP_ONLY_HASHED_FILES deletes client.js and other modules "
            f"under the names by which scripts import them: {path} puts no hashed "
            "names into imports.",
            hint="Use a subclass of that storage with "
            "support_js_module_import_aggregation = True, or keep all files.",
            id="sessionstores.W022",
        )
    ]


@register(TAG, deploy=True)
def check_proxy(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W021: wrong codes of all visitors may count as those of a proxy."""
    given = usable_conf()
    said = [name for name in PROXY_SETTINGS if getattr(settings, name, None)]
    if given is None or given.guess_limit is None or not said:
        return []
    return [
        Warning(
            f"The site is behind a proxy, as {said[0]} says. Unless its server takes "
            "visitors' addresses from the proxy's headers, the wrong session codes of "
            "all visitors count as those of one address, and few of them lock "
            "everybody out.",
            hint="Start uvicorn with --proxy-headers and --forwarded-allow-ips, daphne "
            "with --proxy-headers, and silence this check; or set "
            "SESSIONSTORES['GUESS_LIMIT'] to None if the proxy limits requests.",
            id="sessionstores.W021",
        )
    ]


def _records_in(*caches: str) -> conf.Conf | None:
    """Return the settings if a cache of one of these classes holds the records."""
    given = usable_conf()
    if given is None or places_redis(given.redis) or problem(given.cache):
        return None
    lineage = _lineage(settings.CACHES[given.cache])
    return None if lineage.isdisjoint(caches) else given


def _layer() -> Mapping[str, Any]:
    layers: Mapping[str, Mapping[str, Any]] = getattr(settings, "CHANNEL_LAYERS", {})
    return layers.get("default", {})


def _lineage(configured: Mapping[str, Any]) -> frozenset[str]:
    """Return the paths of the class of a cache or layer, and of its ancestors.

    Empty if it cannot be imported: E002, or Channels itself, reports that.
    """
    try:
        cls: Any = import_string(str(configured.get("BACKEND")))
    except ImportError:
        return frozenset()
    ancestors = getattr(cls, "__mro__", ())
    return frozenset(f"{c.__module__}.{c.__qualname__}" for c in ancestors)


def _options(cache: Mapping[str, Any]) -> Mapping[str, Any]:
    options: Mapping[str, Any] = cache.get("OPTIONS") or {}
    return options


def _number(given: object) -> float:
    """Return a limit as a number: infinity for None, 0 for what is not a number."""
    try:
        return inf if given is None else float(str(given))
    except ValueError:
        return 0
