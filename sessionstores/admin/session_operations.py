"""Operations on sessions: message, keep, lock, unlock, disconnect and end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import DELETION
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy, override

from ..manager import stores
from .announcing import announcing
from .components.moment import time_tag
from .operations import (
    Done,
    Effect,
    Operation,
    OperationInputs,
    Report,
    Telling,
    saying,
)
from .targets import (
    OperationTarget,
    missed_log,
    missed_text,
    reached_log,
    reached_text,
)

MAX_MINUTES = 60 * 24 * 366
_RANGE = gettext_lazy("Give a number of minutes from 1 to %(most)s.")


class KeepForm(forms.Form):
    """For how many minutes from now a session is kept."""

    minutes = forms.IntegerField(
        label=gettext_lazy("Minutes to keep the session from now"),
        initial=60,
        min_value=1,
        max_value=MAX_MINUTES,
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, label_suffix="", auto_id="ss-%s")
        errors = dict.fromkeys(("invalid", "required"), _RANGE % {"most": MAX_MINUTES})
        self.fields["minutes"].error_messages.update(errors)
        for validator in self.fields["minutes"].validators:
            validator.message = errors["invalid"]  # type: ignore[attr-defined]


def _explain_keep(targets: Sequence[OperationTarget]) -> Iterable[str]:
    if len(targets) == 1:
        until = targets[0].until
        if until > time.time():
            yield format_html(
                _("It is kept until {until} now. No time is shortened."),
                until=time_tag(until, "until"),
            )
        else:
            yield _("Now it is removed once everybody in it has been idle for long.")
    yield _(
        "The session, its code and its own state are kept for this long from now, "
        "even if it is empty, and with them everyone who has changed something, "
        "unless the session was created otherwise. Who only looked in is still "
        "removed when idle."
    )


def _keep(target: OperationTarget, inputs: OperationInputs) -> Effect:
    seconds = inputs.values["minutes"] * 60
    if stores.extend(target.key.session, seconds):
        return Effect(f"Kept until {_log_time(time.time() + seconds)}.")
    log = f"Already kept until {_log_time(target.until)}: nothing changed."
    return Effect(log, changed=False)


def _log_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _report_keep(done: Sequence[Done], inputs: OperationInputs) -> Iterable[Report]:
    kept = [target for target, effect in done if effect.changed]
    if kept:
        until = time.time() + inputs.values["minutes"] * 60
        text = ngettext(
            "{name} is kept until {until}.",
            "{count} sessions are kept until {until}.",
            len(kept),
        )
        yield Report(_timed(text, kept, until))
    later = [target for target, effect in done if not effect.changed]
    if later:
        until = min(target.until for target in later)
        text = ngettext(
            "Already kept until {until}: nothing changed.",
            "{count} sessions are already kept until {until} or later: nothing "
            "changed.",
            len(later),
        )
        yield Report(_timed(text, later, until), messages.INFO)


def _timed(text: str, targets: Sequence[OperationTarget], until: float) -> str:
    return format_html(
        text,
        name=targets[0].name,
        count=len(targets),
        until=time_tag(until, "until"),
    )


def _set_locked(target: OperationTarget, *, locked: bool) -> Effect:
    word = "locked" if locked else "unlocked"
    if target.locked == locked:
        return Effect(f"Already {word}: nothing changed.", changed=False)
    change = stores.lock if locked else stores.unlock
    change(target.key.session)
    return Effect(f"{word.capitalize()} the session.")


def _explain_disconnect(targets: Sequence[OperationTarget]) -> Iterable[str]:
    if any(each.tabs for each in targets):
        text = _("It concerns %(reached)s.")
        yield text % {"reached": reached_text(targets)}
    yield _(
        "Open tabs are disconnected, and say so. Nothing is lost: a reload connects "
        "them again."
    )


def disconnect(target: OperationTarget, inputs: OperationInputs) -> Effect:
    """Disconnect the tabs of a session or participant."""
    key = target.key
    stores.disconnect(key.session, None if key.is_session else key.participant)
    if not target.tabs:
        return Effect("No tab was open: nothing changed.", changed=False)
    return Effect(f"Disconnected {reached_log([target])}.{missed_log()}")


def report_disconnect(
    done: Sequence[Done], inputs: OperationInputs
) -> Iterable[Report]:
    """Say whom it concerned."""
    targets = [target for target, _effect in done]
    if any(each.tabs for each in targets) and (missed := missed_text()):
        yield Report(missed, messages.WARNING)
    elif any(each.tabs for each in targets):
        text = _("Disconnected %(reached)s.") % {"reached": reached_text(targets)}
        yield Report(text)
    else:
        yield Report(_("Nobody had a tab open: nothing changed."), messages.INFO)


def _end(target: OperationTarget, inputs: OperationInputs) -> Effect:
    stores.end_session(target.key.session)
    with override("en"):
        return Effect(f"Ended {target.name}.")


SESSION_OPERATIONS = (
    announcing("sessions"),
    Operation(
        "extend",
        gettext_lazy("Keep longer"),
        (
            gettext_lazy("Keep %(name)s longer?"),
            ngettext_lazy(
                "Keep %(count)s session longer?",
                "Keep %(count)s sessions longer?",
                "count",
            ),
        ),
        _explain_keep,
        _keep,
        _report_keep,
        form=lambda targets, data: KeepForm(data),
    ),
    Operation(
        "lock",
        gettext_lazy("Lock"),
        (
            gettext_lazy("Lock %(name)s?"),
            ngettext_lazy(
                "Lock %(count)s session?", "Lock %(count)s sessions?", "count"
            ),
        ),
        saying(gettext_lazy("Nobody new can join. People already in can carry on.")),
        lambda target, inputs: _set_locked(target, locked=True),
        Telling(
            gettext_lazy("Locked %(name)s. People already in can carry on."),
            ngettext_lazy(
                "Locked %(count)s session. People already in can carry on.",
                "Locked %(count)s sessions. People already in can carry on.",
                "count",
            ),
            (
                gettext_lazy("%(name)s was locked already: nothing changed."),
                ngettext_lazy(
                    "%(count)s session was locked already: nothing changed.",
                    "%(count)s sessions were locked already: nothing changed.",
                    "count",
                ),
            ),
        ).report,
    ),
    Operation(
        "unlock",
        gettext_lazy("Unlock"),
        (
            gettext_lazy("Unlock %(name)s?"),
            ngettext_lazy(
                "Unlock %(count)s session?", "Unlock %(count)s sessions?", "count"
            ),
        ),
        saying(gettext_lazy("People can join again.")),
        lambda target, inputs: _set_locked(target, locked=False),
        Telling(
            gettext_lazy("Unlocked %(name)s. People can join again."),
            ngettext_lazy(
                "Unlocked %(count)s session. People can join again.",
                "Unlocked %(count)s sessions. People can join again.",
                "count",
            ),
            (
                gettext_lazy("%(name)s was not locked: nothing changed."),
                ngettext_lazy(
                    "%(count)s session was not locked: nothing changed.",
                    "%(count)s sessions were not locked: nothing changed.",
                    "count",
                ),
            ),
        ).report,
    ),
    Operation(
        "disconnect",
        gettext_lazy("Disconnect everybody"),
        (
            gettext_lazy("Disconnect everybody in %(name)s?"),
            ngettext_lazy(
                "Disconnect everybody in %(count)s session?",
                "Disconnect everybody in %(count)s sessions?",
                "count",
            ),
        ),
        _explain_disconnect,
        disconnect,
        report_disconnect,
    ),
    Operation(
        "end",
        gettext_lazy("End session"),
        (
            gettext_lazy("End %(name)s?"),
            ngettext_lazy("End %(count)s session?", "End %(count)s sessions?", "count"),
        ),
        saying(
            gettext_lazy(
                "All states of the session are removed for good. Open tabs say that it "
                "is over, and nobody can join with its code again."
            )
        ),
        _end,
        Telling(
            gettext_lazy("Ended %(name)s."),
            ngettext_lazy(
                "Ended %(count)s session.", "Ended %(count)s sessions.", "count"
            ),
        ).report,
        destructive=True,
        flag=DELETION,
    ),
)
