"""Location of a cache alias's Redis or Valkey server, as its package has it.

A cache package makes a connection pool of an alias, in its own way and that of the
site's subclasses. The pool says where the server is and how it is reached; from that,
connections of ours are made, those for coroutines included.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from redis import BlockingConnectionPool, ConnectionPool
from redis.asyncio import connection as aio_connection

from ... import conf
from ..configured_cache import configured_cache
from .addresses import LIKE, first_location, is_url, malformed, shown, torn

# A reply is waited for this long.
REPLY_SECONDS = 1.0

PORT = 6379

# Arguments of redis-py's RedisCluster that the client of one node does not take.
_CLUSTER_OPTIONS = frozenset(
    {
        *("host", "port", "startup_nodes", "address_remap", "dynamic_startup_nodes"),
        *("require_full_coverage", "reinitialize_steps", "read_from_replicas"),
        *("load_balancing_strategy", "cluster_error_retry_attempts"),
    }
)

Address = tuple[str, int]

# The classes of connections of which there is one for threads and one for coroutines.
_SCHEMES = {
    "Connection": "redis",
    "SSLConnection": "rediss",
    "UnixDomainSocketConnection": "unix",
    "SentinelManagedConnection": "redis",
    "SentinelManagedSSLConnection": "rediss",
}
_CLUSTERS = frozenset({"django_valkey.cluster_cache.cache.ClusterValkeyCache"})
# valkey-py is a copy of redis-py, and speaks to the same servers.
_PACKAGES = frozenset({"redis", "valkey"})
# What a pool gives to its connections and no other can use, or what is ours to choose.
_OWN = frozenset(
    {
        *("parser", "parser_class", "encoder_class", "retry", "retry_on_error"),
        *("retry_on_timeout", "event_dispatcher", "himport_registry"),
        *("connection_pool", "decode_responses", "self", "kwargs"),
        *("socket_timeout", "socket_connect_timeout", "socket_read_size"),
        *("legacy_responses", "driver_info"),
    }
)
_INTERNAL = ("maint", "orig_", "oss_")
# It may log in, and is written for connections that block.
_NEEDED = frozenset({"redis_connect_func"})

_WAY_OUT = (
    "Give the address in SESSIONSTORES['REDIS']: {'url': 'redis://…'}, {'sentinels': "
    "[('host', 26379)], 'service': 'name'} or {'cluster': 'redis://…'}; its other keys "
    "are arguments of the client."
)


class Location(NamedTuple):
    """An address of one of three kinds, with the site's arguments for redis-py.

    Either the `url` of one server; or that of any node of a `cluster`; or pairs of
    host and port of `sentinels`, with the name of the `service` that they watch. A
    sentinel that knows fewer others than `min_other_sentinels` is not believed. A call
    fails when no reply has come within `reply_seconds`.
    """

    url: str = ""
    cluster: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    reply_seconds: float = REPLY_SECONDS
    min_other_sentinels: int = 0


def name_of(location: Location) -> str:
    """Return the name of the server, or servers, in errors; without credentials."""
    if location.sentinels:
        addresses = ", ".join(f"{host}:{port}" for host, port in location.sentinels)
        return f"The primary {location.service!r} of the sentinels at {addresses}"
    if location.cluster:
        return "The cluster at {}:{}".format(*seed_of(location))
    if location.url.startswith("unix:"):
        return f"The server at {urlsplit(location.url).path}"
    return "The server at {}:{}".format(*_address_in(location.url))


def speaks_tls(location: Location) -> bool:
    """Return whether the connections to a location are encrypted."""
    address = location.url or location.cluster
    return address.startswith("rediss:") or bool(location.options.get("ssl"))


def seed_of(location: Location) -> Address:
    """Return the address of the cluster's node that the settings name."""
    return _address_in(location.cluster)


