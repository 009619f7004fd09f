"""Errors and limit checks that both families of backends share."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from .. import conf
from ..exceptions import (
    Kicked,
    LimitReached,
    SessionEnded,
    SessionLocked,
    StoreUnavailable,
    UnknownSession,
)
from ..humanize import span
from ..keys import StoreKey
from ..state.revisions import Rev
from .types import MAX_KICKED, Record


def unknown(session: str) -> UnknownSession:
    """Return the error for a session that does not exist, or has ended."""
    return UnknownSession(
        f"There is no session {session}, or it has ended. stores.sessions() lists the "
        "codes of all sessions."
    )


def ended(session: str) -> SessionEnded:
    """Return the error for a session under a tombstone."""
    return SessionEnded(
        f"Session {session} was ended; its code stays closed for "
        f"{span(conf.get().token_max_age)} (TOKEN_MAX_AGE) from then on. Start a new "
        "session."
    )


def locked(key: StoreKey) -> SessionLocked:
    """Return the error for a newcomer to a locked session."""
    return SessionLocked(
        f"Session {key.session} takes no newcomers, so {key.participant} cannot join. "
        "Unlock it first."
    )


def kicked(key: StoreKey) -> Kicked:
    """Return the error for a participant whom the session keeps out."""
    return Kicked(
        f"{key.participant} was removed from session {key.session}. "
        f"stores.readmit({key.session!r}, {key.participant!r}) lets them in again."
    )


def too_many_kicked(session: str) -> LimitReached:
    """Return the error for one more participant to be kept out than there may be."""
    return LimitReached(
        f"Session {session} keeps {MAX_KICKED} people out, as many as it can. Readmit "
        "some, lock it against newcomers, or end it."
    )


def check_participants(session: str, count: int, limit: int) -> None:
    """Raise `LimitReached` if a session of `count` participants has reached `limit`."""
    if count >= limit:
        raise LimitReached(
            f"Session {session} has {count} participants, all that MAX_PARTICIPANTS "
            "allows. Remove some, or raise it in SESSIONSTORES.",
            message=_("This session is full. Ask whoever runs it to make room."),
        )


def check_sessions(session: str, count: int) -> None:
    """Raise `LimitReached` if `count` sessions, with this one, are too many."""
    if count > conf.get().max_sessions:
        raise too_many_sessions(session)


def too_many_sessions(session: str) -> LimitReached:
    """Return the error for a session past `MAX_SESSIONS`."""
    return LimitReached(
        f"Session {session} would be one more than the {conf.get().max_sessions} that "
        "MAX_SESSIONS allows. End some, or raise it in SESSIONSTORES.",
        message=_("No more sessions can be opened at the moment. Try again later."),
    )


# At each attempt one of the rivals succeeds, so this many failures mean a sick cache.
MAX_ATTEMPTS = 64


def contended(key: object) -> StoreUnavailable:
    """Return the error for a key that changed during each of `MAX_ATTEMPTS` writes."""
    return StoreUnavailable(
        f"{key} changed at each of {MAX_ATTEMPTS} tries to write it. Nothing was "
        "written; try again when there is less going on.",
        refused=True,
    )


def is_unrelated(record: Record, base: Record, rev: Rev) -> bool:
    """Return whether a record is of another incarnation than both `base` and `rev`.

    Its history then says nothing about a commit of `rev` on `base`.
    """
    return record.rev.incarnation not in (base.rev.incarnation, rev.incarnation)


def outcome_unknown(rev: Rev, found: Record) -> StoreUnavailable:
    """Return the error for a commit that `found` can neither confirm nor deny."""
    return StoreUnavailable(
        f"It is unknown whether {rev} was committed to {found.key}: the record is "
        f"at {found.rev}, whose history does not reach back to it. Read it before you "
        "try again."
    )


class NotSent(ConnectionError):
    """A command was not sent, for a reason: most often, no connection opened."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def still_unknown(lost: StoreUnavailable, again: StoreUnavailable) -> StoreUnavailable:
    """Return the error for a write that was `lost`, and failed when it was repeated."""
    return StoreUnavailable(f"{lost} When it was tried again: {again}")


def unavailable(error: Exception) -> StoreUnavailable:
    """Return the error for a cache that did not answer or reported a failure."""
    return StoreUnavailable(
        f"The cache did not answer ({type(error).__name__}: {error}). What was being "
        "written may or may not be stored; read before you try again."
    )
