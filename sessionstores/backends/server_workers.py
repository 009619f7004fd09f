"""Workers of the site's server, as its command line and environment announce them."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from django.conf import settings

logger = logging.getLogger("sessionstores.backends")

# By the variable from which each takes their number where no option gives it.
_SERVERS = {
    "uvicorn": "WEB_CONCURRENCY",
    "gunicorn": "WEB_CONCURRENCY",
    "hypercorn": "",
    "granian": "GRANIAN_WORKERS",
}
_OPTION = re.compile(r"(?:--workers=?|-w=?)([0-9]*)")

CHECK = "sessionstores.W004"
ALONE = (
    "The cache {!r} keeps records in the memory of this process: other processes do "
    "not see them, and a restart loses them."
)
WAY_OUT = "Set SESSIONSTORES['CACHE'] to a cache that processes share."


def announced_workers(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Return how many workers a server has that was started by these words.

    1 if that cannot be told, or if it is none of those that are known. A worker has
    the words of the process that started it.
    """
    program = PurePath(words[0]) if words else PurePath()
    if program.name == "__main__.py":
        program = program.parent
    variable = _SERVERS.get(program.stem)
    # One that reloads has one worker at a time.
    if variable is None or "--reload" in words:
        return 1
    number = environ.get(variable, "")
    for word, following in zip(words[1:], [*words[2:], ""], strict=False):
        if option := _OPTION.fullmatch(word):
            number = option[1] or following
    return int(number) if number.isdecimal() else 1


def warn_of_others(alias: str) -> None:
    """Log W004 for a cache in memory, if this process is one of several workers."""
    if CHECK in settings.SILENCED_SYSTEM_CHECKS:
        return
    if (workers := announced_workers(sys.argv, os.environ)) > 1:
        text = f"%s The server has %d workers. {WAY_OUT} (%s)"
        logger.warning(text, ALONE.format(alias), workers, CHECK)