def _address_in(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or PORT


def node_of(location: Location, address: Address) -> Location:
    """Return the location of one node of a cluster, with the cluster's options."""
    host, port = address
    parts = urlsplit(location.cluster)
    credentials, at, _ = parts.netloc.rpartition("@")
    named = f"[{host}]" if ":" in host else host
    url = parts._replace(netloc=f"{credentials}{at}{named}:{port}", path="").geturl()
    kept = {
        name: v for name, v in location.options.items() if name not in _CLUSTER_OPTIONS
    }
    return Location(url, options=kept, reply_seconds=location.reply_seconds)


def location_for(alias: str) -> Location:
    """Return the location that `REDIS` gives, or else that of `CACHES[alias]`.

    Raises `ImproperlyConfigured` if the settings do not say where the server is.
    """
    given = dict(conf.get().redis or {})
    addresses = sorted({"url", "cluster", "sentinels"} & given.keys())
    if len(addresses) > 1:
        raise ImproperlyConfigured(
            f"SESSIONSTORES['REDIS'] gives {' and '.join(addresses)}; one is needed."
        )
    if addresses:
        return _explicit(given, set(addresses))
    derived = _derived(alias)
    return derived._replace(options={**derived.options, **given})


def _explicit(given: dict[str, Any], addresses: set[str]) -> Location:
    url, cluster = given.pop("url", ""), given.pop("cluster", "")
    sentinels, service = given.pop("sentinels", ()), given.pop("service", "")
    sentinel_options = given.pop("sentinel_kwargs", {})
    for name in addresses & {"url", "cluster"}:
        _check_url(f"SESSIONSTORES['REDIS'][{name!r}]", url or cluster)
    if bool(sentinels) != bool(service) or not (url or cluster or sentinels):
        raise ImproperlyConfigured(
            "SESSIONSTORES['REDIS'] needs both 'sentinels' and 'service', the name "
            "by which they know the primary."
        )
    pairs = tuple((host, int(port)) for host, port in sentinels)
    return Location(url, cluster, pairs, service, sentinel_options, given)


def _check_url(where: str, url: str) -> None:
    if not is_url(url):
        raise ImproperlyConfigured(
            f"{where} is {shown(url)}, which is not a URL like {LIKE}."
        )
    if reason := malformed(url):
        raise ImproperlyConfigured(f"{where} is a URL {reason}.")


def _derived(alias: str) -> Location:
    """Return what the cache package makes of an alias; connects to nothing."""
    pool = _pool_of(alias)
    kind = _kind_of(alias, pool.connection_class)
    arguments = _arguments_of(alias, pool, kind)
    if kind.startswith("SentinelManaged"):
        return _of_sentinels(alias, pool, kind, arguments)
    return Location(_url_of(kind, arguments), options=arguments)


def _pool_of(alias: str) -> Any:
    """Return the pool whose connections the cache writes through."""
    if reason := torn(alias):
        raise ImproperlyConfigured(f"CACHES[{alias!r}]['LOCATION'] is {reason}.")
    place = first_location(alias)
    if place and (reason := malformed(place)):
        raise ImproperlyConfigured(f"CACHES[{alias!r}]['LOCATION'] is a URL {reason}.")
    cache = _cache_of(alias)
    try:
        client = _client_of(cache)
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(_told(alias, str(error))) from error
    except Exception as error:
        hint = f"Its LOCATION has to be a URL like {LIKE}, or several."
        if is_url(place):
            hint = "Correct its OPTIONS, or what follows the ? in its LOCATION."
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] makes no connection of its settings: "
            f"{type(error).__name__}: {str(error).rstrip('.')}. {hint}"
        ) from error
    pool = getattr(client, "connection_pool", None)
    if not isinstance(getattr(pool, "connection_kwargs", None), Mapping):
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] connects by a {_path(type(client))}, which has no "
            f"connection pool like redis-py's to be asked. {_WAY_OUT}"
        )
    return pool


def _told(alias: str, reason: str) -> str:
    """Return what a cache package says of an alias, with the alias and a way out."""
    text = f"CACHES[{alias!r}] makes no connection of its settings: {reason}"
    if "DJANGO_REDIS_CONNECTION_FACTORY" in reason:
        text = (
            f"{text.rstrip('.')}. For a SentinelClient, set "
            "DJANGO_REDIS_CONNECTION_FACTORY = "
            "'django_redis.pool.SentinelConnectionFactory'."
        )
    return text


def _cache_of(alias: str) -> Any:
    """Return the cache if it can be asked without connecting."""
    cache = configured_cache(alias)
    if getattr(cache, "is_async", False):
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] is a {_path(type(cache))}, which has connections for "
            f"coroutines only; synchronous code needs records, too. {_WAY_OUT}"
        )
    if not _CLUSTERS.isdisjoint(map(_path, type(cache).__mro__)):
        # Its client connects as soon as it is made.
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] is a {_path(type(cache))}. The client of a cluster "
            f"says where its nodes are only once it has connected. {_WAY_OUT}"
        )
    return cache


