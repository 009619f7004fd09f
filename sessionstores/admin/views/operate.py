"""Operations on sessions and participants: by POST, after a page that confirms them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import signals
from ...backends import get_backend
from ...backends.base import run
from ...exceptions import (
    Conflict,
    InvalidKey,
    SessionEnded,
    SessionStoresError,
    StateTooLarge,
    StoreUnavailable,
    UnknownSession,
)
from ...humanize import number_text, size_text
from ...keys import StoreKey
from ...manager import stores
from ...monitoring.summaries import read_summaries
from ..audit import SITE, log
from ..operations import (
    RUN,
    Operation,
    OperationInputs,
    TargetKind,
    find_operation,
    log_name,
    standard_operations,
    state_operations,
)
from ..page import AdminPage

# Records that the confirmation page lists; the rest are counted.
MAX_SHOWN = 24
MAX_MINUTES = 60 * 24 * 366
MAX_TEXT = 2_000
# A sweep by hand ends before the usual timeouts of web servers.
SWEEP_SECONDS = 20.0
# Failures with a message each; the rest are counted.
MAX_FAILURES = 5


class MenuEntry(NamedTuple):
    """An entry of a menu of operations; `own`: an action of a state of the site."""

    name: str
    title: Any
    destructive: bool = False
    own: bool = False


class AffectedRecord(NamedTuple):
    """A session or participant that an operation affects."""

    key: StoreKey
    title: str
    online: int
    participants: int
    bytes: int


def menu(target: TargetKind) -> list[MenuEntry]:
    """Return the menu for ticked sessions, or for ticked participants."""
    found = [
        MenuEntry(each.name, each.title, destructive=each.destructive)
        for each in standard_operations(target)
        if not each.of_kicked
    ]
    return found + state_menu(target) if target == "participants" else found


def session_menu(*, locked: bool) -> list[MenuEntry]:
    """Return the menu of one session, which can be locked or unlocked, not both."""
    pointless = "lock" if locked else "unlock"
    found = [each for each in menu("sessions") if each.name != pointless]
    return found + state_menu("sessions")


def state_menu(target: TargetKind) -> list[MenuEntry]:
    """Return the actions of the site's states."""
    return [
        MenuEntry(each.name, each.title, own=True) for each in state_operations(target)
    ]


def act_on_sessions(page: AdminPage) -> HttpResponse:
    """Confirm, then run an operation on the sessions `chosen`."""
    return _act(page, "sessions", page.url("changelist"), None)


def act_on_session(page: AdminPage, code: str) -> HttpResponse:
    """Confirm, then run an operation on one session."""
    return _act(page, "sessions", page.url("session", code), code)


def act_on_participants(page: AdminPage, code: str) -> HttpResponse:
    """Confirm, then run an operation on the participants `chosen` of a session."""
    return _act(page, "participants", page.url("session", code), code)


def _act(
    page: AdminPage, target: TargetKind, back: str, code: str | None
) -> HttpResponse:
    post = page.request.POST
    operation = find_operation(post.get("action", ""), target)
    keys = _chosen(post.getlist("chosen"), target, code)
    if operation is None or not keys:
        text = _("Choose an action first.") if operation is None else ""
        messages.warning(page.request, text or _("Nothing was chosen. Tick some rows."))
        return HttpResponseRedirect(back)
    records = _kept_out(keys) if operation.of_kicked else _affected(target, keys)
    if not records:
        messages.warning(page.request, _("What was chosen was removed meanwhile."))
        return HttpResponseRedirect(page.url("changelist") if code is None else back)
    inputs, complaint = _inputs(page, operation)
    if "confirm" not in post or complaint:
        return _confirm(page, operation, records, back, len(keys), inputs, complaint)
    _perform(page, operation, records, inputs)
    if operation.name == "end":
        back = page.url("changelist")
    elif post.get("single") and operation.name not in ("remove", "kick"):
        back = page.url("participant", *records[0].key)
    return HttpResponseRedirect(back)


def _chosen(
    given: Sequence[str], target: TargetKind, code: str | None
) -> list[StoreKey]:
    """Return the keys that were chosen; invalid ones are ignored."""
    if target == "sessions":
        given = [code] if code is not None else given
    keys = []
    for text in dict.fromkeys(given):
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


def _affected(target: TargetKind, keys: Sequence[StoreKey]) -> list[AffectedRecord]:
    """Return those of `keys` that exist, with what the confirmation page shows."""
    backend = get_backend(blocking=True)
    if target == "sessions":
        wanted = {key.session: key for key in keys}
        return [
            AffectedRecord(
                wanted[each.code],
                each.label,
                each.online,
                each.participants,
                each.bytes,
            )
            for each in run(read_summaries(backend)).lines
            if each.code in wanted
        ]
    wanted = {key.participant: key for key in keys}
    return [
        AffectedRecord(wanted[each.id], "", int(each.connections > 0), 1, each.bytes)
        for each in run(backend.participants(keys[0].session))
        if each.id in wanted
    ]


def _kept_out(keys: Sequence[StoreKey]) -> list[AffectedRecord]:
    """Return those of `keys` whom their session keeps out."""
    kicked = run(get_backend(blocking=True).kicked(keys[0].session))
    return [
        AffectedRecord(key, "", 0, 1, 0) for key in keys if key.participant in kicked
    ]


