"""System checks of the caches: of the records, and of Django's sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db import connections

from .. import conf
from ..backends import places_redis, problem
from ..backends.database import database_of, table_of
from ..backends.redis.addresses import first_location, locations, odd_database
from .classes import as_number, lineage_of, options_of
from .settings import TAG, Apps, usable_conf

DATABASE = "django.core.cache.backends.db.DatabaseCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO_VALKEY = "django_valkey.base.BaseValkeyCache"
REDIS = ("django.core.cache.backends.redis.RedisCache", DJANGO_REDIS, DJANGO_VALKEY)
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
MEMCACHED = "django.core.cache.backends.memcached.BaseMemcachedCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
IN_CACHE = "django.contrib.sessions.backends.cache"
# Keys of SESSIONSTORES['REDIS'] that are addresses, and arguments of redis-py that
# would be, but for one of these or for the alias.
ADDRESSES = ("url", "cluster", "sentinels")
LOCAL = ("host", "path", "port")
# The settings by which packages hide outages in all their caches.
HIDING = {
    DJANGO_REDIS: "DJANGO_REDIS_IGNORE_EXCEPTIONS",
    DJANGO_VALKEY: "DJANGO_VALKEY_IGNORE_EXCEPTIONS",
}
# The default serializers of Django and of django-redis.
PICKLING = (".RedisSerializer", ".PickleSerializer")

# The default of MAX_ENTRIES, and a value that no site reaches.
DJANGO_MAX_ENTRIES = 300
ENOUGH_ENTRIES = 1_000_000
# Seconds that a driver may wait for a database.
LONGEST_WAIT = 2


@register(TAG)
def check_database_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W008: Django culls the table of the records. W009, W018: its database."""
    given = records_in(DATABASE)
    if given is None:
        return []
    found: list[CheckMessage] = []
    table = table_of(given.cache)
    for alias, cache in settings.CACHES.items():
        if DATABASE not in lineage_of(cache) or table_of(alias) != table:
            continue
        limit = options_of(cache).get("MAX_ENTRIES", DJANGO_MAX_ENTRIES)
        if as_number(limit) < ENOUGH_ENTRIES:
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
    return not all(wait and 0 < as_number(wait) <= LONGEST_WAIT for wait in waits)


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
    if settings.SESSION_ENGINE == IN_CACHE:
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
    options = options_of(cache)
    for option in ("IGNORE_EXCEPTIONS", "ignore_exc"):
        if option in options:
            return option if options[option] else None
    for path, setting in HIDING.items():
        if getattr(settings, setting, False) and path in lineage_of(cache):
            return setting
    return None


@register(TAG)
def check_redis_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W011: several servers, of which the records use only the first."""
    given = records_in(*REDIS)
    if given is None:
        return []
    cache = settings.CACHES[given.cache]
    number = len(locations(given.cache))
    # With sentinels, all locations name the same service.
    if number < 2 or "SENTINELS" in options_of(cache):
        return []
    return [
        Warning(
            f"CACHES[{given.cache!r}] names {number} servers. Records use only "
            "the first. The others, from which Django's cache reads at random, must be "
            "its replicas and do not provide failover.",
            hint="If they are replicas of the first, silence this check. For failover, "
            "set SESSIONSTORES['REDIS'] to the sentinels; for shards, to the cluster.",
            id="sessionstores.W011",
        )
    ]


@register(TAG)
def check_redis_setting(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W023: keys of `REDIS` without effect."""
    given = usable_conf()
    if given is None or given.redis is None or problem(given.cache):
        return []
    found: list[CheckMessage] = []
    where, keys = f"CACHES[{given.cache!r}]", sorted(given.redis)
    placed = places_redis(given.redis)
    if not placed and lineage_of(settings.CACHES[given.cache]).isdisjoint(REDIS):
        close = [key for key in keys if key.lower() in ADDRESSES and key != key.lower()]
        meant = f" Did you mean {close[0].lower()!r}?" if close else ""
        had = f"has {', '.join(map(repr, keys))}, but" if keys else "is empty: it has"
        path = settings.CACHES[given.cache].get("BACKEND")
        found.append(
            _useless(
                f"SESSIONSTORES['REDIS'] {had} no 'url', 'cluster' or 'sentinels', "
                f"and so no effect: records are kept in {where}, a {path}.{meant}"
            )
        )
    elif lost := [key for key in keys if key in LOCAL]:
        there = "'url', 'cluster' or 'sentinels'" if placed else f"LOCATION of {where}"
        names = " and ".join(map(repr, lost))
        found.append(
            _useless(
                f"SESSIONSTORES['REDIS'] has {names} without effect: the address is "
                f"that of {there}."
            )
        )
    return found


