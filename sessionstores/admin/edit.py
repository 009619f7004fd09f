"""Editing a state by hand: validated, compared, audited, and shown at once."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

import msgspec
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from .. import codec, signals
from ..backends import get_backend
from ..backends.base import Record, run
from ..exceptions import Conflict, SessionStoresError, StateCorrupt, UnknownState
from ..keys import StoreKey
from ..manager import stores
from ..patch import diff
from ..state import State, get_state
from .audit import log, log_view
from .frame import Frame
from .participant import name_of
from .redaction import MASK, Redacted, redact, restore
from .session import gone

# Of what differs, so many places are named.
MAX_DIFFERENCES = 40
MAX_VALUE = 80


class Difference(NamedTuple):
    """A place where two versions differ: what is there in the one and in the other."""

    path: str
    kind: str
    stored: str
    yours: str


class _Invalid(Exception):
    """What was written is no such state; the message says where and why."""


def edit(frame: Frame, code: str, id: str, name: str) -> HttpResponse:
    """Show a state as text, and put what comes back in its place.

    Only if the record is still at the rev that was shown; else both are shown.
    """
    key = StoreKey(code, id)
    backend = get_backend(blocking=True)
    record = run(backend.read(key, touch=False))
    cls = _declared(name)
    if not isinstance(record, Record) or name not in record.states:
        found = gone(frame, backend, code)
        return frame.render("gone", title=str(key), status=404, **found)
    sensitive = cls.__sessionstores__.sensitive
    shown = redact(codec.plain(record.states[name]), sensitive)
    if frame.request.method != "POST":
        log_view(frame.user_id, name_of(key), refresh=False)
        return _form(frame, record, cls, _pretty(shown.data), str(record.rev))
    text = frame.request.POST.get("state", "")
    base = frame.request.POST.get("base", "")
    try:
        state = parse(cls, text, shown)
        if base != str(record.rev):
            return _conflict(frame, record, cls, text, shown)
        rev = _store(cls, key).replace(state, base=base)
    except Conflict:
        return edit(frame, code, id, name)
    except (_Invalid, SessionStoresError) as error:
        return _form(frame, record, cls, text, base, complaint=str(error))
    if rev == base:
        messages.info(frame.request, _("Nothing was different, so nothing changed."))
    else:
        log(frame.user_id, [name_of(key)], f"Edited the state {name}: {base} to {rev}.")
        signals.outlet.publish(signals.Note(key, "edited", name))
        messages.success(frame.request, _("Saved. Every open tab shows it at once."))
    return HttpResponseRedirect(frame.url("participant", *key))


def parse(cls: type[State], text: str, shown: Redacted) -> State:
    """Return the state that `text` describes, with what was hidden put back.

    Raises `_Invalid` for what is not JSON, not of the declared types, or has a field
    that is not declared; fields left out take their default.
    """
    try:
        written = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise _Invalid(_("This is not JSON: %(error)s.") % {"error": error}) from None
    if not isinstance(written, dict):
        raise _Invalid(_("A state is a JSON object: it begins with “{”."))
    restored = restore(written, shown.hidden)
    if _has_mask(restored):
        raise _Invalid(
            _(
                "Here is a placeholder that stands for nothing: leave “%(mask)s …” as "
                "it was, or write a value in its place."
            )
            % {"mask": MASK}
        )
    try:
        state = msgspec.json.decode(msgspec.json.encode(restored), type=cls)
        settled = codec.plain(codec.encode(state))
    except (StateCorrupt, ValueError, RecursionError) as error:
        raise _Invalid(str(error)) from None
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


def _has_mask(data: Any) -> bool:
    if isinstance(data, dict):
        return any(map(_has_mask, data.values()))
    if isinstance(data, list):
        return any(map(_has_mask, data))
    return isinstance(data, str) and data.startswith(f"{MASK}/")


def _declared(name: str) -> type[State]:
    try:
        return get_state(name)
    except UnknownState as error:
        raise Http404(str(error)) from None


def _store(cls: type[State], key: StoreKey) -> Any:
    return stores.get(cls, key.session, None if key.is_session else key.participant)


def _form(
    frame: Frame,
    record: Record,
    cls: type[State],
    text: str,
    base: str,
    *,
    complaint: str = "",
) -> HttpResponse:
    return frame.render(
        "edit",
        title=_("Edit %(state)s of %(key)s")
        % {"state": cls.__sessionstores__.name, "key": name_of(record.key)},
        key=record.key,
        state=cls.__sessionstores__,
        text=text,
        base=base,
        complaint=complaint,
        schema=_pretty(msgspec.json.schema(cls)),
        has_hidden=MASK in text,
        mask=MASK,
        back=frame.url("participant", *record.key),
        session_url=frame.url("session", record.key.session),
    )


def _conflict(
    frame: Frame, record: Record, cls: type[State], text: str, shown: Redacted
) -> HttpResponse:
    """Show both versions; what is saved from here is based on the newer one."""
    written = msgspec.json.decode(text)
    operations = diff(shown.data, written)
    return frame.render(
        "conflict",
        title=_("Somebody was faster"),
        key=record.key,
        state=cls.__sessionstores__,
        text=text,
        base=str(record.rev),
        stored=_pretty(shown.data),
        differences=[
            Difference(
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


def _pretty(data: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
