"""Errors that sessionstores raises, and the words that people are told them in.

Each has a `code` for the wire, a `message` for the person and a `hint` for developers.
"""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

# Translated when it is read, in the language that is active then.
Text = str | Promise

_RELOAD = _("This page is no longer up to date. Reload it, then try again.")
_UNREADABLE = _(
    "The server could not read what this page sent. Reload the page, then try again."
)
_FAILED = _(
    "Something went wrong on the server. Try again; if it stays so, tell whoever runs "
    "the session."
)

# What a person is told of each code, if nothing fits better: of our errors, and of
# what else stands in frames or is found out by the client.
MESSAGES: dict[str, Text] = {
    "error": _("This did not work. Try again."),
    "invalid_key": _("This is not a valid code or name. Check it, then try again."),
    "invalid_token": _(
        "This page was open for too long, or your access has changed. Reload the page."
    ),
    "unknown_state": _RELOAD,
    "unknown_action": _RELOAD,
    "invalid_arguments": _(
        "This does not fit here. Check it, or reload the page and try again."
    ),
    "rejected": _("This is not possible at the moment."),
    "conflict": _("Others were changing this at the same time. Try again."),
    "state_too_large": _(
        "There is no room left for this. Remove something first, then try again."
    ),
    "limit_reached": _(
        "This is too much at the moment. Wait a little, then try again."
    ),
    "unknown_session": _(
        "There is no session with this code. Check the code, or ask for a new one."
    ),
    "session_ended": _("This session is over."),
    "session_locked": _(
        "This session takes no more people. Ask whoever runs it to let you in."
    ),
    "kicked": _(
        "You were removed from this session. Ask whoever runs it whether you may come "
        "back."
    ),
    "store_unavailable": _(
        "The server cannot do this at the moment. Try again in a little while."
    ),
    "outcome_unknown": _(
        "It is not known whether this was done. Look at how things stand before you "
        "try again."
    ),
    "inside_transaction": _FAILED,
    "state_corrupt": _(
        "This cannot be shown or changed at the moment. Tell whoever runs the session."
    ),
    "internal": _FAILED,
    "forbidden": _("You may not do this. Ask whoever runs the session."),
    "slow": _("The connection could not keep up. This page connects again by itself."),
    "hello_timeout": _("Connecting took too long. This page tries again by itself."),
    "unknown_protocol": _RELOAD,
    "too_many_bad_frames": _UNREADABLE,
    "bad_json": _UNREADABLE,
    "bad_frame": _UNREADABLE,
    "bad_value": _UNREADABLE,
    "unknown_type": _UNREADABLE,
    "too_large": _("This is too large to be sent. Make it shorter, then try again."),
    "too_deep": _("This is too complex to be sent. Make it simpler, then try again."),
    "bad_meta": _(
        "Others could not be shown what you are doing. Reload the page if that goes on."
    ),
    "expired": _("This could not be sent in time and was given up. Try again."),
}


def general_message(code: str) -> Text:
    """Return what a person is told of a code; of a site's own, that of a refusal."""
    return MESSAGES.get(code) or MESSAGES["rejected"]


def shown(value: object) -> str:
    """Return a value as in code, for an error's text; what is long ends with "…"."""
    if not isinstance(value, str):
        text = repr(value)
        return text if len(text) <= 120 else f"{text[:120]}…"
    kept = value if len(value) <= 60 else f"{value[:60]}…"
    # What cannot be printed is escaped, which takes up to ten characters each.
    return repr(kept) if len(repr(kept)) <= 90 else repr(f"{value[:8]}…")


class SessionStoresError(Exception):
    """Base of all errors of sessionstores; `code` names the error on the wire.

    `message` is for the person who meets it, `hint` for developers: the offending
    value and the way out. `str()` is the hint.
    """

    code = "error"

    def __init__(self, hint: str = "", *, message: Text | None = None) -> None:
        super().__init__(hint)
        self._message = message

    @property
    def message(self) -> str:
        """What to tell a person, in the active language; no word of settings or code.

        Without one of its own, it is that of the code.
        """
        given = self._message
        return str(general_message(self.code) if given is None else given)

    @property
    def hint(self) -> str:
        """What to tell a developer; it may name settings, data and servers."""
        return str(self)


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
    """An action's arguments do not match its annotations; the hint names which.

    Also raised for a message or a label that browsers would not read as it is.
    `argument` is the name of what does not match, as far as that is one argument.
    """

    code = "invalid_arguments"
    argument = ""


class ActionRejected(SessionStoresError, ValueError):
    """Raised by an action to refuse: an answer to the client, not a failure.

    `message` is shown to the person as written; a lazy translation is resolved in the
    language of the page that opened the tab. It is the hint too, unless one is given.
    `code` (default "rejected") distinguishes refusals.
    """

    code = "rejected"

    def __init__(
        self,
        message: Text | None = None,
        *,
        code: str = "rejected",
        hint: str | None = None,
    ) -> None:
        super().__init__("", message=message)
        # Whatever it is, the tab is told of the refusal.
        given: object = code
        self.code = given if isinstance(given, str) else str(given)
        # Kept as it is: the language is that of who reads it.
        self.args = (message,)
        self._hint = hint

    def __str__(self) -> str:
        return self.message if self._hint is None else self._hint


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

    def __init__(
        self, hint: str = "", *, message: Text | None = None, refused: bool = False
    ) -> None:
        super().__init__(hint, message=message)
        self.refused = refused


class OutcomeUnknown(StoreUnavailable):
    """A commit was sent and not answered: the change may or may not be stored."""

    def __init__(
        self, hint: str = "", *, message: Text | None = None, refused: bool = False
    ) -> None:
        # Its code is older than a code of its own on the wire.
        told = MESSAGES["outcome_unknown"] if message is None else message
        super().__init__(hint, message=told, refused=refused)


class InsideTransaction(SessionStoresError, RuntimeError):
    """The cache is a database table, and a transaction is open on that database."""

    code = "inside_transaction"


class StateCorrupt(SessionStoresError, ValueError):
    """Stored data cannot be decoded, or a state cannot be encoded.

    `newer` is true for data of a higher version than this process declares, as during
    a rolling deploy: the data is valid and stays in place.
    """

    code = "state_corrupt"

    def __init__(
        self, hint: str = "", *, message: Text | None = None, newer: bool = False
    ) -> None:
        super().__init__(hint, message=message)
        self.newer = newer