def _useless(text: str) -> CheckMessage:
    return Warning(
        text,
        hint="Give the address as SESSIONSTORES['REDIS'] = {'url': "
        "'redis://host:6379/0'}, or take these keys out.",
        id="sessionstores.W023",
    )


@register(TAG)
def check_database_number(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W024: what a URL has in the place of the database's number is none."""
    given = usable_conf()
    if given is None or problem(given.cache):
        return []
    redis = given.redis or {}
    places: dict[str, object] = {"SESSIONSTORES['REDIS']['url']": redis.get("url")}
    if records_in(*REDIS):
        url = first_location(given.cache)
        places = {f"CACHES[{given.cache!r}]['LOCATION']": url}
    return [
        Warning(
            f"{where} names {odd!r} as its database, which is no number: "
            f"{_taken_as(odd)}.",
            hint="Write the number at the end of the URL, such as 'redis://host/2', "
            "or nothing for 0.",
            id="sessionstores.W024",
        )
        for where, url in places.items()
        if (odd := odd_database(url))
    ]


def _taken_as(odd: str) -> str:
    digits = odd.replace("/", "")
    if digits.isdecimal():
        return f"redis-py takes it for {digits}"
    return "redis-py takes no notice of it, so it is 0 unless a 'db' is given"


@register(TAG)
def check_visitors(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W025: what join() stores in Django's session is lost at once."""
    return _lost_sessions(DUMMY, "keeps nothing")


@register(TAG, deploy=True)
def check_visitors_elsewhere(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W025 for deployment: it is lost to other processes, and at a restart."""
    return _lost_sessions(LOCMEM, "is in the memory of one process")


def _lost_sessions(cls: str, reason: str) -> list[CheckMessage]:
    alias = settings.SESSION_CACHE_ALIAS
    if settings.SESSION_ENGINE != IN_CACHE or cls not in lineage_of(
        settings.CACHES.get(alias, {})
    ):
        return []
    return [
        Warning(
            f"Django's sessions are in CACHES[{alias!r}], which {reason}. join() "
            "stores in them who somebody is, so people who have joined are told to "
            "join, or come as somebody else.",
            hint="Name in SESSION_CACHE_ALIAS a cache that processes share, or set "
            "SESSION_ENGINE = 'django.contrib.sessions.backends.db', the default.",
            id="sessionstores.W025",
        )
    ]


@register(TAG, deploy=True)
def check_pickle(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W015: whoever can write to the server can run code in the site."""
    given = records_in(*REDIS, MEMCACHED)
    if given is None:
        return []
    cache = settings.CACHES[given.cache]
    options, option = options_of(cache), "serializer"
    if MEMCACHED in lineage_of(cache):
        option = "serde"
        pickles = not {"serde", "serializer", "deserializer"} & options.keys()
    else:
        set_to = options.get("serializer") or options.get("SERIALIZER") or PICKLING[0]
        pickles = any(name in str(set_to) for name in PICKLING)
    if not pickles:
        return []
    return [
        Warning(
            f"CACHES[{given.cache!r}] unpickles what it reads, so anybody who can "
            "write to that server can run code in every process that reads from it "
            "through Django's cache. Records are never unpickled.",
            hint=f"Set a {option} in its OPTIONS that does not pickle. If only this "
            "site can reach the server, silence this check.",
            id="sessionstores.W015",
        )
    ]


def records_in(*caches: str) -> conf.Conf | None:
    """Return the settings if a cache of one of these classes holds the records."""
    given = usable_conf()
    if given is None or places_redis(given.redis) or problem(given.cache):
        return None
    lineage = lineage_of(settings.CACHES[given.cache])
    return None if lineage.isdisjoint(caches) else given
