"""Settings of a Redis or Valkey that redis-py would refuse at every use."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ... import conf
from .client import sync_client
from .location import Location, client_parameters, location_for, node_of, seed_of

_UNKNOWN = re.compile(r"unexpected keyword argument '(.+?)'")
_ADDRESSES = ("url", "cluster", "sentinels")
_HERE = "SESSIONSTORES['REDIS']"


def problem(alias: str) -> str | None:
    """Return why the server of an alias cannot be used; None if it can.

    Makes a connection, and does not connect it.
    """
    try:
        location = location_for(alias)
        return _odd_number(alias, location) or _refusal(alias, location)
    except ImproperlyConfigured as error:
        return str(error)


def _odd_number(alias: str, location: Location) -> str | None:
    number = location.options.get("db")
    text = number.decode("latin-1") if isinstance(number, bytes) else str(number)
    # None and "" are as good as 0.
    if not number or text.isdecimal():
        return None
    where = f"CACHES[{alias!r}]['OPTIONS']"
    if "db" in (conf.get().redis or {}):
        where = _HERE
    return f"{where}['db'] is {number!r}, which is not the number of a database."


def _refusal(alias: str, location: Location) -> str | None:
    """Return what redis-py says against making a connection; None if it makes one."""
    if location.cluster:
        location = node_of(location, seed_of(location))
    try:
        sync_client(location).connection_pool.make_connection()
    except Exception as error:  # noqa: BLE001 - what the site gives, others check
        unknown = _UNKNOWN.search(str(error))
        if unknown:
            return _unknown(alias, location, unknown[1])
        reason = " ".join(str(error).split()).rstrip(".")
        return (
            f"{_source(alias)} cannot be used: redis-py says {type(error).__name__}: "
            f"{reason}."
        )
    return None


def _source(alias: str) -> str:
    """Return the name of the setting by which the server is reached."""
    return _HERE if conf.get().redis else f"CACHES[{alias!r}]"


def _unknown(alias: str, location: Location, name: str) -> str:
    """Return the text for an argument that redis-py does not know."""
    given: dict[str, Any] = conf.get().redis or {}
    if name in location.sentinel_options:
        where = f"{_HERE}['sentinel_kwargs']"
    elif name in given:
        where = _HERE
    else:
        where = f"The URL in {_source(alias)}"
    if name in ("service", "sentinel_kwargs"):
        return f"{where} has {name!r}, which goes with 'sentinels' only."
    if name == "ssl" and where == _HERE:
        return f"{where} has 'ssl', but for TLS the URL has to begin with rediss://."
    known = [*client_parameters(), *_ADDRESSES]
    close = get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{where} has {name!r}, which redis-py does not take.{hint}"
