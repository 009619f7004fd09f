"""Acting on sessions and participants: by POST, after a page that says what will be."""

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
from ..operations import RUN, Inputs, Operation, Target, deeds, find, names, runnable
from ..page import AdminPage

# Shown on the page that asks; the rest are counted.
MAX_SHOWN = 24
MAX_MINUTES = 60 * 24 * 366
MAX_TEXT = 2_000
# A sweep by hand ends before a web server's patience does.
SWEEP_SECONDS = 20.0
# Failures that are told one by one.
MAX_TOLD = 5


class Choice(NamedTuple):
    """An entry of the menu of actions."""

    name: str
    title: Any
    grave: bool = False
    own: bool = False


class Subject(NamedTuple):
    """Something that is acted on: its key, and what is known of it."""

    key: StoreKey
    title: str
    online: int
    participants: int
    bytes: int


def choices(target: Target) -> list[Choice]:
    """Return the menu for sessions, many at once, or for participants of one."""
    found = [Choice(deed.name, deed.title, grave=deed.grave) for deed in deeds(target)]
    return found + own_choices(target) if target == "participants" else found


def choices_of_session(*, locked: bool) -> list[Choice]:
    """Return the menu of one session: it can be locked or unlocked, not both."""
    useless = "lock" if locked else "unlock"
    found = [each for each in choices("sessions") if each.name != useless]
    return found + own_choices("sessions")


def own_choices(target: Target) -> list[Choice]:
    """Return what the site's own states offer."""
    return [Choice(deed.name, deed.title, own=True) for deed in runnable(target)]


def act_on_sessions(frame: AdminPage) -> HttpResponse:
    """Ask about, then do something to the sessions `chosen`."""
    return _act(frame, "sessions", frame.url("changelist"), None)


def act_on_session(frame: AdminPage, code: str) -> HttpResponse:
    """Ask about, then do something to one session."""
    return _act(frame, "sessions", frame.url("session", code), code)


def act_on_participants(frame: AdminPage, code: str) -> HttpResponse:
    """Ask about, then do something to the participants `chosen` of a session."""
    return _act(frame, "participants", frame.url("session", code), code)


def _act(frame: AdminPage, target: Target, back: str, code: str | None) -> HttpResponse:
    post = frame.request.POST
    deed = find(post.get("action", ""), target)
    keys = _chosen(post.getlist("chosen"), target, code)
    if deed is None or not keys:
        text = _("Choose an action first.") if deed is None else ""
        messages.warning(
            frame.request, text or _("Nothing was chosen: tick some rows.")
        )
        return HttpResponseRedirect(back)
    subjects = _subjects(target, keys)
    if not subjects:
        messages.warning(frame.request, _("What was chosen is gone already."))
        return HttpResponseRedirect(frame.url("changelist") if code is None else back)
    inputs, complaint = _inputs(frame, deed)
    if "confirm" not in post or complaint:
        return _confirm(frame, deed, subjects, back, len(keys), inputs, complaint)
    _perform(frame, deed, subjects, inputs)
    if deed.name == "end":
        back = frame.url("changelist")
    elif post.get("single") and deed.name != "remove":
        back = frame.url("participant", *subjects[0].key)
    return HttpResponseRedirect(back)


def _chosen(given: Sequence[str], target: Target, code: str | None) -> list[StoreKey]:
    """Return the keys that were chosen; what is none was not offered, so it goes."""
    if target == "sessions":
        given = [code] if code is not None else given
    keys = []
    for text in dict.fromkeys(given):
        try:
            if target == "sessions":
                keys.append(StoreKey.of_session(text))
            else:
                key = StoreKey(code or "", text)
                if not key.is_session:
                    keys.append(key)
        except InvalidKey:
            continue
    return keys


