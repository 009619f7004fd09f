"""Origins of WebSockets: only pages of the site's own hosts may connect."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import (
    AllowedHostsOriginValidator,
    OriginValidator,
)

from .sub_path import below_sub_path

_VALIDATE = OriginValidator.__call__.__code__

# What browsers send for a page without an origin; it is of no host.
_NO_ORIGIN = b"null"


def allowed_hosts_only(application: Any) -> Any:
    """Wrap an ASGI application, as Channels' `AllowedHostsOriginValidator` does.

    That raises, and the handshake is answered with 500, for an origin that is not a
    URL, such as `http://[::1`. Here it is denied. Routes are found below the site's
    sub-path too, whether it is FORCE_SCRIPT_NAME or the server's root path.
    """
    validator: Any = AllowedHostsOriginValidator(application)

    async def validate(scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (name, value if name != b"origin" or _is_url(value) else _NO_ORIGIN)
            for name, value in scope.get("headers", ())
        ]
        given = below_sub_path({**scope, "headers": headers})
        await validator(given, receive, send)

    return validate


def is_validated() -> bool:
    """Whether an `OriginValidator` of Channels has let the caller's connection in.

    A site that has one knows best which origins may connect. Nothing in the scope says
    so; but the validator awaits whom it has called, and is among the callers.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is _VALIDATE:
            return True
        frame = frame.f_back
    return False


def foreign_origin(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the origin by which the caller's connection is not the site's, if any.

    Every browser sends one; other clients have no user's cookies to misuse.
    """
    given = [value for name, value in headers if name == b"origin"]
    if not given or is_validated() or is_own(given[-1]):
        return None
    return given[-1]


def is_own(origin: bytes) -> bool:
    """Return whether an origin is of one of `ALLOWED_HOSTS`."""
    if not _is_url(origin):
        return False
    nothing: Any = None
    validator: Any = AllowedHostsOriginValidator(nothing)
    valid: bool = validator.valid_origin(urlsplit(origin.decode("latin1")))
    return valid


def _is_url(origin: bytes) -> bool:
    try:
        # Malformed hosts are found at once, ports when they are asked for.
        return urlsplit(origin.decode("latin1")).port != 0
    except ValueError:
        return False
