"""Sent form: a form of an action as htmx sends it over a WebSocket, and its answer.

It has no address there, so that a hidden control says what it is: which action, and as
which element of the page it is to be shown again.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from django.http import HttpRequest, QueryDict
from django.middleware.csrf import get_token
from django.utils.html import format_html
from django.utils.safestring import SafeString
from msgspec import Meta

from ..participants.participant import Participant
from ..state.actions import Action
from ..state.declaration import State
from .form import NEXT, PRESET, ActionForm
from .places import url_of

# The name of the hidden control; ours alone, as `NEXT`.
SENT = "ss_form"
# The attribute by which each version of htmx sends a form.
ATTRIBUTES = {2: "ws-send", 4: "hx-ws:send"}

MAX_LABEL = 200

Text = Annotated[str, Meta(max_length=MAX_LABEL)]


class SentForm(msgspec.Struct, frozen=True):
    """Which action a form calls, its element's id, its button, and htmx's version."""

    state: Text
    action: Text
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z][\w-]{0,199}\Z")]
    label: Text
    htmx: Literal[2, 4]

    @property
    def attribute(self) -> str:
        """The attribute by which it is sent."""
        return ATTRIBUTES[self.htmx]

    @property
    def text(self) -> str:
        """The value of the hidden control."""
        return msgspec.json.encode(self).decode()

    def form(
        self, cls: type[State], action: Action, data: QueryDict, *, bound: bool
    ) -> ActionForm:
        """Return the form as it was sent; not `bound`: as it was before."""
        hidden = tuple(data.get(PRESET, "").split())
        given: dict[str, Any] = {"hidden": hidden, "auto_id": f"{self.id}-%s"}
        if bound:
            return ActionForm(cls, action, data, **given)
        initial = {name: data[name] for name in hidden if name in data}
        return ActionForm(cls, action, initial=initial, **given)

    def alert(self, message: str) -> SafeString:
        """Return what is shown in the place of a form that there is no more."""
        alert = '<p id="{}" hx-swap-oob="true" role="alert">{}</p>'
        return format_html(alert, self.id, message)


def read_sent(text: str) -> tuple[SentForm, QueryDict]:
    """Return a form that was sent and its data; raise ValueError for anything else."""
    try:
        message = msgspec.json.decode(text, type=dict[str, Any])
        sent = msgspec.json.decode(str(message.get(SENT, "")), type=SentForm)
    except (RecursionError, UnicodeError) as error:
        raise ValueError(str(error)) from None
    data = QueryDict(mutable=True)
    for name, value in message.items():
        values = value if isinstance(value, list) else [value]
        data.setlist(name, [_as_typed(each) for each in values])
    return sent, data


def _as_typed(value: object) -> str:
    """Return a value as a control has it; what is no text comes from `hx-vals`."""
    return value if isinstance(value, str) else json.dumps(value)


def shown_form(
    request: HttpRequest,
    participant: Participant,
    form: ActionForm,
    *,
    label: str,
    next: str | None,
    sent: SentForm | None = None,
    is_answer: bool = False,
) -> dict[str, Any]:
    """Return the context of `sessionstores/action_form.html`.

    Raises `ImproperlyConfigured` where the site has no URL for it.
    """
    return {
        "csrf_token": get_token(request),
        "form": form,
        "label": label,
        "next": next,
        "url": url_of(request, participant, form.state, form.action),
        "sent": sent,
        "is_answer": is_answer,
    }


def answer_to(
    request: HttpRequest,
    participant: Participant,
    sent: SentForm,
    form: ActionForm,
    data: QueryDict,
) -> dict[str, Any]:
    """Return the context with which a form that was sent is shown again."""
    return shown_form(
        request,
        participant,
        form,
        label=sent.label,
        next=data.get(NEXT),
        sent=sent,
        is_answer=True,
    )
