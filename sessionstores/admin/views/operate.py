"""Operations on sessions and participants: by POST, after a page that confirms them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django import forms
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, override

from ...action_forms.form import ActionForm
from ...exceptions import (
    ActionRejected,
    Conflict,
    InvalidKey,
    SessionEnded,
    SessionStoresError,
    StateTooLarge,
    StoreUnavailable,
    UnknownSession,
)
from ...humanize import number_text
from ...keys import StoreKey
from ..audit import log
from ..menus import EVERYBODY, SLOWEST, find_operation
from ..operations import (
    Done,
    Operation,
    OperationInputs,
    TargetKind,
    log_name,
)
from ..page import AdminPage
from ..state_operations import RUN, slowest
from ..targets import (
    OperationTarget,
    kicked_targets,
    names_text,
    participant_targets,
    session_targets,
)

# Targets that the confirmation page lists; the rest are counted.
MAX_SHOWN = 24
# Failures with a message each; the rest are counted.
MAX_FAILURES = 5


class Choice(NamedTuple):
    """What was chosen: an operation, its targets that exist, and what else to say.

    `chosen` is how many were asked for. `note` says whom a choice like "the slowest"
    means.
    """

    operation: Operation
    targets: list[OperationTarget]
    chosen: int
    post_to: str
    back: str
    note: str = ""


def act_on_sessions(page: AdminPage) -> HttpResponse:
    """Confirm, then run an operation on the sessions `chosen`."""
    return _act(page, "sessions", page.url("changelist"), None)


def act_on_session(page: AdminPage, code: str) -> HttpResponse:
    """Confirm, then run an operation on one session, or on everybody in it."""
    back = page.url("session", code)
    name = page.request.POST.get("action", "")
    for whose in (EVERYBODY, SLOWEST):
        if name.startswith(whose):
            return _act_on_group(page, code, whose, name.removeprefix(whose), back)
    return _act(page, "sessions", back, code)


def act_on_participants(page: AdminPage, code: str) -> HttpResponse:
    """Confirm, then run an operation on the participants `chosen` of a session.

    A button of a single row has both in `one`: the operation, a space, the id.
    """
    return _act(page, "participants", page.url("session", code), code)


def _act(
    page: AdminPage, target: TargetKind, back: str, code: str | None
) -> HttpResponse:
    post = page.request.POST
    name, given = post.get("action", ""), post.getlist("chosen")
    if target == "participants" and "one" in post:
        name, _space, id = post["one"].partition(" ")
        given = [id]
    operation = find_operation(name, target)
    keys = _chosen(given, target, code)
    if operation is None or not keys:
        text = _("Choose an action first.") if operation is None else ""
        messages.warning(page.request, text or _("Nothing was chosen. Tick some rows."))
        return HttpResponseRedirect(back)
    targets = _targets(operation, target, keys)
    if not targets:
        messages.warning(page.request, _("What was chosen was removed meanwhile."))
        return HttpResponseRedirect(page.url("changelist") if code is None else back)
    if operation.single and len(targets) > 1:
        messages.warning(page.request, _("Choose one participant for this."))
        return HttpResponseRedirect(back)
    choice = Choice(operation, targets, len(keys), page.request.path, back)
    return _confirm_or_run(page, choice)


def _act_on_group(
    page: AdminPage, code: str, whose: str, name: str, back: str
) -> HttpResponse:
    """Confirm an action of participants for everybody, or for the slowest of them."""
    operation = find_operation(f"{RUN}{name}", "participants")
    if operation is None:
        messages.warning(page.request, _("Choose an action first."))
        return HttpResponseRedirect(back)
    if whose == EVERYBODY:
        targets, note = participant_targets(code), _("For everybody in the session.")
    else:
        step, targets = slowest(code, texts=page.rights.state)
        note = _("For those at the lowest step.")
        if page.rights.state:
            note = _("For those at the lowest step, %(step)s.") % {"step": step}
    if not targets:
        text = _("Nobody has joined yet.") if whose == EVERYBODY else ""
        messages.warning(page.request, text or _("Nobody here is at a step."))
        return HttpResponseRedirect(back)
    # From here on it is as if they had been ticked.
    post_to = page.url("participants_act", code)
    choice = Choice(operation, targets, len(targets), post_to, back, note)
    return _confirm(page, choice, _unbound(operation, targets))


def _confirm_or_run(page: AdminPage, choice: Choice) -> HttpResponse:
    operation, targets, post = choice.operation, choice.targets, page.request.POST
    if "confirm" not in post:
        return _confirm(page, choice, _unbound(operation, targets))
    form = operation.form(targets, post) if operation.form else None
    if form is not None and not form.is_valid():
        return _confirm(page, choice, form)
    inputs = OperationInputs(_values(form), page.announcement, page.rights.state)
    _perform(page, operation, targets, inputs)
    back = choice.back
    if operation.name == "end":
        back = page.url("changelist")
    elif post.get("single") and operation.name not in ("remove", "kick"):
        back = page.url("participant", *targets[0].key)
    return HttpResponseRedirect(back)


def _unbound(
    operation: Operation, targets: Sequence[OperationTarget]
) -> forms.Form | None:
    return operation.form(targets, None) if operation.form else None


def _values(form: forms.Form | None) -> dict[str, object]:
    if isinstance(form, ActionForm):
        return form.decoded
    return form.cleaned_data if form is not None else {}


def _chosen(
    given: Sequence[str], target: TargetKind, code: str | None
) -> list[StoreKey]:
    """Return the keys that were chosen; invalid ones are ignored.

    One value may name several, between spaces: forms have a limit of fields.
    """
    if target == "sessions":
        given = [code] if code is not None else given
    keys = []
    for text in dict.fromkeys(" ".join(given).split()):
        try:
            if target == "sessions":
                keys.append(StoreKey.of_session(text))
            else:
                key = StoreKey.stored(code or "", text)
                if not key.is_session:
                    keys.append(key)
        except InvalidKey:
            continue
    return keys


def _targets(
    operation: Operation, target: TargetKind, keys: Sequence[StoreKey]
) -> list[OperationTarget]:
    """Return those of `keys` that exist."""
    if target == "sessions":
        return session_targets(keys)
    code, ids = keys[0].session, [key.participant for key in keys]
    if operation.of_kicked:
        return kicked_targets(code, ids)
    return participant_targets(code, ids)


def _confirm(page: AdminPage, choice: Choice, form: forms.Form | None) -> HttpResponse:
    operation, targets = choice.operation, choice.targets
    first = targets[0].key
    is_sessions = first.is_session
    people = sum(each.participants for each in targets)
    online = sum(each.online for each in targets)
    # The session itself or that of the participants; "" for several sessions.
    code = first.session if len(targets) == 1 or not is_sessions else ""
    if form is not None:
        _focus(form)
    return page.render(
        "confirm",
        title=operation.question(targets),
        code=code,
        session_url=page.url("session", code) if code else "",
        operation=operation,
        explanations=operation.explain(targets),
        note=choice.note,
        form=form,
        suggestions=getattr(form, "suggestions", ()),
        targets=targets[:MAX_SHOWN],
        chosen=" ".join(each.id for each in targets),
        more=max(len(targets) - MAX_SHOWN, 0),
        removed=choice.chosen - len(targets),
        people=ngettext("%(count)s participant", "%(count)s participants", people)
        % {"count": number_text(people)},
        online=_("%(count)s online") % {"count": number_text(online)},
        is_sessions=is_sessions,
        post_to=choice.post_to,
        single=page.request.POST.get("single", ""),
        back=choice.back,
    )


def _focus(form: forms.Form) -> None:
    """Put the focus on the first field that has an error, else on the first one."""
    names = [field.name for field in form.visible_fields()]
    wrong = [name for name in names if name in form.errors]
    for name in (wrong or names)[:1]:
        form.fields[name].widget.attrs["autofocus"] = True


def _perform(
    page: AdminPage,
    operation: Operation,
    targets: Sequence[OperationTarget],
    inputs: OperationInputs,
) -> None:
    done: list[Done] = []
    failures: dict[str, list[str]] = {}
    unknown: list[str] = []
    missing = 0
    for each in targets:
        try:
            effect = operation.run(each, inputs)
        except SessionStoresError as error:
            failures.setdefault(_reason(error), []).append(each.name)
            if _may_be_done(error):
                unknown.append(log_name(each.key))
            continue
        if effect is None:
            missing += 1
        else:
            done.append((each, effect))
    _log(page, operation, done)
    _log_unknown(page, operation, unknown)
    if done:
        for report in operation.report(done, inputs):
            messages.add_message(page.request, report.level, report.text)
    if missing:
        text = ngettext(
            "%(count)s was removed meanwhile.",
            "%(count)s were removed meanwhile.",
            missing,
        )
        messages.info(page.request, text % {"count": missing})
    _report_failures(page, failures)


def _log(page: AdminPage, operation: Operation, done: Sequence[Done]) -> None:
    """Log each target with what became of it."""
    names: dict[str, list[str]] = {}
    for target, effect in done:
        names.setdefault(effect.log, []).append(log_name(target.key))
    for text, several in names.items():
        log(page.user_id, several, text, operation.flag)


def _log_unknown(page: AdminPage, operation: Operation, names: list[str]) -> None:
    """Log those of whom it is not known what became of them."""
    if not names:
        return
    with override("en"):
        what = operation.name.removeprefix(RUN) if operation.own else operation.title
        text = f"{what}: not known whether it was done, as the cache did not answer."
    log(page.user_id, names, text, operation.flag)


def _report_failures(page: AdminPage, failures: dict[str, list[str]]) -> None:
    """Say why an operation failed, once for each reason, and for whom."""
    shown = list(failures.items())
    for reason, names in shown[:MAX_FAILURES]:
        named = {"who": names_text(names), "reason": reason}
        messages.error(page.request, _("%(who)s: %(reason)s") % named)
    more = sum(len(names) for _reason, names in shown[MAX_FAILURES:])
    if more:
        text = ngettext("%(count)s more failed.", "%(count)s more failed.", more)
        messages.error(page.request, text % {"count": more})


def _reason(error: SessionStoresError) -> str:
    """Return why an operation failed; what the site's own code says is kept."""
    if isinstance(error, UnknownSession):
        return _("There is no such session any more.")
    if isinstance(error, SessionEnded):
        return _("The session is over.")
    if isinstance(error, StoreUnavailable):
        if _may_be_done(error):
            return _(
                "The cache does not answer. It is not known whether this was done."
            )
        return _("The cache refused this.")
    if isinstance(error, Conflict):
        return _("It was changed by others at the same time, again and again.")
    if isinstance(error, StateTooLarge):
        return _("Its data would be too large.")
    return error.message if isinstance(error, ActionRejected) else str(error)


def _may_be_done(error: SessionStoresError) -> bool:
    return isinstance(error, StoreUnavailable) and not error.refused
