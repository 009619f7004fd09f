"""Every error that sessionstores raises, each with the code that clients see."""

from __future__ import annotations


class SessionStoresError(Exception):
    """Base of all errors here; `code` names the error on the wire."""

    code = "error"


class InvalidKey(SessionStoresError, ValueError):
    """A session code or participant id does not have the required form."""

    code = "invalid_key"


class InvalidToken(SessionStoresError, ValueError):
    """A token or signed link is forged, expired, revoked or for another session."""

    code = "invalid_token"


class UnknownState(SessionStoresError, LookupError):
    """No state of that name is declared, or more than one is."""

    code = "unknown_state"


class UnknownAction(SessionStoresError, LookupError):
    """The state has no `@action` method of that name."""

    code = "unknown_action"


class InvalidArguments(SessionStoresError, TypeError):
    """An action's arguments do not match its annotations; the message names which."""

    code = "invalid_arguments"


class ActionRejected(SessionStoresError, ValueError):
    """Raised by an action to refuse: an answer to the client, not a failure.

    `message` is shown to the client as written; `code` (default "rejected") lets it
    tell one refusal from another.
    """

    code = "rejected"

    def __init__(self, message: str = "Rejected.", *, code: str = "rejected") -> None:
        super().__init__(message)
        self.code = code


class Conflict(SessionStoresError, RuntimeError):
    """Other writers kept committing first until tries and time ran out."""

    code = "conflict"


class StateTooLarge(SessionStoresError, ValueError):
    """A commit would take the record past `MAX_STATE_BYTES`."""

    code = "state_too_large"


class LimitReached(SessionStoresError, RuntimeError):
    """One more session, participant, connection, action or guess than is allowed."""

    code = "limit_reached"


class UnknownSession(SessionStoresError, LookupError):
    """No such session, or one that has ended: callers cannot tell which."""

    code = "unknown_session"


class SessionEnded(SessionStoresError, RuntimeError):
    """The session was ended; its code stays closed until the tombstone expires."""

    code = "session_ended"


class SessionLocked(SessionStoresError, RuntimeError):
    """The session takes no newcomers."""

    code = "session_locked"


class StoreUnavailable(SessionStoresError, ConnectionError):
    """The cache did not answer in time, or its answer was lost."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """It was a commit that got no answer: what was being written may be in."""


class InsideTransaction(SessionStoresError, RuntimeError):
    """The cache is a table, and there is an open transaction on its database."""

    code = "inside_transaction"


class StateCorrupt(SessionStoresError, ValueError):
    """Stored data cannot be decoded, or what an action left behind cannot be stored.

    `newer` is true for data of a higher version than this process declares: a rolling
    deploy, so the data is good and stays where it is.
    """

    code = "state_corrupt"

    def __init__(self, message: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.newer = newer
