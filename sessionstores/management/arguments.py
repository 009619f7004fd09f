"""Arguments of the commands: durations, counts, and the choice of a cache."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from .. import conf
from ..backends import get_backend, places_redis
from ..backends.base import Backend

# The exit code for arguments that make no sense, as argparse has it.
USAGE = 2

# With this, errors say what matters only to those who write.
_DOUBT = " What was being written "

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "": 1}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(ms|min|s|m|h|d|)")


def seconds_in(text: str) -> float:
    """Return a time such as "300", "5m" or "1h30m" in seconds."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ArgumentTypeError(f"{text!r} is no time: write 300, 90s, 5m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def positive_seconds(text: str) -> float:
    """Return a time of more than 0 seconds."""
    seconds = seconds_in(text)
    if seconds <= 0:
        raise ArgumentTypeError("it must be more than 0")
    return seconds


def positive(text: str) -> int:
    """Return a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def chosen(alias: str | None) -> Backend:
    """Return the backend of `--cache`; raise `CommandError` if there is none."""
    if alias is not None and alias not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise CommandError(
            f"CACHES has no alias {alias!r}, only {known}.", returncode=USAGE
        )
    try:
        given = conf.get()
        if alias not in (None, given.cache) and places_redis(given.redis):
            raise CommandError(
                "SESSIONSTORES['REDIS'] says where the records are, so that --cache "
                "cannot choose another place.",
                returncode=USAGE,
            )
        return get_backend(blocking=True, alias=alias)
    except ImproperlyConfigured as error:
        raise CommandError(one_line(error)) from error


def one_line(error: object) -> str:
    """Return what an error says; some drivers say it in several lines."""
    return " ".join(str(error).split())


def for_readers(error: object) -> str:
    """Return what an error says to a command that changes nothing, in one line."""
    return one_line(error).partition(_DOUBT)[0]
