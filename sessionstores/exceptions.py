"""Errors that sessionstores raises, each with the code that clients see."""

from __future__ import annotations


class SessionStoresError(Exception):
    """Base of all errors of sessionstores; `code` names the error on the wire."""

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
    """An action's arguments do not match its annotations; the message names which.

    Also raised for a message or a label that browsers would not read as it is.
    """

    code = "invalid_arguments"


class ActionRejected(SessionStoresError, ValueError):
    """Raised by an action to refuse: an answer to the client, not a failure.

    `message` is shown to the client as written; `code` (default "rejected")
    distinguishes refusals.
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
    """A limit on sessions, participants, connections, actions or guesses is reached."""

    code = "limit_reached"


class UnknownSession(SessionStoresError, LookupError):
    """The session does not exist or has ended; the error does not reveal which."""

    code = "unknown_session"


class SessionEnded(SessionStoresError, RuntimeError):
    """The session was ended; its code stays closed until the tombstone expires."""

    code = "session_ended"


class SessionLocked(SessionStoresError, RuntimeError):
    """The session is locked and admits no newcomers."""

    code = "session_locked"


class Kicked(SessionStoresError, PermissionError):
    """The participant was removed from the session, and not readmitted since."""

    code = "kicked"


class StoreUnavailable(SessionStoresError, ConnectionError):
    """The cache refused, was not reached, or gave no answer in time.

    `refused` is true if the step that failed is certain to have had no effect: the
    cache said no, or was never asked.
    """

    code = "store_unavailable"

    def __init__(self, message: str = "", *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class OutcomeUnknown(StoreUnavailable):
    """A commit was sent and not answered: the change may or may not be stored."""


class InsideTransaction(SessionStoresError, RuntimeError):
    """The cache is a database table, and a transaction is open on that database."""

    code = "inside_transaction"


class StateCorrupt(SessionStoresError, ValueError):
    """Stored data cannot be decoded, or a state cannot be encoded.

    `newer` is true for data of a higher version than this process declares, as during
    a rolling deploy: the data is valid and stays in place.
    """

    code = "state_corrupt"

    def __init__(self, message: str, *, newer: bool = False) -> None:
        super().__init__(message)
        self.newer = newer
