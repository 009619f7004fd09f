"""Errors that every backend raises alike, and the limits that they check."""

from __future__ import annotations

from .. import conf
from ..exceptions import LimitReached, SessionEnded, SessionLocked, StoreUnavailable
from ..keys import StoreKey
from ..state.revisions import Rev
from .types import Record


def ended(session: str) -> SessionEnded:
    """Return the error for a session under a tombstone."""
    return SessionEnded(
        f"Session {session} was ended; its code stays closed for TOKEN_MAX_AGE. Start "
        "a new session."
    )


def locked(key: StoreKey) -> SessionLocked:
    """Return the error for a newcomer to a locked session."""
    return SessionLocked(
        f"Session {key.session} takes no newcomers, so {key.participant} cannot join. "
        "Unlock it first."
    )


def check_participants(session: str, count: int, limit: int) -> None:
    """Raise `LimitReached` if a session with `count` participants takes no more."""
    if count >= limit:
        raise LimitReached(
            f"Session {session} has {count} participants, all that MAX_PARTICIPANTS "
            "allows. Remove some, or raise it in SESSIONSTORES."
        )


def check_sessions(session: str, count: int) -> None:
    """Raise `LimitReached` if `count` sessions, this one included, are too many."""
    if count > conf.get().max_sessions:
        raise too_many_sessions(session)


def too_many_sessions(session: str) -> LimitReached:
    """Return the error for a session that would be one too many."""
    return LimitReached(
        f"Session {session} would be one more than the {conf.get().max_sessions} that "
        "MAX_SESSIONS allows. End some, or raise it in SESSIONSTORES."
    )


# Somebody gets through at each try, so this many in vain mean that the cache is sick.
TRIES = 64


def contended(key: object) -> StoreUnavailable:
    """Return the error for a key that changed at every one of our tries."""
    return StoreUnavailable(
        f"{key} changed at each of {TRIES} tries to write it. Nothing was written; try "
        "again when there is less going on."
    )


def is_another(record: Record, base: Record, rev: Rev) -> bool:
    """Tell whether a record has begun anew, neither on `base` nor with `rev`.

    Whatever was committed in between has left no trace.
    """
    return record.rev.incarnation not in (base.rev.incarnation, rev.incarnation)


def untold(rev: Rev, found: Record) -> StoreUnavailable:
    """Return the error for a commit that may be in what `found` no longer tells of."""
    return StoreUnavailable(
        f"Whether the commit of {rev} to {found.key} is in cannot be told: the record "
        f"is at {found.rev}, past its memory. Read it before you try again."
    )


def unavailable(error: Exception) -> StoreUnavailable:
    """Return the error for a cache that did not answer, or answered that it cannot."""
    return StoreUnavailable(
        f"The cache did not answer ({type(error).__name__}: {error}). What was being "
        "written may or may not be in; read before you try again."
    )
