"""Announcing: send a message to open tabs, and say whom it reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from ..manager import stores
from .operations import Done, Effect, Operation, OperationInputs, Report, TargetKind
from .targets import (
    OperationTarget,
    away_names,
    missed_log,
    missed_text,
    names_text,
    reached_log,
    reached_text,
)

MAX_TEXT = 2_000

_ASKS: dict[TargetKind, Any] = {
    "sessions": ngettext_lazy(
        "Send a message to %(count)s session?",
        "Send a message to %(count)s sessions?",
        "count",
    ),
    "participants": ngettext_lazy(
        "Send a message to %(count)s participant?",
        "Send a message to %(count)s participants?",
        "count",
    ),
}


class MessageForm(forms.Form):
    """The text of a message."""

    text = forms.CharField(
        label=gettext_lazy("Message"),
        max_length=MAX_TEXT,
        widget=forms.Textarea(attrs={"rows": 4}),
        error_messages={
            "required": gettext_lazy("Write a message first."),
            "max_length": gettext_lazy(
                "A message has at most %(limit_value)s characters."
            ),
        },
    )


def announcing(target: TargetKind) -> Operation:
    """Return the operation for sessions, or for participants."""
    return Operation(
        "message",
        gettext_lazy("Send a message"),
        (gettext_lazy("Send a message to %(name)s?"), _ASKS[target]),
        _explain,
        _run,
        _report,
        form=lambda targets, data: MessageForm(data, label_suffix="", auto_id="ss-%s"),
    )


def _explain(targets: Sequence[OperationTarget]) -> Iterable[str]:
    if not any(each.tabs for each in targets):
        yield _("Nobody has a tab open now: nobody would get it.")
    else:
        text = _("%(reached)s get it at once.")
        yield text % {"reached": reached_text(targets)}
    yield from _missed(
        targets, _("It is not stored. Who is away misses it: %(names)s.")
    )


def _missed(targets: Sequence[OperationTarget], text: str) -> Iterable[str]:
    if names := away_names(targets):
        yield text % {"names": names_text(names)}


def _run(target: OperationTarget, inputs: OperationInputs) -> Effect:
    key, text = target.key, inputs.values["text"]
    to = None if key.is_session else key.participant
    stores.send(key.session, inputs.announcement(text), to)
    if not target.tabs:
        return Effect(f"Sent a message, which nobody got: {text}", changed=False)
    return Effect(f"Sent a message to {reached_log([target])}: {text}{missed_log()}")


def _report(done: Sequence[Done], inputs: OperationInputs) -> Iterable[Report]:
    targets = [target for target, _effect in done]
    if any(each.tabs for each in targets) and (missed := missed_text()):
        yield Report(missed, messages.WARNING)
    elif any(each.tabs for each in targets):
        yield Report(_("Sent to %(reached)s.") % {"reached": reached_text(targets)})
    else:
        text = _("Nobody has a tab open: nobody got the message.")
        yield Report(text, messages.WARNING)
        return
    for text in _missed(targets, _("Away, and not reached: %(names)s.")):
        yield Report(text, messages.INFO)
