"""Leave a session: forget who the visitor is in it, and remove their data."""

from __future__ import annotations

from django.http import HttpRequest

from ..backends import get_backend
from ..backends.base import Backend, run
from ..concurrency.async_unsafe import async_unsafe
from ..keys import StoreKey, normalize_code
from ..sessions import lifecycle
from .requests import RequestIdentity


@async_unsafe("Inside an event loop: await aleave() instead.")
def leave(request: HttpRequest, code: str) -> bool:
    """Have the visitor leave session `code`; False if they are not in it.

    Django's session forgets them, the tokens and links issued to them until now are
    void, and their record is removed, with the reason "left" and its final states in
    `participant_removed`. Their open tabs are told `end` with that reason, and stop. So
    no page that the browser still shows brings them back. `request.participant` is None
    from here on. Not one step: tokens go first, so that no tab reopens the record.

    They may join again, afresh and under the same id: a kick, which goes by ids, is not
    undone by leaving. By a signed link, only the participant whom it names leaves.
    Raises `InvalidKey` unless `code` is one, as people type them.
    """
    return run(_leave(get_backend(blocking=True), request, code))


async def aleave(request: HttpRequest, code: str) -> bool:
    """See `leave`."""
    return await _leave(get_backend(blocking=False), request, code)


async def _leave(backend: Backend, request: HttpRequest, code: str) -> bool:
    code = normalize_code(code)
    visitor = RequestIdentity(request, blocking=backend.blocking)
    key = await _key_of(backend, visitor, code)
    if key is None:
        return False
    was_in = await lifecycle.leave(backend, key)
    kept = await visitor.kept(code)
    if kept is not None and (kept.key == key or not visitor.has_link):
        await visitor.forget(code)
    request.participant = None  # type: ignore[attr-defined]
    return was_in


async def _key_of(
    backend: Backend, visitor: RequestIdentity, code: str
) -> StoreKey | None:
    """Return the key of whom the visitor is in a session, though revoked or expired."""
    if visitor.has_link:
        link = visitor.link(code)
        return link and link.key
    kept = await visitor.kept(code)
    if kept is None:
        return await visitor.derived(backend, code)
    return await visitor.successor(backend, kept) or kept.key
