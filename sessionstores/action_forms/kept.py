"""Kept refusals: what a form was refused, in Django's session until it is shown again.

Of each browser the latest, for the participant who sent it. What is too large, and what
comes by a signed link, which leaves Django's session alone, is not kept.
"""

from __future__ import annotations

import msgspec
from django.http import HttpRequest

from ..participants.participant import Participant
from ..participants.requests import RequestIdentity
from ..state.json_rules import portable_text
from .form import ActionForm

# Its name does not begin as those of the kept identities.
ENTRY = "sessionstores_refused"
# As signed cookies, all that a session keeps has to fit in 4096 bytes.
MAX_BYTES = 1_000


class KeptRefusal(msgspec.Struct, forbid_unknown_fields=True):
    """A form as it was sent by a participant, and what is wrong beside its fields.

    `told` is what was raised when it was dispatched, in words for people.
    """

    whose: str
    state: str
    action: str
    data: dict[str, str]
    hidden: list[str]
    told: str = ""
    code: str = ""


def keep(
    request: HttpRequest, participant: Participant, form: ActionForm, refusal: object
) -> bool:
    """Keep a form that was refused; False if it has to be shown at once."""
    forget(request)
    session = getattr(request, "session", None)
    if session is None or _by_link(request):
        return False
    data = {name: form.data[name] for name in form.fields if name in form.data}
    kept = KeptRefusal(
        str(participant.key),
        form.state.__sessionstores__.name,
        form.action.name,
        data,
        form.hidden,
        portable_text(getattr(refusal, "message", "")),
        portable_text(getattr(refusal, "code", "")),
    )
    if len(msgspec.json.encode(kept)) > MAX_BYTES:
        return False
    session[ENTRY] = msgspec.to_builtins(kept)
    return True


def take(
    request: HttpRequest, participant: Participant, form: ActionForm
) -> KeptRefusal | None:
    """Return what was kept of this form, and keep it no longer; None: nothing.

    Of several forms of an action, it is the one with the same hidden values.
    """
    session = getattr(request, "session", None)
    if session is None or _by_link(request):
        return None
    try:
        kept = msgspec.convert(session.get(ENTRY), KeptRefusal)
    except msgspec.ValidationError:
        return None
    hidden = {name: _text(form.fields[name].initial) for name in form.hidden}
    if (
        kept.whose != str(participant.key)
        or (kept.state, kept.action)
        != (form.state.__sessionstores__.name, form.action.name)
        or hidden != {name: _text(kept.data.get(name)) for name in kept.hidden}
    ):
        return None
    forget(request)
    return kept


def forget(request: HttpRequest) -> None:
    """Keep nothing any more."""
    session = getattr(request, "session", None)
    if session is not None and not _by_link(request) and ENTRY in session:
        del session[ENTRY]


def _text(value: object) -> str:
    """Return what stands in a hidden control, with line breaks of one kind."""
    return "" if value is None else str(value).replace("\r\n", "\n")


def _by_link(request: HttpRequest) -> bool:
    return RequestIdentity(request, blocking=True).has_link
