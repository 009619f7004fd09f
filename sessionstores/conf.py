"""The `SESSIONSTORES` setting as one frozen object, read at use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

MAX_PREFIX_LENGTH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Conf:
    """Defaults of every key; times in seconds, sizes in bytes."""

    cache: str = "default"
    redis: dict[str, Any] | None = None
    key_prefix: str = "ss"
    idle_timeout: float = 300
    presence_lease: float = 30
    leave_grace: float = 5
    heartbeat: float = 10
    max_state_bytes: int = 262_144
    max_participants: int = 1_000
    max_sessions: int = 10_000
    max_connections: int = 8
    rate_limit: tuple[float, float] | None = (20, 40)
    max_frame_bytes: int = 65_536
    token_max_age: float = 43_200
    slow_operation_ms: float = 50
    auto_sweep: bool | None = None
    admin_readonly: bool = False
    stats_token: str | None = None


KEYS = {field.name.upper(): field.name for field in fields(Conf)}


class Rule(NamedTuple):
    """What a value must be, and that in words."""

    fits: Callable[[Any], bool]
    expected: str


def is_number(value: object) -> bool:
    """Tell whether it is a finite number; True and False are none."""
    return type(value) is int or (isinstance(value, float) and isfinite(value))


def is_prefix(value: object) -> bool:
    """Tell whether it may begin every cache's keys, and no other key's hash tag."""
    if not isinstance(value, str) or len(value) > MAX_PREFIX_LENGTH:
        return False
    return value.isascii() and value.isprintable() and not set(value) & set(" {}")


def is_rate(value: object) -> bool:
    """Tell whether it is a rate and a burst that lets an action through at all."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(map(is_number, value)) and value[0] > 0 and value[1] >= 1


def is_place(value: object) -> bool:
    """Tell whether what leads to a Redis is of the types that lead there."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return False
    sentinels = value.get("sentinels", ())
    return (
        all(isinstance(value.get(n, ""), str) for n in ("url", "cluster", "service"))
        and isinstance(value.get("sentinel_kwargs", {}), dict)
        and isinstance(sentinels, list | tuple)
        and all(isinstance(each, list | tuple) and len(each) == 2 for each in sentinels)
    )


_POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
_FROM_ZERO = Rule(lambda value: is_number(value) and value >= 0, "a number from 0 up")
_COUNT = Rule(lambda value: type(value) is int and value > 0, "a whole number above 0")
_FLAG = Rule(lambda value: isinstance(value, bool), "True or False")

_RULES = {
    "CACHE": Rule(
        lambda value: isinstance(value, str), "the name of an alias of CACHES"
    ),
    "REDIS": Rule(
        lambda value: value is None or is_place(value),
        "None or a dict with a 'url', a 'cluster' (URLs), or 'sentinels' (pairs of "
        "host and port) and a 'service', and arguments of the client",
    ),
    "KEY_PREFIX": Rule(
        is_prefix,
        f"up to {MAX_PREFIX_LENGTH} ASCII characters, none of them a space or a brace",
    ),
    "IDLE_TIMEOUT": _POSITIVE,
    "PRESENCE_LEASE": _POSITIVE,
    "LEAVE_GRACE": _FROM_ZERO,
    "HEARTBEAT": _POSITIVE,
    "MAX_STATE_BYTES": _COUNT,
    "MAX_PARTICIPANTS": _COUNT,
    "MAX_SESSIONS": _COUNT,
    "MAX_CONNECTIONS": _COUNT,
    "RATE_LIMIT": Rule(
        lambda value: value is None or is_rate(value),
        "None or (actions a second, burst), two numbers above 0, the burst from 1 up",
    ),
    "MAX_FRAME_BYTES": _COUNT,
    "TOKEN_MAX_AGE": _POSITIVE,
    "SLOW_OPERATION_MS": _FROM_ZERO,
    "AUTO_SWEEP": Rule(
        lambda value: value is None or isinstance(value, bool), "True, False or None"
    ),
    "ADMIN_READONLY": _FLAG,
    "STATS_TOKEN": Rule(
        lambda value: value is None or isinstance(value, str), "None or text"
    ),
}
# Those whose values nobody is to read in a log.
_SECRET = {"REDIS", "STATS_TOKEN"}


def problems(given: object) -> list[str]:
    """Return what is wrong with a `SESSIONSTORES` value, in words; [] if nothing."""
    if not isinstance(given, dict):
        return [f"SESSIONSTORES must be a dict, not {type(given).__name__}."]
    found = []
    for key, value in given.items():
        rule = _RULES.get(key)
        if rule is None:
            close = get_close_matches(str(key).upper(), KEYS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            found.append(f"SESSIONSTORES has an unknown key {key!r}.{hint}")
        elif not rule.fits(value):
            shown = f"this {type(value).__name__}" if key in _SECRET else repr(value)
            found.append(
                f"SESSIONSTORES[{key!r}] must be {rule.expected}, not {shown}."
            )
    return found


_current: Conf | None = None
_changes = 0


def get() -> Conf:
    """Return the settings in force; raise `ImproperlyConfigured` for unusable ones."""
    return _current or _taken()


def _taken() -> Conf:
    global _current
    while True:
        changes = _changes
        _current = taken = _read()
        if changes == _changes:
            return taken
        # They have changed meanwhile, in another thread.
        _current = None


def _read() -> Conf:
    given = getattr(settings, "SESSIONSTORES", {})
    if found := problems(given):
        raise ImproperlyConfigured(" ".join(found))
    values = {KEYS[key]: value for key, value in given.items()}
    if values.get("rate_limit"):
        values["rate_limit"] = tuple(values["rate_limit"])
    return Conf(**values)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    global _current, _changes
    if setting == "SESSIONSTORES":
        _changes += 1
        _current = None