def _inputs(page: AdminPage, operation: Operation) -> tuple[OperationInputs, str]:
    post = page.request.POST
    announcement = page.announcement
    if operation.field == "minutes" and "minutes" in post:
        given = post["minutes"].strip()
        minutes = int(given) if given.isdecimal() and len(given) < 9 else 0
        if not 0 < minutes <= MAX_MINUTES:
            text = _("%(given)s is not a number of minutes from 1 to %(most)s.")
            shown = {"given": f"“{given[:20]}”", "most": MAX_MINUTES}
            return OperationInputs(announcement=announcement), text % shown
        return OperationInputs(minutes=minutes, announcement=announcement), ""
    if operation.field == "text" and "text" in post:
        text = post["text"].strip()
        complaint = ""
        if not text:
            complaint = _("Write a message first.")
        elif len(text) > MAX_TEXT:
            complaint = _("A message has at most %(most)s characters.") % {
                "most": MAX_TEXT
            }
        return OperationInputs(
            text=text[:MAX_TEXT], announcement=announcement
        ), complaint
    # The form was not shown yet.
    complaint = _ask(operation) if operation.field else ""
    return OperationInputs(announcement=announcement), complaint


def _ask(operation: Operation) -> str:
    return _("How many minutes?") if operation.field == "minutes" else _("Which text?")


def _confirm(
    page: AdminPage,
    operation: Operation,
    records: list[AffectedRecord],
    back: str,
    chosen: int,
    inputs: OperationInputs,
    complaint: str,
) -> HttpResponse:
    count = len(records)
    online = sum(each.online for each in records)
    people = sum(each.participants for each in records)
    first = records[0].key
    is_sessions = first.is_session
    # The session itself or that of the participants; "" for several sessions.
    code = first.session if count == 1 or not is_sessions else ""
    return page.render(
        "confirm",
        title=_question(operation, records),
        code=code,
        session_url=page.url("session", code) if code else "",
        operation=operation,
        records=records[:MAX_SHOWN],
        all_records=records,
        more=max(count - MAX_SHOWN, 0),
        removed=chosen - count,
        people=ngettext("%(count)s participant", "%(count)s participants", people)
        % {"count": number_text(people)},
        online=_("%(count)s online") % {"count": number_text(online)},
        bytes=size_text(sum(each.bytes for each in records)),
        is_sessions=is_sessions,
        inputs=inputs,
        complaint=complaint if "confirm" in page.request.POST else "",
        post_to=page.request.path,
        single=page.request.POST.get("single", ""),
        back=back,
    )


def _question(operation: Operation, records: Sequence[AffectedRecord]) -> str:
    """Return the question to confirm: with the name of a single record, or a count."""
    if len(records) > 1:
        named = {"count": len(records), "name": operation.title}
        return str(operation.question % named)
    key = records[0].key
    title = operation.title
    if operation.name.startswith(RUN):
        title = _("Run %(name)s") % {"name": title}
    name = key.session if key.is_session else key.participant
    return _("%(operation)s: %(name)s?") % {"operation": title, "name": name}


def _perform(
    page: AdminPage,
    operation: Operation,
    records: Sequence[AffectedRecord],
    inputs: OperationInputs,
) -> None:
    done, failures = [], []
    for each in records:
        try:
            if operation.run(each.key, inputs):
                done.append(each.key)
        except SessionStoresError as error:
            failures.append(_failure(each.key, error))
    text = operation.log % {"minutes": inputs.minutes, "text": inputs.text}
    log(page.user_id, map(log_name, done), text, operation.flag)
    if done:
        named = {"count": len(done), "name": operation.title}
        messages.success(page.request, str(operation.done % named))
    missing = len(records) - len(done) - len(failures)
    if missing:
        text = ngettext(
            "%(count)s was removed meanwhile.",
            "%(count)s were removed meanwhile.",
            missing,
        )
        messages.info(page.request, text % {"count": missing})
    for failure in failures[:MAX_FAILURES]:
        messages.error(page.request, failure)
    if len(failures) > MAX_FAILURES:
        more = len(failures) - MAX_FAILURES
        text = ngettext("%(count)s more failed.", "%(count)s more failed.", more)
        messages.error(page.request, text % {"count": more})


def _failure(key: StoreKey, error: SessionStoresError) -> str:
    """Return why an operation failed; errors of the site's own code are kept."""
    named = {"name": log_name(key)}
    if isinstance(error, UnknownSession):
        return _("There is no session %(name)s.") % named
    if isinstance(error, SessionEnded):
        return _("%(name)s: the session is over.") % named
    if isinstance(error, StoreUnavailable):
        if error.refused:
            return _("%(name)s: the cache refused this.") % named
        return _("%(name)s: the cache does not answer.") % named
    if isinstance(error, Conflict):
        return (
            _("%(name)s: it was changed by others at the same time, again and again.")
            % named
        )
    if isinstance(error, StateTooLarge):
        return _("%(name)s: its data would be too large.") % named
    return str(error)


def sweep_now(page: AdminPage) -> HttpResponse:
    """Confirm, then sweep once in this process."""
    back = page.url("changelist")
    if "confirm" not in page.request.POST:
        preview = stores.sweep(dry_run=True, max_seconds=SWEEP_SECONDS)
        return page.render(
            "sweep",
            title=_("Sweep now?"),
            preview=preview,
            post_to=page.request.path,
            back=back,
        )
    swept = stores.sweep(max_seconds=SWEEP_SECONDS)
    log(page.user_id, [SITE], f"Swept: {swept.participants} participants removed.")
    signals.logger.info("Swept from the admin: %s", swept)
    counts = {
        "participants": number_text(swept.participants),
        "sessions": number_text(swept.sessions),
        "bytes": size_text(swept.bytes),
    }
    messages.success(
        page.request,
        _(
            "Swept: %(participants)s participants and %(sessions)s sessions removed, "
            "%(bytes)s freed."
        )
        % counts,
    )
    if not swept.finished:
        messages.warning(
            page.request, _("There was not enough time for all sessions: sweep again.")
        )
    return HttpResponseRedirect(back)
