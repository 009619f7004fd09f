"""Sub-path: the prefix of all paths of a site that is not at the root of its host."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls.resolvers import RoutePattern

from ..participants.participant import WEBSOCKET_PATH


class SubPathPattern(RoutePattern):
    """The pattern of a route that any `URLRouter` finds below FORCE_SCRIPT_NAME too.

    A server knows nothing of that setting. Its root path, the router has cut off.
    """

    def match(self, path: str) -> Any:
        """See `RoutePattern.match`; the sub-path may be cut off already."""
        prefix = (settings.FORCE_SCRIPT_NAME or "").strip("/")
        return super().match(path) or super().match(path.removeprefix(f"{prefix}/"))


def below_sub_path(scope: dict[str, Any]) -> dict[str, Any]:
    """Return a scope whose path a `URLRouter` looks for below the site's sub-path.

    Found as Django finds it for pages, which Channels does not: it is
    FORCE_SCRIPT_NAME, else the server's root path; and a proxy or the server may have
    cut it off already.
    """
    given: str = settings.FORCE_SCRIPT_NAME or scope.get("root_path") or ""
    prefix = given.rstrip("/")
    if not prefix or "path_remaining" in scope:
        return scope
    path: str = scope["path"]
    # Below /ws, a path that was cut off already begins as the sub-path does.
    if path.startswith(f"{prefix}/") and not path.startswith(f"/{WEBSOCKET_PATH}"):
        path = path[len(prefix) :]
    return {**scope, "path_remaining": path}
