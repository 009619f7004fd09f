"""Private pages: responses to requests for which a token was made are not stored.

Whoever has a page's token is its participant: neither a cache between browser and site
nor the browser's own may keep it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control


class TokenWatch:
    """Whether a token was made while a request was answered.

    Threads and tasks of the request share it, since they copy the context.
    """

    __slots__ = ("made", "request")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.made = False


_watch: ContextVar[TokenWatch | None] = ContextVar("sessionstores_token", default=None)


@contextmanager
def watching(request: HttpRequest) -> Iterator[None]:
    """Watch for the tokens that are made while a request is answered in the block."""
    begun = _watch.set(TokenWatch(request))
    try:
        yield
    finally:
        _watch.reset(begun)


def note_token() -> None:
    """Note that a token was made, if that is for a request."""
    watch = _watch.get()
    if watch is not None:
        watch.made = True
        # Django's cache of pages may see the response before its headers are changed:
        # below the decorator, or when a template is rendered after the view.
        watch.request._cache_update_cache = False  # type: ignore[attr-defined]


def keep_private(response: object) -> None:
    """Have a response be `private, no-store` if a token was made for it."""
    watch = _watch.get()
    # Of a view that returns something else, Django complains.
    if watch is not None and watch.made and isinstance(response, HttpResponseBase):
        patch_cache_control(response, private=True, no_store=True)
