"""The `SESSIONSTORES` setting as one frozen object, validated and read at use."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Annotated, Any, get_type_hints

import msgspec
from django.conf import settings
from django.core.cache.backends.base import BaseCache, default_key_func
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from msgspec import Meta

MAX_PREFIX_LENGTH = 32
# What the cache makes of it. The longest key, of data that was set aside, has 93
# characters after it, and memcached takes 250.
MAX_SITE_PREFIX_LENGTH = 157
# The settings of an alias by which sites keep their keys apart.
_SEPARATING = ("KEY_PREFIX", "VERSION", "KEY_FUNCTION")
# Wrong codes are stored one by one.
MAX_GUESSES = 1_000

_MAX = sys.float_info.max  # excludes infinity
_AboveZero = Annotated[int, Meta(gt=0)] | Annotated[float, Meta(gt=0, le=_MAX)]
_FromZero = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0, le=_MAX)]
_FromOne = Annotated[int, Meta(ge=1)] | Annotated[float, Meta(ge=1, le=_MAX)]

# The descriptions complete "SESSIONSTORES['…'] must be".
_Positive = Annotated[_AboveZero, Meta(description="a number above 0")]
_NotNegative = Annotated[_FromZero, Meta(description="a number from 0 up")]
_Count = Annotated[int, Meta(gt=0, description="a whole number above 0")]
_Flag = Annotated[bool, Meta(description="True or False")]
# Printable ASCII without what keys and Redis's hash tags are made of.
_PREFIX = r"\A[!-z|~]*\Z"
_Prefix = Annotated[
    str,
    Meta(
        max_length=MAX_PREFIX_LENGTH,
        pattern=_PREFIX,
        description=f"up to {MAX_PREFIX_LENGTH} ASCII characters, none of them a space "
        "or a brace",
    ),
]
_Rate = Annotated[
    tuple[_AboveZero, _FromOne] | None,
    Meta(
        description="None or (actions a second, burst), two numbers above 0, the burst "
        "from 1 up"
    ),
]

_Guesses = Annotated[
    tuple[Annotated[int, Meta(ge=1, le=MAX_GUESSES)], _AboveZero] | None,
    Meta(
        description="None or (wrong codes, seconds), a whole number from 1 to "
        f"{MAX_GUESSES} and a number above 0"
    ),
]


# The keys of `REDIS` that lead to a server; all others are for its client.
_REDIS_KEYS = {
    "url": Annotated[str, Meta(description="a URL such as 'redis://host:6379/0'")],
    "cluster": Annotated[
        str,
        Meta(description="the URL of any node, such as 'redis://any-node:7000'"),
    ],
    "sentinels": Annotated[
        list[tuple[Any, Any]],
        Meta(
            description="a list of pairs of a host and the number of its port, such as "
            "[('sentinel-1', 26379), …]"
        ),
    ],
    "service": Annotated[
        str, Meta(description="the name by which the sentinels know the primary")
    ],
    "sentinel_kwargs": Annotated[
        dict[str, Any],
        Meta(description="a dict of arguments of the sentinels' own clients"),
    ],
}
_Redis = Annotated[
    dict[str, Any] | None,
    Meta(
        description="None or a dict with a 'url', a 'cluster' (URLs), or 'sentinels' "
        "(pairs of host and port) and a 'service', and arguments of the client"
    ),
]


class Conf(msgspec.Struct, frozen=True, kw_only=True):
    """Every key with its default; times in seconds, sizes in bytes.

    From `get`, `key_prefix` is what the cache makes of it: see `site_prefix`.
    """

    cache: Annotated[str, Meta(description="the name of an alias of CACHES")] = (
        "default"
    )
    redis: dict[str, Any] | None = None
    key_prefix: _Prefix = "ss"
    idle_timeout: _Positive = 300
    presence_lease: _Positive = 30
    leave_grace: _NotNegative = 5
    heartbeat: _Positive = 10
    max_state_bytes: _Count = 262_144
    max_participants: _Count = 1_000
    max_sessions: _Count = 10_000
    max_connections: _Count = 8
    rate_limit: _Rate = (20, 40)
    guess_limit: _Guesses = (60, 60)
    max_frame_bytes: _Count = 65_536
    token_max_age: _Positive = 43_200
    slow_operation_ms: _NotNegative = 50
    auto_sweep: Annotated[bool | None, Meta(description="True, False or None")] = None
    admin_readonly: _Flag = False
    stats_token: Annotated[str | None, Meta(description="None or text")] = None


KEYS = {name.upper(): name for name in Conf.__struct_fields__}

# `redis` is checked by its known keys, and kept with all of them.
_TYPES = {**get_type_hints(Conf, include_extras=True), "redis": _Redis}
_MUST = "SESSIONSTORES['REDIS'][{!r}] must be {}"
_ABSENT = object()
# Those whose values must not appear in a log.
_SECRET = {"REDIS", "STATS_TOKEN"}


def problems(given: object) -> list[str]:
    """Describe everything that is wrong with a `SESSIONSTORES` value."""
    if not isinstance(given, dict):
        return [f"SESSIONSTORES must be a dict, not {_kind(given)}."]
    return [text for key, value in given.items() if (text := _problem(key, value))]


def _kind(value: object) -> str:
    """Return the type of a value that may be secret, in words; None as such."""
    if isinstance(value, dict) and (odd := [k for k in value if type(k) is not str]):
        return f"a dict with the key {odd[0]!r}"
    return "None" if value is None else type(value).__name__


def _problem(key: object, value: object) -> str | None:
    name = KEYS.get(key) if isinstance(key, str) else None
    if name is None:
        close = get_close_matches(str(key).upper(), KEYS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"SESSIONSTORES has an unknown key {key!r}.{hint}"
    if not _fits(_plain(value), _TYPES[name]):
        expected = _description(_TYPES[name])
        shown = _kind(value) if key in _SECRET else repr(value)
        return f"SESSIONSTORES[{key!r}] must be {expected}, not {shown}."
    return _redis_problem(value) if key == "REDIS" and value else None


def _redis_problem(given: Any) -> str | None:
    """Describe a key of `REDIS` that leads nowhere; say no value that is secret."""
    for key, kind in _REDIS_KEYS.items():
        value = given.get(key, _ABSENT)
        if value is _ABSENT or (_fits(value, kind) and _are_addresses(key, value)):
            continue
        texts = value if key == "sentinels" and isinstance(value, list | tuple) else ()
        for text in texts:
            if place := re.fullmatch(r"([\w.-]+)(?::([0-9]+))?", str(text)):
                pair = (place[1], int(place[2] or 26379))
                return (
                    f"{_MUST.format(key, _description(kind))}: {pair!r}, not {text!r}."
                )
        return f"{_MUST.format(key, _description(kind))}, not {_kind(value)}."
    return None


def _are_addresses(key: str, value: Any) -> bool:
    try:
        return key != "sentinels" or all(0 < int(port) < 65_536 for _, port in value)
    except (TypeError, ValueError):
        return False


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _plain(value: object) -> object:
    # msgspec takes no subclasses of float, such as NumPy's.
    return float(value) if isinstance(value, float) else value


def _description(kind: Any) -> str:
    *_, meta = kind.__metadata__
    return str(meta.description)


# What `get` returns at once; None while it has to look.
_current: Conf | None = None
_changes = 0
# Of a context that has chosen another cache; and how many have.
_chosen: ContextVar[Conf | None] = ContextVar("sessionstores_conf", default=None)
_choices = 0
# What `KEY_PREFIX` is in a block of `prefixed`, whatever the settings say.
_prefix: str | None = None
_lock = threading.RLock()


def get() -> Conf:
    """Return the current settings; raise `ImproperlyConfigured` if they are invalid."""
    return _current or _load()


def _load() -> Conf:
    global _current
    with _lock:
        if _choices and (chosen := _chosen.get()):
            return chosen
        while True:
            changes = _changes
            loaded, is_final = _for_site(_read())
            if is_final and not _choices:
                _current = loaded
            if changes == _changes:
                return loaded
            # They have changed meanwhile, in another thread.
            _current = None


def _for_site(given: Conf) -> tuple[Conf, bool]:
    """Return the settings with the site's prefix, and whether there is one.

    If not, no backend can be had: `prefix_problem` says why.
    """
    if given.cache not in settings.CACHES:
        return given, True
    try:
        prefix = site_prefix(given.cache, given.key_prefix)
    except ImproperlyConfigured:
        return given, False
    return msgspec.structs.replace(given, key_prefix=prefix), True


@contextmanager
def using_cache(alias: str | None) -> Iterator[None]:
    """Let `alias` be `CACHE` for the caller's thread or task; None changes nothing.

    Raises `ImproperlyConfigured`.
    """
    global _choices, _current
    if alias is None or alias == get().cache:
        yield
        return
    given = _read()
    prefix = site_prefix(alias, given.key_prefix)
    chosen = msgspec.structs.replace(given, cache=alias, key_prefix=prefix)
    with _lock:
        _choices += 1
        _current = None
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)
        with _lock:
            _choices -= 1


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Let `prefix` be `KEY_PREFIX` in a block, in every thread; for tests.

    Settings that change meanwhile do not change that.
    """
    global _prefix, _current, _changes
    outer, _prefix = _prefix, prefix
    try:
        with _lock:
            _changes, _current = _changes + 1, None
        yield
    finally:
        with _lock:
            _prefix = outer
            _changes, _current = _changes + 1, None