def _client_of(cache: Any) -> Any:
    """Return the client by which a cache writes, as its package makes it."""
    client = getattr(cache, "client", None)
    if client is None:
        return cache._cache.get_client(None, write=True)
    made = client.connect(0)
    # Of shards, the first holds the records.
    return next(iter(made.values())) if isinstance(made, Mapping) else made


def _kind_of(alias: str, cls: type) -> str:
    """Return the name of a connection class of redis-py, or of valkey-py's twin."""
    if cls.__module__.partition(".")[0] in _PACKAGES and cls.__name__ in _SCHEMES:
        return cls.__name__
    raise ImproperlyConfigured(
        f"CACHES[{alias!r}] has connections of {_path(cls)}. Coroutines need others, "
        f"which sessionstores can make only for redis-py's own classes. {_WAY_OUT}"
    )


def _arguments_of(alias: str, pool: Any, kind: str) -> dict[str, Any]:
    """Return a pool's arguments for connections, without what is its own."""
    given = {
        name: value
        for name, value in pool.connection_kwargs.items()
        # To redis-py, a plain object stands for its own default.
        if name == "ssl_cert_reqs" or not (value is None or type(value) is object)
    }
    known = _parameters(getattr(aio_connection, kind.removeprefix("SentinelManaged")))
    lost = [n for n in given if n.startswith("ssl_") and n not in known]
    if lost := [*lost, *(n for n in given if n in _NEEDED)]:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] gives its connections {' and '.join(lost)}, which "
            "those for coroutines do not take, and without it they would be less "
            f"secure. {_WAY_OUT}"
        )
    kept = {
        name: value
        for name, value in given.items()
        if name in known and name not in _OWN and not name.startswith(_INTERNAL)
    }
    limit = getattr(pool, "max_connections", None)
    if limit not in _default_limits():
        kept["max_connections"] = limit
    return kept


def _parameters(cls: type) -> frozenset[str]:
    """Return the names of all arguments of a class and its ancestors."""
    return frozenset(
        name
        for ancestor in cls.__mro__
        if "__init__" in vars(ancestor)
        for name in signature(ancestor.__init__).parameters  # type: ignore[misc]
    )


def client_parameters() -> frozenset[str]:
    """Return the names of the arguments that a client of one server takes."""
    classes = (getattr(aio_connection, name) for name in list(_SCHEMES)[:3])
    known = frozenset[str]().union(*map(_parameters, classes))
    return known - _OWN - _NEEDED | {"max_connections"}


def _default_limits() -> frozenset[int | None]:
    blocking: Any = BlockingConnectionPool
    pools = ConnectionPool(), blocking()
    # The last is valkey-py's, and an older redis-py's.
    return frozenset({None, 2**31, *(pool.max_connections for pool in pools)})


def _url_of(kind: str, arguments: dict[str, Any]) -> str:
    """Take the place of a server out of the arguments and return it as a URL."""
    if kind == "UnixDomainSocketConnection":
        return f"{_SCHEMES[kind]}://{quote(str(arguments.pop('path', '')))}"
    host = quote(str(arguments.pop("host", "localhost")), safe=":")
    port = int(arguments.pop("port", PORT))
    return f"{_SCHEMES[kind]}://{f'[{host}]' if ':' in host else host}:{port}"


def _of_sentinels(
    alias: str, pool: Any, kind: str, arguments: dict[str, Any]
) -> Location:
    if not pool.is_master:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] writes to a replica (is_master is false), which takes "
            f"no writes. Name the primary first in LOCATION. {_WAY_OUT}"
        )
    manager = pool.sentinel_manager
    cls = type(manager)
    if cls.__module__.partition(".")[0] not in _PACKAGES:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] asks its sentinels by a {_path(cls)}. Coroutines need "
            f"another, which sessionstores can make only for redis-py's. {_WAY_OUT}"
        )
    for name in ("host", "port"):
        arguments.pop(name, None)
    if _SCHEMES[kind] == "rediss":
        arguments["ssl"] = True
    places = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    return Location(
        sentinels=tuple((each["host"], int(each["port"])) for each in places),
        service=pool.service_name,
        sentinel_options=dict(manager.sentinel_kwargs),
        min_other_sentinels=manager.min_other_sentinels,
        options=arguments,
    )


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
