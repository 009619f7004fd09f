"""Error frames: what a tab is told of errors and ends, in the active language.

A person is told the message. Hints are for developers: they may name settings, hosts
and data, and reach tabs under DEBUG only, and those of tests in the same process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from django.conf import settings

from ..backends import get_backend
from ..exceptions import (
    MESSAGES,
    InvalidToken,
    Kicked,
    LimitReached,
    SessionEnded,
    SessionLocked,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
    Text,
)
from ..monitoring import failures
from ..monitoring.log_limiter import log_limiter
from ..participants.messages import end_message
from . import protocol
from .frame_head import NO_HEAD, FrameHead
from .protocol import BadFrame, Close

# What else errors are called on the wire, besides the codes of our exceptions.
FailureCode = Literal[
    "forbidden",
    "slow",
    "hello_timeout",
    "unknown_protocol",
    "too_many_bad_frames",
    "outcome_unknown",
]

logger = logging.getLogger("sessionstores.delivery")

_CLOSES: tuple[tuple[type[SessionStoresError], Close], ...] = (
    (InvalidToken, Close.TOKEN),
    (SessionEnded, Close.ENDED),
    (Kicked, Close.KICKED),
    (SessionLocked, Close.FORBIDDEN),
    (LimitReached, Close.LIMIT),
    (StoreUnavailable, Close.UNAVAILABLE),
)

_tells_all: ContextVar[bool] = ContextVar("sessionstores_tells_all", default=False)


@contextmanager
def telling_all() -> Iterator[None]:
    """Tell the tab that is served in a block the hints, too: it is one of a test."""
    begun = _tells_all.set(True)
    try:
        yield
    finally:
        _tells_all.reset(begun)


def error_frame(error: Exception, head: FrameHead = NO_HEAD, *, where: str = "") -> str:
    """Return the `error` frame of an exception, and count that.

    `head` names what it answers. Of one that is none of ours, a tab is told that it is
    "internal"; `where` then goes before the hint.
    """
    if isinstance(error, BadFrame):
        logger.debug("A tab's frame was refused as %s: %s", error.code, error.hint)
        failures.count_refusal(get_backend(blocking=False), error.code)
        message = str(MESSAGES[error.code])
        return protocol.error(error.code, message, error.head, _shown(error.hint))
    if isinstance(error, SessionStoresError):
        count_error(error)
        return protocol.error(error.code, error.message, head, _shown(error.hint))
    failures.count(get_backend(blocking=False), error)
    hint = f"{where}: {error!r}" if where else repr(error)
    return protocol.error("internal", str(MESSAGES["internal"]), head, _shown(hint))


def failure_frame(
    code: FailureCode, hint: str, head: FrameHead = NO_HEAD, *, message: Text = ""
) -> str:
    """Return the `error` frame of what is refused without an exception; count it."""
    failures.count_refusal(get_backend(blocking=False), code)
    return protocol.error(code, str(message or MESSAGES[code]), head, _shown(hint))


def reject_frame(id: int, code: str, message: Text, hint: str) -> str:
    """Return the `reject` frame of an action."""
    told = str(message)
    return protocol.reject(id, code, told, _shown(hint if hint != told else ""))


def end_frame(reason: str) -> str:
    """Return the `end` frame of a removal, or of a disconnection."""
    return protocol.end(reason, str(end_message(reason)))


def close_of(error: SessionStoresError) -> Close:
    """Return the code with which a connection that cannot be opened is closed."""
    closes = [close for kind, close in _CLOSES if isinstance(error, kind)]
    return closes[0] if closes else Close.INTERNAL


def count_error(error: SessionStoresError) -> None:
    """Count an error, and log one whose hint is for the site's operators.

    They do not see the tab.
    """
    backend = get_backend(blocking=False)
    failures.count(backend, error)
    if isinstance(error, StoreUnavailable | StateCorrupt):
        log_limiter(backend).log(
            logger,
            logging.WARNING,
            "A tab gets the error %s: %s",
            error.code,
            error,
            kind=("tab", error.code),
        )


def _shown(hint: str) -> str:
    return hint if settings.DEBUG or _tells_all.get() else ""
