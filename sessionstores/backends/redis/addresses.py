"""URLs of Redis and Valkey servers: examined, and shown without their credentials."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.cache.backends.redis import RedisCache
from django.utils.module_loading import import_string

LIKE = "'redis://host:6379/0', 'rediss://…' or 'unix:///path'"

# What has a meaning in URLs, and so cannot stand in a username or password as it is.
_ESCAPES = "%2F for /, %3F for ?, %23 for #, %5B for ["


def is_url(url: object) -> bool:
    """Return whether a text begins as the URL of a server does."""
    return isinstance(url, str) and re.match(r"(rediss?|unix)://.", url) is not None


def shown(url: object) -> str:
    """Return a value for people: without what may be credentials, or just its type."""
    if not isinstance(url, str):
        return "None" if url is None else f"of type {type(url).__name__}"
    return repr(re.sub(r"(?s)^([a-z]*:?/{0,3}).*@", r"\1…@", url))


def malformed(url: str) -> str | None:
    """Return why a URL leads to no server, to complete "is a URL"; None if it may."""
    parts = _parsed(url)
    if _has_loose_credentials(url, parts):
        return (
            "whose username or password has a character that means something else in "
            f"URLs. Percent-encode it ({_ESCAPES}), or give the password beside the URL"
        )
    if parts is None:
        place = re.split("[/?#]", url.partition("://")[2])[0].rpartition("@")[2]
        named = re.fullmatch(r"(?:\[[^\[\]]*\]|[^\[\]:]*):(.*)", place)
        if named is None:
            return f"whose host {place!r} is none"
        return f"whose port {named[1]!r} is no number from 1 to 65535"
    return None


def _parsed(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if its host or its port cannot be told."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _has_loose_credentials(url: str, parts: SplitResult | None) -> bool:
    """Return whether an @ stands where the place of the server is over."""
    if url.startswith("unix:"):
        return False
    if parts is None:
        place, *rest = re.split("[/?#]", url.partition("://")[2], maxsplit=1)
        credentials, at, _ = place.rpartition("@")
        return bool(re.search(r"[\[\]]", credentials)) if at else "@" in "".join(rest)
    loose = [part for part in parts.query.split("&") if "=" not in part]
    return "@" in "".join((parts.path, parts.fragment, *loose))


def odd_database(url: object) -> str | None:
    """Return what a URL has in the place of the database's number; None if that is one.

    To redis-py, it is then no number: it uses 0.
    """
    if not isinstance(url, str) or not re.match(r"(redis|valkey)s?://", url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = parts.path.strip("/")
    if "db=" in parts.query or not path or path.isdecimal():
        return None
    return path


def locations(alias: str) -> list[object]:
    """Return the servers that an alias names, as its package divides a text of them."""
    given: object = settings.CACHES[alias].get("LOCATION")
    if isinstance(given, str):
        return re.split(_divides_at(alias), given)
    return list(given) if isinstance(given, list | tuple) else []


def _divides_at(alias: str) -> str:
    cls: Any = settings.CACHES[alias].get("BACKEND")
    if isinstance(cls, str):
        cls = import_string(cls)
    # The other packages, only at the comma.
    return "[;,]" if issubclass(cls, RedisCache) else ","


def torn(alias: str) -> str | None:
    """Return why the text of an alias is divided where no server ends; None if not."""
    given: object = settings.CACHES[alias].get("LOCATION")
    rest = locations(alias)[1:] if isinstance(given, str) else []
    if not any("@" in str(each) and "://" not in str(each) for each in rest):
        return None
    return (
        "divided at a comma or semicolon in its username or password. Percent-encode "
        "it (%2C for a comma, %3B for a semicolon), or give a list with one URL"
    )


def first_location(alias: str) -> str | None:
    """Return the URL of the server that an alias writes to; None if it has none.

    What is no URL may mean something to a class of the site's own.
    """
    first = next(iter(locations(alias)), None)
    return first if isinstance(first, str) and "://" in first else None