def _read() -> Conf:
    given = getattr(settings, "SESSIONSTORES", {})
    if found := problems(given):
        raise ImproperlyConfigured(" ".join(found))
    values = {KEYS[key]: _plain(value) for key, value in given.items()}
    if _prefix is not None:
        values["key_prefix"] = _prefix
    return msgspec.convert(values, Conf)


def site_prefix(alias: str, prefix: str) -> str:
    """Return what the keys of a site begin with: `prefix`, as the cache's own would be.

    An alias with a KEY_PREFIX, VERSION or KEY_FUNCTION is asked for its key of
    `prefix`, so that what separates two sites in it separates their records too. Any
    other leaves `prefix` as it is. Raises `ImproperlyConfigured` if the alias does not
    exist or makes of it what some cache would refuse.
    """
    entry = settings.CACHES.get(alias)
    if not isinstance(entry, dict):
        raise ImproperlyConfigured(f"CACHES has no alias {alias!r}.")
    given = {name: entry[name] for name in _SEPARATING if name in entry}
    try:
        cache = BaseCache(given)
        if _is_plain(cache):
            return prefix
        key: object = cache.make_key(prefix)
    except Exception as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] ({_shown(given)}) makes no key of {prefix!r}, which "
            f"the keys of sessionstores begin with: {type(error).__name__}: {error}. "
            "Correct its KEY_FUNCTION."
        ) from error
    if (
        isinstance(key, str)
        and re.match(_PREFIX, key)
        and len(key) <= MAX_SITE_PREFIX_LENGTH
    ):
        return str(key)
    raise ImproperlyConfigured(
        f"CACHES[{alias!r}] ({_shown(given)}) makes {key!r} of {prefix!r}, which the "
        "keys of sessionstores begin with. That must be text of up to "
        f"{MAX_SITE_PREFIX_LENGTH} ASCII characters, none of them a space or a brace: "
        "memcached takes no others, and a cluster finds a session by the braces of its "
        "keys. Change these settings, or name in SESSIONSTORES['CACHE'] an alias that "
        "has others."
    )


def _is_plain(cache: BaseCache) -> bool:
    """Return whether nothing separates the keys of this cache from another site's."""
    return (
        cache.key_prefix == ""
        and str(cache.version) == "1"
        and cache.key_func is default_key_func
    )


def _shown(given: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in given.items())


def prefix_problem(alias: str) -> str | None:
    """Return why no keys can be made for the cache `alias`; None if they can."""
    given = get()
    try:
        prefix = site_prefix(alias, _read().key_prefix)
    except ImproperlyConfigured as error:
        return str(error)
    if alias == given.cache and prefix != given.key_prefix:
        return (
            f"CACHES[{alias!r}]['KEY_FUNCTION'] made {given.key_prefix!r} of the "
            f"prefix of sessionstores at first and {prefix!r} now, so the processes of "
            "the site would not find each other's records. Name in "
            "SESSIONSTORES['CACHE'] an alias whose KEY_FUNCTION always makes the same."
        )
    return None


def _renew_lock() -> None:
    # Another thread may have held it at the fork.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    global _current, _changes
    if setting in {"SESSIONSTORES", "CACHES"}:
        _changes += 1
        _current = None
