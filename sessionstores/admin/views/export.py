"""Exports of a session, and the download of a state: files, redacted and logged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import chain
from typing import Any, cast

import msgspec
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import (
    Http404,
    HttpResponse,
    HttpResponseBadRequest,
    StreamingHttpResponse,
)
from django.utils.translation import gettext as _

from ...backends import get_backend
from ...backends.base import run
from ...backends.types import Record
from ...exceptions import StateCorrupt, UnknownState
from ...keys import StoreKey
from ...sessions.presence import attendance
from ..audit import VIEW, log
from ..export import FORMATS, LAYOUTS, SessionExport
from ..operations import log_name
from ..page import AdminPage
from ..redaction import redact_state
from .session import missing_page

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json; charset=utf-8",
}


def download(page: AdminPage, code: str, id: str, name: str) -> HttpResponse:
    """Send a state as a JSON file, redacted."""
    key = StoreKey.stored(code, id)
    record = run(get_backend(blocking=True).read(key, touch=False))
    shown = _shown(record, name) if isinstance(record, Record) else None
    if shown is None:
        raise Http404(_("There is no such state."))
    log(page.user_id, [log_name(key)], f"Downloaded the state {name}.", VIEW)
    file = f"{code}-{'session' if key.is_session else id}-{name}.json"
    return HttpResponse(_json(shown), headers=_file(file))


def export(page: AdminPage, code: str) -> HttpResponse | StreamingHttpResponse:
    """Send a session as a file, redacted: its records as one JSON object.

    `?format=` is "csv" or "json" for rows, and `?layout=` says of which kind: "wide",
    if it is left out, or "long". In batches, so that a large session is never in memory
    as a whole.
    """
    given = page.request.GET
    format, layout = given.get("format", ""), given.get("layout", "wide")
    for name, value, known in (
        ("format", format, ("", *FORMATS)),
        ("layout", layout, LAYOUTS),
    ):
        if value not in known:
            names = " or ".join(filter(None, known))
            text = f"{name} is {names}, not {value!r}."
            return HttpResponseBadRequest(text, content_type="text/plain")
    backend = get_backend(blocking=True)
    info = run(backend.session(code))
    if info is None:
        return missing_page(page, backend, code)
    people = run(backend.participants(code))
    present = run(attendance(backend, code))
    # As it has always been, if nothing else is asked for.
    chosen = (format, layout) if format else ("json", "records")
    chunks = SessionExport(backend, info, people, present).chunks(*cast("Any", chosen))
    said = " as {}, {}".format(*chosen) if format else ""
    name = f"{code}-{layout}.{format}" if format else f"{code}.json"
    # An outage that is there already is said by a page, not by a broken file.
    begun = chain([next(chunks), next(chunks)], chunks)
    log(page.user_id, [code], f"Exported the session{said}.", VIEW)
    is_async = isinstance(page.request, ASGIRequest)
    return StreamingHttpResponse(
        _in_threads(begun) if is_async else begun, headers=_file(name)
    )


async def _in_threads(chunks: Iterator[str]) -> AsyncIterator[str]:
    """Yield what `chunks` does, and let the event loop go on meanwhile."""
    take = sync_to_async(partial(next, chunks, None))
    while (chunk := await take()) is not None:
        yield chunk


def _shown(record: Record, name: str) -> Any:
    """Return a state's plain form, redacted; None if it cannot be shown."""
    if name not in record.states:
        return None
    try:
        return redact_state(record, name).data
    except (UnknownState, StateCorrupt):
        return None


def _json(data: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n"


def _file(name: str) -> dict[str, str]:
    # Codes, ids and names of states need no quoting.
    return {
        "Content-Type": TYPES[name.rpartition(".")[2]],
        "Content-Disposition": f'attachment; filename="{name}"',
    }
