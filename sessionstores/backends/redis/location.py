"""Location of a cache alias's Redis or Valkey server, read from settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ... import conf

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

DJANGO_REDIS = "django_redis"

_WAY_OUT = (
    "Give the address in SESSIONSTORES['REDIS']: {'url': 'redis://…'}, {'sentinels': "
    "[('host', 26379)], 'service': 'name'} or {'cluster': 'redis://…'}; its other keys "
    "are arguments of the client."
)


class Location(NamedTuple):
    """An address of one of three kinds, with the site's arguments for redis-py.

    Either the `url` of one server; or that of any node of a `cluster`; or pairs of
    host and port of `sentinels`, with the name of the `service` that they watch. A
    call fails when no reply has come within `reply_seconds`.
    """

    url: str = ""
    cluster: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    reply_seconds: float = REPLY_SECONDS


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
        return _explicit(given)
    derived = _derived(alias)
    return derived._replace(options={**derived.options, **given})


def _explicit(given: dict[str, Any]) -> Location:
    url, cluster = given.pop("url", ""), given.pop("cluster", "")
    sentinels, service = given.pop("sentinels", ()), given.pop("service", "")
    sentinel_options = given.pop("sentinel_kwargs", {})
    for name, address in (("url", url), ("cluster", cluster)):
        if address and not _is_url(address):
            raise ImproperlyConfigured(
                f"SESSIONSTORES['REDIS'][{name!r}] is {address!r}, which is not a URL "
                "like 'redis://host:6379/0', 'rediss://…' or 'unix:///path'."
            )
    if bool(sentinels) != bool(service):
        raise ImproperlyConfigured(
            "SESSIONSTORES['REDIS'] needs both 'sentinels' and 'service', the name "
            "by which they know the primary."
        )
    pairs = tuple((host, int(port)) for host, port in sentinels)
    return Location(url, cluster, pairs, service, sentinel_options, given)


def _derived(alias: str) -> Location:
    cache: Mapping[str, Any] = settings.CACHES[alias]
    path = str(cache.get("BACKEND"))
    options: dict[str, Any] = dict(cache.get("OPTIONS", {}))
    package = path.split(".")[0]
    if package == DJANGO_REDIS:
        return _of_django_redis(alias, cache, options)
    for custom in ("pool_class", "parser_class"):
        if options.pop(custom, None) is not None:
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] has a {custom} of its own, so the address of its "
                f"server cannot be read from there. {_WAY_OUT}"
            )
    options.pop("serializer", None)
    return Location(_first_url(alias, cache), options=options)


def _of_django_redis(
    alias: str, cache: Mapping[str, Any], options: dict[str, Any]
) -> Location:
    for custom in ("CONNECTION_FACTORY", "CONNECTION_POOL_CLASS"):
        if options.get(custom, getattr(settings, f"DJANGO_REDIS_{custom}", None)):
            raise ImproperlyConfigured(
                f"CACHES[{alias!r}] has a {custom} of its own, so the address of its "
                f"server cannot be read from there. {_WAY_OUT}"
            )
    arguments = {
        **options.get("CONNECTION_POOL_KWARGS", {}),
        **options.get("REDIS_CLIENT_KWARGS", {}),
    }
    for name in ("USERNAME", "PASSWORD"):
        if options.get(name):
            arguments[name.lower()] = options[name]
    url = _first_url(alias, cache)
    sentinels = options.get("SENTINELS")
    if not sentinels:
        return Location(url, options=arguments)
    service = re.sub(r"^\w+://(.*@)?", "", url).split("/")[0].split(":")[0]
    if number := re.search(r"/(\d+)", url.split("://", 1)[-1]):
        arguments.setdefault("db", int(number[1]))
    return Location(
        sentinels=tuple((host, int(port)) for host, port in sentinels),
        service=service,
        sentinel_options=options.get("SENTINEL_KWARGS", {}),
        options=arguments,
    )


def _first_url(alias: str, cache: Mapping[str, Any]) -> str:
    """Return the primary's URL: Django writes to the first and reads from others."""
    locations = cache.get("LOCATION") or ""
    if isinstance(locations, str):
        locations = re.split(r"[;,]", locations)
    url = str(locations[0]).strip() if locations else ""
    if not _is_url(url):
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}]['LOCATION'] is {url!r}, which is not a URL like "
            "'redis://host:6379/0', 'rediss://…' or 'unix:///path'."
        )
    return url


def _is_url(url: object) -> bool:
    return isinstance(url, str) and re.match(r"(rediss?|unix)://.", url) is not None
