"""The `SESSIONSTORES` setting as one frozen object, validated and read at use."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Annotated, Any, TypedDict, get_type_hints

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from msgspec import Meta

MAX_PREFIX_LENGTH = 32
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
_Prefix = Annotated[
    str,
    Meta(
        max_length=MAX_PREFIX_LENGTH,
        pattern=r"\A[!-z|~]*\Z",
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


class RedisLocation(TypedDict, total=False):
    """The keys of `REDIS` that lead to a server; all others are for its client."""

    url: str
    cluster: str
    sentinels: list[tuple[Any, Any]]
    service: str
    sentinel_kwargs: dict[str, Any]


_Redis = Annotated[
    RedisLocation | None,
    Meta(
        description="None or a dict with a 'url', a 'cluster' (URLs), or 'sentinels' "
        "(pairs of host and port) and a 'service', and arguments of the client"
    ),
]


class Conf(msgspec.Struct, frozen=True, kw_only=True):
    """Every key with its default; times in seconds, sizes in bytes."""

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
# Those whose values must not appear in a log.
_SECRET = {"REDIS", "STATS_TOKEN"}


def problems(given: object) -> list[str]:
    """Describe everything that is wrong with a `SESSIONSTORES` value."""
    if not isinstance(given, dict):
        return [f"SESSIONSTORES must be a dict, not {type(given).__name__}."]
    return [text for key, value in given.items() if (text := _problem(key, value))]


def _problem(key: object, value: object) -> str | None:
    name = KEYS.get(key) if isinstance(key, str) else None
    if name is None:
        close = get_close_matches(str(key).upper(), KEYS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"SESSIONSTORES has an unknown key {key!r}.{hint}"
    try:
        msgspec.convert(_plain(value), _TYPES[name])
    except msgspec.ValidationError:
        expected = _description(_TYPES[name])
        shown = f"this {type(value).__name__}" if key in _SECRET else repr(value)
        return f"SESSIONSTORES[{key!r}] must be {expected}, not {shown}."
    return None


def _plain(value: object) -> object:
    # msgspec takes no subclasses of float, such as NumPy's.
    return float(value) if isinstance(value, float) else value


def _description(kind: Any) -> str:
    *_, meta = kind.__metadata__
    return str(meta.description)


_current: Conf | None = None
_changes = 0


def get() -> Conf:
    """Return the current settings; raise `ImproperlyConfigured` if they are invalid."""
    return _current or _load()


def _load() -> Conf:
    global _current
    while True:
        changes = _changes
        _current = loaded = _read()
        if changes == _changes:
            return loaded
        # They have changed meanwhile, in another thread.
        _current = None


def _read() -> Conf:
    given = getattr(settings, "SESSIONSTORES", {})
    if found := problems(given):
        raise ImproperlyConfigured(" ".join(found))
    values = {KEYS[key]: _plain(value) for key, value in given.items()}
    return msgspec.convert(values, Conf)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    global _current, _changes
    if setting == "SESSIONSTORES":
        _changes += 1
        _current = None
