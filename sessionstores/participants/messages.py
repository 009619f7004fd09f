"""Messages of the end and of the client, which people are told besides errors."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from ..exceptions import MESSAGES, Text

_CLOSED = _("This page is no longer connected. Reload it to go on.")

# What the person whose tab is closed for good is told, by the reason.
END_MESSAGES: dict[str, Text] = {
    "ended": MESSAGES["session_ended"],
    "disconnected": _(
        "Whoever runs this session has disconnected you. Nothing is lost: reload the "
        "page to come back."
    ),
    "idle": _(
        "You were away for so long that your place was given up. Reload the page to "
        "start again."
    ),
    "cleanup": _(
        "Whoever runs this session has removed what was kept for you here. Reload the "
        "page to start again."
    ),
    "kicked": MESSAGES["kicked"],
    "left": _("You have left this session. To come back, join it again."),
}

# What the person is told whose states the site has replaced by fresh ones.
RESTARTED: Text = _(
    "Whoever runs this session has had you start afresh. Go on from what you see now."
)

# What the client tells by itself, for want of a server. Each page has them, so they
# are few.
CLIENT_MESSAGES: dict[str, Text] = {
    "expired": MESSAGES["expired"],
    "outcome_unknown": MESSAGES["outcome_unknown"],
    "too_large": MESSAGES["too_large"],
    "invalid_arguments": MESSAGES["invalid_arguments"],
    # Of a frame that cannot be read, and of a refusal without a text.
    "error": MESSAGES["error"],
    "offline": _("You are offline. What you do is sent once you are back."),
    "connecting": _("There is no connection yet. What you do is sent once there is."),
    "reconnecting": _("The connection was lost. What you do is sent once it is back."),
    "reset": _("What you saw here was reset. This is how it stands now."),
    # Of the end: by its reason, where the frame that says so was lost.
    "ended": END_MESSAGES["ended"],
    "kicked": END_MESSAGES["kicked"],
    "left": END_MESSAGES["left"],
    "closed": _CLOSED,
}


def end_message(reason: str) -> Text:
    """Return what a person is told whose tab is closed for good."""
    return END_MESSAGES.get(reason, _CLOSED)


def client_messages() -> dict[str, str]:
    """Return what the client tells by itself, in the active language."""
    return {name: str(text) for name, text in CLIENT_MESSAGES.items()}
