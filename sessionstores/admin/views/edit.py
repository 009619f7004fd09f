"""The edit page of a state: validated, compare-and-set, logged."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
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
from ...state.apply_patch import apply
from ...state.declaration import State, get_state
from ...state.patch import diff
from ..audit import log, log_view
from ..operations import log_name
from ..page import AdminPage
from ..redaction import (
    MergeRefused,
    decode_paths,
    editable,
    join_path,
    kept_fields,
    merge,
    read_state,
    redact_error,
    redact_schema,
)
from .session import missing_context

# Differences that the conflict page lists, and characters of each value.
MAX_DIFFERENCES = 40
MAX_VALUE = 80
# Paths left out that the form lists.
MAX_LEFT_OUT = 10
# Longer JSON is not indented: a line for each item would be thousands of lines.
MAX_INDENTED = 65_536


class FieldChange(NamedTuple):
    """A path at which the stored state and the written one differ."""

    path: str
    kind: str
    stored: str
    yours: str


class StoredState(NamedTuple):
    """A state as it is stored now, and the parts of it that staff may edit."""

    record: Record
    cls: type[State]
    plain: dict[str, Any]
    visible: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def key(self) -> StoreKey:
        """The key of its record."""
        return self.record.key

    @property
    def rev(self) -> str:
        """The rev of its record."""
        return str(self.record.rev)


class Form(NamedTuple):
    """What the edit form holds.

    `base` is the rev that a save replaces. `stale`: the text was written before that
    rev was stored, so hidden values may have moved (see `redaction.merge`). `left_out`
    are the paths that the pages it was written on have left out.
    """

    text: str
    base: str
    stale: bool = False
    left_out: tuple[str, ...] = ()


class _Invalid(Exception):
    """The text is not such a state; the message says where and why."""


def edit(page: AdminPage, code: str, id: str, name: str) -> HttpResponse:
    """Show a state as JSON, and store what is sent back.

    Only if the record is still at the rev that the form is based on; otherwise show
    both versions.
    """
    key = StoreKey(code, id)
    cls = _declared(name)
    if page.request.method != "POST":
        return _begin(page, key, cls)
    post = page.request.POST
    names = ("state", "base", "stale", "left_out")
    written_text, base, stale, paths = (post.get(each, "") for each in names)
    form = Form(written_text, base, bool(stale), decode_paths(paths))
    try:
        stored = _read(key, cls)
    except (StoreUnavailable, InsideTransaction):
        # The error's text is about writes as well; none was begun here.
        complaint = _("The cache does not answer, so nothing was saved. Save it again.")
        return _form(page, key, cls, form, complaint)
    if stored is None:
        return _missing(page, key)
    try:
        written = parse(form.text)
        if form.base != stored.rev:
            return _conflict(page, stored, form, written)
        state = _state_of(stored, written, form)
        rev = _store(cls, key).replace(state, base=form.base)
    except Conflict:
        return edit(page, code, id, name)
    except (_Invalid, SessionStoresError, RecursionError) as error:
        return _form(page, key, cls, form, _reason(error), stored.left_out)
    if rev == form.base:
        messages.info(page.request, _("Nothing was different, so nothing changed."))
    else:
        text = f"Edited the state {name}: {form.base} to {rev}."
        log(page.user_id, [log_name(key)], text)
        event_bus.bus.publish(event_bus.Note(key, "edited", name))
        messages.success(page.request, _("Saved. Every open tab shows it at once."))
    return HttpResponseRedirect(page.url("participant", *key))


def parse(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; raise `_Invalid` if it is not one."""
    try:
        written = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise _Invalid(_("This is not JSON: %(error)s.") % {"error": error}) from None
    if not isinstance(written, dict):
        raise _Invalid(_("A state is a JSON object: it begins with “{”."))
    return written


def _state_of(stored: StoredState, written: dict[str, Any], form: Form) -> State:
    """Return the state that somebody wrote, with the parts left out merged in.

    Fields left out that are not hidden take their default. Raises `_Invalid` for a
    field that is not declared or not of its declared type, and where hidden values
    would be written or lost.
    """
    cls = stored.cls
    merged = _merge(stored, written, form)
    try:
        state = msgspec.json.decode(msgspec.json.encode(merged), type=cls)
        settled = codec.plain(codec.encode(state))
    except (StateCorrupt, ValueError) as error:
        said = _("A check of the site’s own refuses it.")
        if reason := redact_error(error):
            said = _("It does not fit the declaration: “%(error)s”") % {"error": reason}
        raise _Invalid(said) from None
    # Decoding would drop unknown fields silently, but somebody has typed this one.
    path = _dropped(merged, settled)
    if path is not None:
        near = difflib.get_close_matches(
            path.rpartition("/")[2], cls.__struct_encode_fields__, n=1
        )
        hint = _(" Did you mean “%(near)s”?") % {"near": near[0]} if near else ""
        said = _("%(path)s is not declared, so it would be lost.") % {"path": path}
        raise _Invalid(said + hint)
    return state


def _merge(stored: StoredState, written: dict[str, Any], form: Form) -> dict[str, Any]:
    sensitive = stored.cls.__sessionstores__.sensitive
    stale, left_out = form.stale, form.left_out
    try:
        return merge(written, stored.plain, sensitive, stale=stale, left_out=left_out)
    except MergeRefused as error:
        reasons = {
            "hidden": _(
                "%(path)s is hidden, or holds hidden values, so it cannot be changed "
                "here. Leave it out, and it is kept as it is."
            ),
            "removed": _(
                "%(path)s holds hidden values, so it cannot be removed, renamed or "
                "replaced here."
            ),
            "changed": _(
                "%(path)s holds hidden values, and the state has changed since you "
                "opened it. Begin again from what is stored now to edit it."
            ),
        }
        raise _Invalid(reasons[error.reason] % {"path": error.path}) from None


