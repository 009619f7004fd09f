"""The edit page of a state: by field or as JSON, validated, compare-and-set, logged."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ... import event_bus
from ...backends import get_backend
from ...backends.base import run
from ...exceptions import (
    Conflict,
    InsideTransaction,
    SessionStoresError,
    StateTooLarge,
    StoreUnavailable,
    UnknownState,
)
from ...humanize import number_text
from ...keys import StoreKey
from ...manager import stores
from ...state.declaration import State, get_state
from ..audit import log, log_view
from ..drafts import Begun, Draft, reason_of
from ..edited_state import (
    InvalidEdit,
    StoredState,
    changed_fields,
    read_stored,
    written_state,
)
from ..operations import log_name
from ..page import AdminPage
from ..three_way_merge import Merged, merge_states
from .edit_pages import CHOICE, REST, conflict_page, form_page
from .session import missing_page

# Fields that the log names.
MAX_NAMED = 8


def edit(page: AdminPage, code: str, id: str, name: str) -> HttpResponse:
    """Show a state by field or as JSON, and store what is sent back.

    Only if the record is still at the rev that the form is based on; otherwise show
    what each side has changed.
    """
    key = StoreKey(code, id)
    cls = _declared(name)
    if page.request.method != "POST":
        return _begin(page, key, cls)
    what = page.request.POST.get("do", "save")
    if what in {"fields", "json"}:
        return _switch(page, key, cls, what)
    return _save(page, key, cls, what)


def _begin(page: AdminPage, key: StoreKey, cls: type[State]) -> HttpResponse:
    stored = read_stored(key, cls)
    if stored is None:
        return _missing(page, key)
    log_view(page.user_id, log_name(key), refresh=False)
    draft = Draft.showing(cls, stored.visible, page.request.GET.get("as"))
    return form_page(page, key, cls, draft, Begun.stored(stored))


def _switch(page: AdminPage, key: StoreKey, cls: type[State], to: str) -> HttpResponse:
    """Show what was typed in the other form; if it cannot be shown so, as it was."""
    draft, begun = Draft.sent(cls, page.request), Begun.sent(page.request)
    try:
        draft, complaint = Draft.showing(cls, draft.data(strict=False), to), ""
    except InvalidEdit as error:
        complaint = str(error)
    return form_page(page, key, cls, draft, begun, complaint)


def _save(page: AdminPage, key: StoreKey, cls: type[State], what: str) -> HttpResponse:
    draft, begun = Draft.sent(cls, page.request), Begun.sent(page.request)
    try:
        stored = read_stored(key, cls)
    except (StoreUnavailable, InsideTransaction):
        # The error's text is about writes as well; none was begun here.
        complaint = _("The cache does not answer, so nothing was saved. Save it again.")
        return form_page(page, key, cls, draft, begun, complaint)
    if stored is None:
        return _missing(page, key)
    try:
        written = draft.data()
        if begun.rev != stored.rev:
            return _settle(page, stored, begun, written, what)
        state = written_state(stored, written, left_out=begun.left_out)
        return _store(page, stored, state)
    except Conflict:
        return _save(page, key, cls, what)
    except (InvalidEdit, SessionStoresError, RecursionError) as error:
        complaint = draft.refuse(error)
        begun = begun._replace(left_out=begun.left_out or stored.left_out)
        return form_page(page, key, cls, draft, begun, complaint)


def _settle(
    page: AdminPage,
    stored: StoredState,
    begun: Begun,
    mine: dict[str, Any],
    what: str,
) -> HttpResponse:
    """Store `mine` with what others have changed since, once all is decided.

    Until then, and whenever the state has changed again, show what each has changed.
    """
    post = page.request.POST
    choices = {
        name.removeprefix(CHOICE): str(side)
        for name, side in post.items()
        if name.startswith(CHOICE)
    }
    hidden = (*stored.left_out, *begun.left_out)
    merged = _merged(stored, begun, mine, hidden, choices)
    if rest := post.get(REST):
        choices = dict.fromkeys(merged.undecided, rest) | choices
        merged = _merged(stored, begun, mine, hidden, choices)
    has_seen = post.get("seen") == stored.rev
    complaint = ""
    if has_seen and merged.undecided:
        complaint = _("Choose which to keep wherever both of you made changes.")
    elif has_seen:
        try:
            state = written_state(
                stored, merged.data, stale=True, left_out=begun.left_out
            )
            if what != "revise":
                return _store(page, stored, state)
            draft = Draft.showing(stored.cls, merged.data, post.get("mode"))
            return form_page(page, stored.key, stored.cls, draft, Begun.stored(stored))
        except (InvalidEdit, StoreUnavailable, StateTooLarge) as error:
            complaint = reason_of(error)
    elif "seen" in post:
        complaint = _("The state has changed again. Please check once more.")
    return conflict_page(page, stored, begun, mine, merged, choices, complaint)


def _merged(
    stored: StoredState,
    begun: Begun,
    mine: dict[str, Any],
    hidden: tuple[str, ...],
    choices: dict[str, str],
) -> Merged:
    return merge_states(
        stored.cls, begun.shown, stored.visible, mine, hidden=hidden, choices=choices
    )


def _store(page: AdminPage, stored: StoredState, state: State) -> HttpResponse:
    """Store a state over what is stored, say what changed, and go back to the record.

    Raises `Conflict` if that is no longer stored.
    """
    key, cls, name = stored.key, stored.cls, stored.cls.__sessionstores__.name
    store = stores.get(cls, key.session, None if key.is_session else key.participant)
    rev = store.replace(state, base=stored.rev)
    if rev == stored.rev:
        messages.info(page.request, _("Nothing was different, so nothing changed."))
    else:
        changed = _listed(changed_fields(stored, state))
        text = f"Edited the state {name}: {changed} ({stored.rev} to {rev})."
        log(page.user_id, [log_name(key)], text)
        event_bus.bus.publish(event_bus.Note(key, "edited", name))
        said = _("Saved: %(fields)s.") % {"fields": changed}
        messages.success(page.request, f"{said} {_shown_in(stored)}".strip())
    return HttpResponseRedirect(page.url("participant", *key))


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join([*names[:MAX_NAMED], *([f"+{more}"] if more > 0 else ())])


def _shown_in(stored: StoredState) -> str:
    """Return in how many tabs a save is seen; "" if the cache does not say."""
    key = stored.key
    try:
        leases = run(get_backend(blocking=True).connections(key))
    except StoreUnavailable:
        return ""
    tabs = sum(not lease.leaving for lease in leases)
    if key.is_session:
        if not tabs:
            return _("Nobody has a tab open now.")
        said = ngettext(
            "%(count)s open tab shows it now.", "%(count)s open tabs show it now.", tabs
        )
        return said % {"count": number_text(tabs)}
    who = stored.record.profile.name or key.participant
    if not tabs:
        return _("%(name)s has no tab open now.") % {"name": who}
    said = ngettext(
        "%(name)s’s tab shows it now.", "%(name)s’s %(count)s tabs show it now.", tabs
    )
    return said % {"name": who, "count": number_text(tabs)}


def _declared(name: str) -> type[State]:
    try:
        return get_state(name)
    except UnknownState as error:
        raise Http404(str(error)) from None


def _missing(page: AdminPage, key: StoreKey) -> HttpResponse:
    backend = get_backend(blocking=True)
    return missing_page(page, backend, key.session, str(key))
