"""Editing a state by hand: validated, compared, audited, and shown at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from ... import conf, event_bus
from ...backends import get_backend
from ...backends.base import run
from ...backends.types import Record
from ...exceptions import (
    Conflict,
    InsideTransaction,
    SessionStoresError,
    StateCorrupt,
    StateTooLarge,
    StoreUnavailable,
    UnknownState,
)
from ...humanize import size_text
from ...keys import StoreKey
from ...manager import stores
from ...state import codec
from ...state.declaration import State, get_state
from ...state.patch import diff
from ..audit import log, log_view
from ..page import AdminPage
from ..redaction import MASK, Redacted, disclose, redact, restore
from .participant import name_of
from .session import gone

# Of what differs, so many places are named.
MAX_DIFFERENCES = 40
MAX_VALUE = 80
# Longer ones are not indented: a line for each item would be thousands of them.
MAX_INDENTED = 65_536


class FieldChange(NamedTuple):
    """A place where two versions differ: what is there in the one and in the other."""

    path: str
    kind: str
    stored: str
    yours: str


class _Invalid(Exception):
    """What was written is no such state; the message says where and why."""


def edit(frame: AdminPage, code: str, id: str, name: str) -> HttpResponse:
    """Show a state as text, and put what comes back in its place.

    Only if the record is still at the rev that was shown; else both are shown.
    """
    key = StoreKey(code, id)
    cls = _declared(name)
    if frame.request.method != "POST":
        return _begin(frame, key, cls)
    text = frame.request.POST.get("state", "")
    base = frame.request.POST.get("base", "")
    try:
        found = _read(key, cls)
    except (StoreUnavailable, InsideTransaction):
        # What the error says is of writes as well; here none was begun.
        said = _("The cache does not answer, so nothing was saved. Save it again.")
        return _form(frame, key, cls, text, base, said)
    if found is None:
        return _gone(frame, key)
    record, shown = found
    try:
        written = parse(text)
        if base != str(record.rev):
            return _conflict(frame, record, cls, text, written, shown)
        rev = _store(cls, key).replace(_state_of(cls, written, shown), base=base)
    except Conflict:
        return edit(frame, code, id, name)
    except (_Invalid, SessionStoresError, RecursionError) as error:
        return _form(frame, key, cls, text, base, _told(error))
    if rev == base:
        messages.info(frame.request, _("Nothing was different, so nothing changed."))
    else:
        log(frame.user_id, [name_of(key)], f"Edited the state {name}: {base} to {rev}.")
        event_bus.bus.publish(event_bus.Note(key, "edited", name))
        messages.success(frame.request, _("Saved. Every open tab shows it at once."))
    return HttpResponseRedirect(frame.url("participant", *key))


def parse(text: str) -> dict[str, Any]:
    """Return the object that `text` describes; raise `_Invalid` if it is none."""
    try:
        written = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise _Invalid(_("This is not JSON: %(error)s.") % {"error": error}) from None
    if not isinstance(written, dict):
        raise _Invalid(_("A state is a JSON object: it begins with “{”."))
    return written


def _state_of(cls: type[State], written: dict[str, Any], shown: Redacted) -> State:
    """Return the state that somebody wrote, with what was hidden put back.

    Raises `_Invalid` for what is not of the declared types, or has a field that is
    not declared; fields left out take their default.
    """
    restored, strays = restore(written, shown)
    if strays:
        raise _Invalid(_said_of_strays(strays))
    try:
        state = msgspec.json.decode(msgspec.json.encode(restored), type=cls)
        settled = codec.plain(codec.encode(state))
    except (StateCorrupt, ValueError, RecursionError) as error:
        said = _("It does not fit the declaration: “%(error)s”") % {"error": error}
        raise _Invalid(said) from None
    # Decoding drops what it does not know; somebody who typed it meant something.
    path = _dropped(restored, settled)
    if path is not None:
        near = difflib.get_close_matches(
            path.rpartition("/")[2], cls.__struct_encode_fields__, n=1
        )
        hint = _(" Did you mean “%(near)s”?") % {"near": near[0]} if near else ""
        said = _("%(path)s is not declared, so it would be lost.") % {"path": path}
        raise _Invalid(said + hint)
    return state


def _told(error: Exception) -> str:
    """Say why something was not saved, or may not have been."""
    if isinstance(error, StoreUnavailable):
        return _(
            "The cache does not answer. It is not known whether this was saved: save "
            "it again, nothing is lost by that."
        )
    if isinstance(error, StateTooLarge):
        limit = size_text(conf.get().max_state_bytes)
        return _("It is too large: the record would have more than %(limit)s.") % {
            "limit": limit
        }
    if isinstance(error, RecursionError):
        return _("It is nested too deeply.")
    return str(error)


def _said_of_strays(strays: Sequence[str]) -> str:
    return _(
        "“%(placeholder)s” stands for nothing here: what it hid has changed meanwhile, "
        "or would be shown in this place. Leave placeholders as they are stored now, "
        "or write a value."
    ) % {"placeholder": strays[0][:MAX_VALUE]}


def _dropped(written: Any, settled: Any, path: str = "") -> str | None:
    """Return the path of something written that is not in what was made of it."""
    if isinstance(written, dict) and isinstance(settled, dict):
        for key, value in written.items():
            here = f"{path}/{key}"
            if key not in settled:
                return here
            if (found := _dropped(value, settled[key], here)) is not None:
                return found
    elif isinstance(written, list) and isinstance(settled, list):
        for number, pair in enumerate(zip(written, settled, strict=False)):
            if (found := _dropped(*pair, f"{path}/{number}")) is not None:
                return found
    return None


def _declared(name: str) -> type[State]:
    try:
        return get_state(name)
    except UnknownState as error:
        raise Http404(str(error)) from None


def _store(cls: type[State], key: StoreKey) -> Any:
    return stores.get(cls, key.session, None if key.is_session else key.participant)


def _read(key: StoreKey, cls: type[State]) -> tuple[Record, Redacted] | None:
    """Return the record and what may be seen of the state; None if it is not there.

    Raises `Http404` for a state that cannot be shown, so not edited either.
    """
    record = run(get_backend(blocking=True).read(key, touch=False))
    name = cls.__sessionstores__.name
    if not isinstance(record, Record) or name not in record.states:
        return None
    try:
        return record, disclose(record, name, sealed=True)
    except StateCorrupt:
        raise Http404(_("It cannot be read.")) from None


def _gone(frame: AdminPage, key: StoreKey) -> HttpResponse:
    found = gone(frame, get_backend(blocking=True), key.session)
    return frame.render("gone", title=str(key), status=404, **found)


def _begin(frame: AdminPage, key: StoreKey, cls: type[State]) -> HttpResponse:
    found = _read(key, cls)
    if found is None:
        return _gone(frame, key)
    record, shown = found
    log_view(frame.user_id, name_of(key), refresh=False)
    return _form(frame, key, cls, _laid_out(shown.data), str(record.rev))


def _form(
    frame: AdminPage,
    key: StoreKey,
    cls: type[State],
    text: str,
    base: str,
    complaint: str = "",
) -> HttpResponse:
    return frame.render(
        "edit",
        title=_("Edit %(state)s of %(key)s")
        % {"state": cls.__sessionstores__.name, "key": name_of(key)},
        key=key,
        state=cls.__sessionstores__,
        text=text,
        base=base,
        complaint=complaint,
        schema=_laid_out(msgspec.json.schema(cls)),
        has_hidden=MASK in text,
        mask=MASK,
        back=frame.url("participant", *key),
        session_url=frame.url("session", key.session),
    )


def _conflict(
    frame: AdminPage,
    record: Record,
    cls: type[State],
    text: str,
    written: dict[str, Any],
    shown: Redacted,
) -> HttpResponse:
    """Show both versions; what is saved from here is based on the newer one."""
    restored, strays = restore(written, shown)
    # Both with placeholders for the places where the values are now.
    yours = redact(restored, shown.names, key=shown.key)
    operations = diff(shown.data, yours.data)
    log_view(frame.user_id, name_of(record.key), refresh=False)
    return frame.render(
        "conflict",
        title=_("Somebody was faster"),
        key=record.key,
        state=cls.__sessionstores__,
        text=text,
        base=str(record.rev),
        complaint=_said_of_strays(strays) if strays else "",
        stored=_laid_out(shown.data),
        differences=[
            FieldChange(
                each["path"],
                each["op"],
                _short(_at(shown.data, each["path"])) if each["op"] != "add" else "",
                _short(each["value"]) if "value" in each else "",
            )
            for each in operations[:MAX_DIFFERENCES]
        ],
        more=max(len(operations) - MAX_DIFFERENCES, 0),
        back=frame.url("participant", *record.key),
        session_url=frame.url("session", record.key.session),
        again=frame.url("edit", *record.key, cls.__sessionstores__.name),
    )


def _at(data: Any, path: str) -> Any:
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            data = data[int(name)] if isinstance(data, list) else data[name]
        except (LookupError, ValueError, TypeError):
            # Operations before this one may have made the place.
            return None
    return data


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _laid_out(data: Any) -> str:
    """Write data to be read; what is large in few lines, or browsers take seconds."""
    text = msgspec.json.encode(data)
    if len(text) <= MAX_INDENTED:
        return msgspec.json.format(text, indent=2).decode()
    if not isinstance(data, dict):
        return text.decode()
    fields = [
        f"  {msgspec.json.encode(key).decode()}: {msgspec.json.encode(value).decode()}"
        for key, value in data.items()
    ]
    return "\n".join(("{", ",\n".join(fields), "}"))