def _reason(error: Exception) -> str:
    """Return why something was not saved, or may not have been."""
    if isinstance(error, StoreUnavailable):
        if error.refused:
            return _("The cache refused this, so nothing was saved. Save it again.")
        return _(
            "The cache does not answer. It is not known whether this was saved. Save "
            "it again: that is safe in either case."
        )
    if isinstance(error, StateTooLarge):
        named = {"limit": size_text(conf.get().max_state_bytes)}
        return _("It is too large: the record would have more than %(limit)s.") % named
    if isinstance(error, RecursionError):
        return _("It is nested too deeply.")
    return str(error)


def _dropped(written: Any, settled: Any, path: str = "") -> str | None:
    """Return the first path in `written` that is missing in `settled`; None if none."""
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


def _read(key: StoreKey, cls: type[State]) -> StoredState | None:
    """Return the state as stored; None if it is not there.

    Raises `Http404` for a state that cannot be shown, so cannot be edited either.
    """
    record = run(get_backend(blocking=True).read(key, touch=False))
    name = cls.__sessionstores__.name
    if not isinstance(record, Record) or name not in record.states:
        return None
    try:
        plain, sensitive = read_state(record, name)
    except StateCorrupt:
        raise Http404(_("It cannot be read.")) from None
    kept = kept_fields(record, name)
    return StoredState(record, cls, plain, *editable(plain, sensitive, kept))


def _missing(page: AdminPage, key: StoreKey) -> HttpResponse:
    context = missing_context(page, get_backend(blocking=True), key.session)
    return page.render("missing", title=str(key), status=404, **context)


def _begin(page: AdminPage, key: StoreKey, cls: type[State]) -> HttpResponse:
    stored = _read(key, cls)
    if stored is None:
        return _missing(page, key)
    log_view(page.user_id, log_name(key), refresh=False)
    form = Form(_pretty(stored.visible), stored.rev)
    return _form(page, key, cls, form, left_out=stored.left_out)


def _form(
    page: AdminPage,
    key: StoreKey,
    cls: type[State],
    form: Form,
    complaint: str = "",
    left_out: Sequence[str] = (),
) -> HttpResponse:
    return page.render(
        "edit",
        title=_("Edit %(state)s of %(key)s")
        % {"state": cls.__sessionstores__.name, "key": log_name(key)},
        key=key,
        state=cls.__sessionstores__,
        complaint=complaint,
        schema=_pretty(redact_schema(cls)),
        back=page.url("participant", *key),
        session_url=page.url("session", key.session),
        **_left_out(form, left_out),
    )


def _left_out(form: Form, paths: Sequence[str]) -> dict[str, Any]:
    every = tuple(dict.fromkeys((*form.left_out, *paths)))
    return {
        "form": form,
        "paths": msgspec.json.encode(every).decode(),
        "left_out": paths[:MAX_LEFT_OUT],
        "more_left_out": max(len(paths) - MAX_LEFT_OUT, 0),
    }


def _conflict(
    page: AdminPage, stored: StoredState, form: Form, written: dict[str, Any]
) -> HttpResponse:
    """Show both versions; what is saved from here replaces the newer one."""
    form = form._replace(base=stored.rev, stale=True)
    try:
        _merge(stored, written, form)
        complaint = ""
    except _Invalid as error:
        complaint = str(error)
    differences = list(_differences(stored.visible, written))
    key = stored.key
    log_view(page.user_id, log_name(key), refresh=False)
    return page.render(
        "conflict",
        title=_("Somebody was faster"),
        key=key,
        state=stored.cls.__sessionstores__,
        complaint=complaint,
        stored=_pretty(stored.visible),
        differences=differences[:MAX_DIFFERENCES],
        more=max(len(differences) - MAX_DIFFERENCES, 0),
        back=page.url("participant", *key),
        session_url=page.url("session", key.session),
        again=page.url("edit", *key, stored.cls.__sessionstores__.name),
        **_left_out(form, stored.left_out),
    )


def _differences(stored: Any, written: Any, path: str = "") -> Iterator[FieldChange]:
    """Yield what saving `written` would change, field by field."""
    if isinstance(stored, dict) and isinstance(written, dict):
        for key in dict.fromkeys((*stored, *written)):
            here = join_path(path, key)
            if key not in written:
                yield FieldChange(here, "remove", _short(stored[key]), "")
            elif key not in stored:
                yield FieldChange(here, "add", "", _short(written[key]))
            else:
                yield from _differences(stored[key], written[key], here)
        return
    for number, each in enumerate(diff(stored, written)):
        place = each["from"] if each["op"] == "move" else each["path"]
        yours = f"→ {path}{each['path']}" if each["op"] == "move" else ""
        shown = number < MAX_DIFFERENCES
        yield FieldChange(
            f"{path}{place}",
            each["op"],
            _short(_value_at(stored, place)) if shown and each["op"] != "add" else "",
            _short(each["value"]) if "value" in each else yours,
        )
        if shown:
            # The next operation's positions are those after this one.
            stored = apply(stored, [each])


def _value_at(data: Any, path: str) -> Any:
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        data = data[int(name)] if isinstance(data, list) else data[name]
    return data


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"


def _pretty(data: Any) -> str:
    """Return indented JSON; a large object has a line for each field.

    In thousands of lines, browsers take seconds to show it.
    """
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
