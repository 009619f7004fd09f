"""The `SESSIONSTORES` setting as one frozen object, read at use."""

from __future__ import annotations

from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver


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

_POSITIVE = (
    "IDLE_TIMEOUT",
    "PRESENCE_LEASE",
    "HEARTBEAT",
    "MAX_STATE_BYTES",
    "MAX_PARTICIPANTS",
    "MAX_SESSIONS",
    "MAX_CONNECTIONS",
    "MAX_FRAME_BYTES",
    "TOKEN_MAX_AGE",
)


def problems(given: object) -> list[str]:
    """Return what is wrong with a `SESSIONSTORES` value, in words; [] if nothing."""
    if not isinstance(given, dict):
        return [f"SESSIONSTORES must be a dict, not {type(given).__name__}."]
    found = []
    for key in given:
        if key not in KEYS:
            close = get_close_matches(str(key).upper(), KEYS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            found.append(f"SESSIONSTORES has an unknown key {key!r}.{hint}")
    for key in _POSITIVE:
        value = given.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            found.append(
                f"SESSIONSTORES[{key!r}] must be a number above 0, not {value!r}."
            )
    prefix = given.get("KEY_PREFIX", "ss")
    if not isinstance(prefix, str) or not prefix.isascii() or len(prefix) > 32:
        found.append(
            f"SESSIONSTORES['KEY_PREFIX'] must be short ASCII, not {prefix!r}."
        )
    elif not prefix.isprintable() or any(c in " {}" for c in prefix):
        found.append(
            f"SESSIONSTORES['KEY_PREFIX'] may hold no space or brace: {prefix!r}."
        )
    rate = given.get("RATE_LIMIT", (20, 40))
    if rate is not None and not (
        isinstance(rate, list | tuple)
        and len(rate) == 2
        and all(isinstance(n, int | float) and n > 0 for n in rate)
        and rate[1] >= 1
    ):
        found.append(
            "SESSIONSTORES['RATE_LIMIT'] must be (actions a second, burst) or None, "
            f"not {rate!r}."
        )
    return found


@lru_cache(maxsize=1)
def get() -> Conf:
    """Return the settings in force; raise `ImproperlyConfigured` for unusable ones."""
    given = getattr(settings, "SESSIONSTORES", {})
    if found := problems(given):
        raise ImproperlyConfigured(" ".join(found))
    values = {KEYS[key]: value for key, value in given.items()}
    if values.get("rate_limit"):
        values["rate_limit"] = tuple(values["rate_limit"])
    return Conf(**values)


@receiver(setting_changed)
def _reset(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSIONSTORES":
        get.cache_clear()
