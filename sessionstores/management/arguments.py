"""Arguments of the commands: durations, counts, and the cache to use."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from .. import conf
from ..backends import get_backend, places_redis
from ..backends.base import Backend
from ..exceptions import InvalidKey

# The exit codes for unusable arguments, the same as argparse's, and for a cache in the
# memory of another process.
USAGE, INVISIBLE = 2, 3

# Errors' texts are about writes from here on, which a read-only command does not make.
_ABOUT_WRITES = " What was being written "

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "": 1}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(ms|min|s|m|h|d|)")


class SiteCommand(BaseCommand):
    """A command whose options are written out.

    An abbreviation, such as --session for --sessions, could be meant for another.
    """

    def create_parser(
        self, prog_name: str, subcommand: str, **kwargs: Any
    ) -> CommandParser:
        """See `BaseCommand.create_parser`."""
        return super().create_parser(
            prog_name, subcommand, **{"allow_abbrev": False, **kwargs}
        )


def seconds_in(text: str) -> float:
    """Return the seconds of a duration such as "300", "5m" or "1h30m"."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        raise ArgumentTypeError(
            f"{text!r} is not a duration such as 300, 90s, 5m, 1h30m or 2d"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def positive_seconds(text: str) -> float:
    """Return the seconds of a duration above 0."""
    seconds = seconds_in(text)
    if seconds <= 0:
        raise ArgumentTypeError("it must be more than 0")
    return seconds


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def key_part(check: Callable[[object], str]) -> Callable[[str], str]:
    """Return an argument type that accepts what `check` does."""

    def checked(text: str) -> str:
        try:
            return check(text)
        except InvalidKey as error:
            raise ArgumentTypeError(str(error)) from error

    return checked


@contextmanager
def backend_for(alias: str | None) -> Iterator[Backend]:
    """Yield the backend of `--cache`, or of the settings if `alias` is None.

    Meanwhile the alias counts as `CACHE` to this thread. Raises `CommandError` if it
    cannot be used.
    """
    with ExitStack() as stack:
        yield _chosen(alias, stack)


def _chosen(alias: str | None, stack: ExitStack) -> Backend:
    if alias is not None and alias not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise CommandError(
            f"CACHES has no alias {alias!r}. It has: {known}.", returncode=USAGE
        )
    try:
        given = conf.get()
        if alias not in (None, given.cache) and places_redis(given.redis):
            raise CommandError(
                "SESSIONSTORES['REDIS'] sets the server of the records, so --cache "
                "cannot choose another place.",
                returncode=USAGE,
            )
        stack.enter_context(conf.using_cache(alias))
        return get_backend(blocking=True, alias=alias)
    except ImproperlyConfigured as error:
        raise CommandError(one_line(error)) from error


def one_line(error: object) -> str:
    """Return an error's message in one line; some drivers use several."""
    return " ".join(str(error).split())


def read_error(error: object) -> str:
    """Return an error's message for a command that only reads, in one line."""
    return one_line(error).partition(_ABOUT_WRITES)[0]