def _subjects(target: Target, keys: Sequence[StoreKey]) -> list[Subject]:
    """Return those of `keys` that exist, with what the question says of them."""
    backend = get_backend(blocking=True)
    if target == "sessions":
        wanted = {key.session: key for key in keys}
        return [
            Subject(
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
        Subject(wanted[each.id], "", int(each.connections > 0), 1, each.bytes)
        for each in run(backend.participants(keys[0].session))
        if each.id in wanted
    ]


def _inputs(frame: AdminPage, deed: Operation) -> tuple[Inputs, str]:
    post = frame.request.POST
    announcement = frame.announcement
    if deed.field == "minutes" and "minutes" in post:
        given = post["minutes"].strip()
        minutes = int(given) if given.isdecimal() and len(given) < 9 else 0
        if not 0 < minutes <= MAX_MINUTES:
            text = _("%(given)s is no number of minutes from 1 to %(most)s.")
            shown = {"given": f"“{given[:20]}”", "most": MAX_MINUTES}
            return Inputs(announcement=announcement), text % shown
        return Inputs(minutes=minutes, announcement=announcement), ""
    if deed.field == "text" and "text" in post:
        text = post["text"].strip()
        complaint = ""
        if not text:
            complaint = _("Write a message first.")
        elif len(text) > MAX_TEXT:
            complaint = _("A message has at most %(most)s characters.") % {
                "most": MAX_TEXT
            }
        return Inputs(text=text[:MAX_TEXT], announcement=announcement), complaint
    # Before it was asked for.
    complete = not deed.field
    return Inputs(announcement=announcement), "" if complete else _ask(deed)


def _ask(deed: Operation) -> str:
    return _("How many minutes?") if deed.field == "minutes" else _("Which words?")


def _confirm(
    frame: AdminPage,
    deed: Operation,
    subjects: list[Subject],
    back: str,
    wanted: int,
    inputs: Inputs,
    complaint: str,
) -> HttpResponse:
    count = len(subjects)
    online = sum(each.online for each in subjects)
    people = sum(each.participants for each in subjects)
    first = subjects[0].key
    is_sessions = first.is_session
    # The session that it is about, or in which; "" if there are several.
    code = first.session if count == 1 or not is_sessions else ""
    return frame.render(
        "confirm",
        title=_question(deed, subjects),
        code=code,
        session_url=frame.url("session", code) if code else "",
        deed=deed,
        subjects=subjects[:MAX_SHOWN],
        all_subjects=subjects,
        more=max(count - MAX_SHOWN, 0),
        gone=wanted - count,
        people=ngettext("%(count)s participant", "%(count)s participants", people)
        % {"count": number_text(people)},
        online=_("%(count)s online") % {"count": number_text(online)},
        bytes=size_text(sum(each.bytes for each in subjects)),
        is_sessions=is_sessions,
        inputs=inputs,
        complaint=complaint if "confirm" in frame.request.POST else "",
        post_to=frame.request.path,
        single=frame.request.POST.get("single", ""),
        back=back,
    )


def _question(deed: Operation, subjects: Sequence[Subject]) -> str:
    """Return what is asked: by name if it is about one, else with their number."""
    if len(subjects) > 1:
        named = {"count": len(subjects), "name": deed.title}
        return str(deed.question % named)
    key = subjects[0].key
    title = deed.title
    if deed.name.startswith(RUN):
        title = _("Run %(name)s") % {"name": title}
    what = key.session if key.is_session else key.participant
    return _("%(deed)s: %(what)s?") % {"deed": title, "what": what}


def _perform(
    frame: AdminPage, deed: Operation, subjects: Sequence[Subject], inputs: Inputs
) -> None:
    done, failures = [], []
    for each in subjects:
        try:
            if deed.run(each.key, inputs):
                done.append(each.key)
        except SessionStoresError as error:
            failures.append(_failure(each.key, error))
    said = deed.log % {"minutes": inputs.minutes, "text": inputs.text}
    log(frame.user_id, names(done), said, deed.flag)
    if done:
        named = {"count": len(done), "name": deed.title}
        messages.success(frame.request, str(deed.done % named))
    missing = len(subjects) - len(done) - len(failures)
    if missing:
        text = ngettext(
            "%(count)s was gone already.", "%(count)s were gone already.", missing
        )
        messages.info(frame.request, text % {"count": missing})
    for failure in failures[:MAX_TOLD]:
        messages.error(frame.request, failure)
    if len(failures) > MAX_TOLD:
        more = len(failures) - MAX_TOLD
        text = ngettext("%(count)s more failed.", "%(count)s more failed.", more)
        messages.error(frame.request, text % {"count": more})


def _failure(key: StoreKey, error: SessionStoresError) -> str:
    """Say why something was not done; what the site's own code says stays as it is."""
    named = {"name": names([key])[0]}
    if isinstance(error, UnknownSession):
        return _("There is no session %(name)s.") % named
    if isinstance(error, SessionEnded):
        return _("%(name)s: the session is over.") % named
    if isinstance(error, StoreUnavailable):
        return _("%(name)s: the cache does not answer.") % named
    if isinstance(error, Conflict):
        return _("%(name)s: others were faster again and again.") % named
    if isinstance(error, StateTooLarge):
        return _("%(name)s: its data would be too large.") % named
    return str(error)


def sweep_now(frame: AdminPage) -> HttpResponse:
    """Ask about, then make a pass of the sweeper in this process."""
    back = frame.url("changelist")
    if "confirm" not in frame.request.POST:
        would = stores.sweep(dry_run=True, max_seconds=SWEEP_SECONDS)
        return frame.render(
            "sweep",
            title=_("Sweep now?"),
            would=would,
            post_to=frame.request.path,
            back=back,
        )
    swept = stores.sweep(max_seconds=SWEEP_SECONDS)
    log(frame.user_id, [SITE], f"Swept: {swept.participants} participants removed.")
    signals.logger.info("Swept from the admin: %s", swept)
    counts = {
        "participants": number_text(swept.participants),
        "sessions": number_text(swept.sessions),
        "bytes": size_text(swept.bytes),
    }
    messages.success(
        frame.request,
        _(
            "Swept: %(participants)s participants and %(sessions)s sessions removed, "
            "%(bytes)s freed."
        )
        % counts,
    )
    if not swept.finished:
        messages.warning(
            frame.request, _("There was no time for all of it: sweep again.")
        )
    return HttpResponseRedirect(back)
