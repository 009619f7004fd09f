"""Socket probe: open the site's WebSocket in this process, as a tab would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from channels.routing import get_default_application
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.http.request import validate_host

from ..backends.types import Finding
from ..participants.participant import WEBSOCKET_PATH
from ..realtime import protocol

SOCKET_SECONDS = 5.0

Message = dict[str, Any]
Application = Callable[..., Awaitable[None]]

ROUTE = (
    'In asgi.py, route "websocket": '
    "allowed_hosts_only(URLRouter(websocket_urlpatterns)), with both from "
    "sessionstores.routing."
)


async def probe() -> Finding:
    """Load `ASGI_APPLICATION` and open our WebSocket route; raise nothing."""
    name = settings.ASGI_APPLICATION
    try:
        application: Application = get_default_application()
    except Exception as error:  # noqa: BLE001 - the site's own code may raise any
        return Finding(
            "error",
            f"ASGI_APPLICATION {name!r} cannot be loaded: {_told(error)}",
            "Import it in `manage.py shell` to see where it fails.",
        )
    path = f"/{WEBSOCKET_PATH}"
    refused = []
    for origin in dict.fromkeys([*_origins(), *_listed(application)]):
        try:
            answer = await _opened(application, path, origin)
        except TimeoutError:
            return Finding(
                "error",
                f"{name} does not answer a WebSocket at {path} within "
                f"{SOCKET_SECONDS:g} s.",
                "Something around the routes of sessionstores waits: take the "
                "middleware off one by one.",
            )
        except Exception as error:  # noqa: BLE001 - the site's own code may raise any
            return Finding(
                "error",
                f"{name} fails for a WebSocket at {path}: {_told(error)}",
                ROUTE,
            )
        if answer.get("type") == "websocket.accept":
            return _judged(name, path, origin, answer)
        refused.append(origin)
    return Finding(
        "error",
        f"{name} refuses a WebSocket at {path} from {', '.join(refused)}.",
        "Pages may connect if their host is in ALLOWED_HOSTS, and in the list of the "
        f"site's own OriginValidator if it has one. {ROUTE}",
    )


def _judged(name: str, path: str, origin: str, answer: Message) -> Finding:
    if answer.get("subprotocol") != protocol.SUBPROTOCOL:
        return Finding(
            "error",
            f"Another consumer than ours answers a WebSocket at {path} in {name}: it "
            f"does not choose the subprotocol {protocol.SUBPROTOCOL}.",
            f"Put our routes above its own. {ROUTE}",
        )
    return Finding("ok", f"{name} accepts a WebSocket at {path} from {origin}.")


def _told(error: BaseException) -> str:
    """Return an error, and what it was raised for, which names the site's mistake."""
    text = f"{type(error).__name__}: {error}"
    first = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    return text if first is error else f"{text} ({type(first).__name__}: {first})"


def _origins() -> Iterator[str]:
    """Yield origins that pages of the site may have, the likeliest first."""
    hosts = [host for host in settings.ALLOWED_HOSTS if host != "*"] or ["localhost"]
    for scheme in ("https", "http"):
        for host in hosts:
            # ".example.com" allows the domain itself as well.
            yield f"{scheme}://{host.removeprefix('.')}"


def _listed(application: object) -> Iterator[str]:
    """Yield the origins, of hosts of the site, that its own validator lists.

    Their ports are known to nobody else.
    """
    hosts = settings.ALLOWED_HOSTS or [".localhost", "127.0.0.1", "[::1]"]
    around: object = application
    while around is not None:
        listed = getattr(around, "allowed_origins", ())
        for pattern in listed if isinstance(around, OriginValidator) else ():
            scheme, _, place = str(pattern).partition("://")
            origin = f"{scheme}://{place.removeprefix('.')}"
            if place and validate_host(_host(origin), hosts):
                yield origin
        inner = getattr(around, "application_mapping", {}).get("websocket")
        for name in ("application", "inner"):
            inner = inner or getattr(around, name, None)
        around = inner


def _host(origin: str) -> str:
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return ""
    return f"[{host}]" if ":" in host else host


async def _opened(application: Application, path: str, origin: str) -> Message:
    """Return how an application answers a connection; {} if it just returns."""
    scheme, _, host = origin.partition("://")
    # Of it, servers know nothing.
    root = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "wss" if scheme == "https" else "ws",
        "path": root + path,
        "raw_path": (root + path).encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"origin", origin.encode())],
        "subprotocols": [protocol.SUBPROTOCOL],
        "client": ("127.0.0.1", 0),
        "server": (host, 443 if scheme == "https" else 80),
    }
    given: asyncio.Queue[Message] = asyncio.Queue()
    sent: asyncio.Queue[Message] = asyncio.Queue()
    given.put_nowait({"type": "websocket.connect"})
    serving = asyncio.ensure_future(application(scope, given.get, sent.put))
    answering = asyncio.ensure_future(sent.get())
    try:
        async with asyncio.timeout(SOCKET_SECONDS):
            await asyncio.wait(
                {serving, answering}, return_when=asyncio.FIRST_COMPLETED
            )
        if answering.done():
            return answering.result()
        await serving
        return sent.get_nowait() if not sent.empty() else {}
    finally:
        given.put_nowait({"type": "websocket.disconnect", "code": 1000})
        answering.cancel()
        # Of what it still does, nothing concerns the answer.
        _, unfinished = await asyncio.wait({serving}, timeout=SOCKET_SECONDS)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(serving, answering, return_exceptions=True)
