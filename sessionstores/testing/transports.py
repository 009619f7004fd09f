"""Sockets of tabs: an ASGI application in this process, or a server that listens."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from asgiref.compatibility import guarantee_single_callable
from asgiref.testing import ApplicationCommunicator
from channels.routing import get_default_application
from django.conf import settings
from django.urls import get_script_prefix

from ..participants.participant import WEBSOCKET_PATH
from ..realtime.consumers import StoreConsumer
from ..realtime.error_frames import telling_all
from ..realtime.protocol import SUBPROTOCOL
from .arguments import shown

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake
except ImportError:
    connect = None  # type: ignore[assignment,misc]

LOST: Final = 1006
# Of a page that is left.
GOING_AWAY: Final = 1001
END_SECONDS = 10.0
SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
ROUTE = (
    'In asgi.py, route "websocket": '
    "allowed_hosts_only(URLRouter(websocket_urlpatterns)), with both from "
    "sessionstores.routing; or test the consumer alone, by "
    "tab(…, application=StoreConsumer.as_asgi())."
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def frame_text(frame: Mapping[str, Any]) -> str:
    """Return a frame as JSON.stringify writes it, whose bytes the server counts."""
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Refused(ConnectionError):
    """The server did not accept the socket."""


class TabSocket(ABC):
    """One WebSocket of a tab; text frames only.

    `is_told`: its frames have what only developers are told, which no page gets.
    """

    is_told = False

    @abstractmethod
    async def open(self) -> None:
        """Have the socket accepted; raise `Refused`."""

    @abstractmethod
    def send(self, text: str) -> None:
        """Send a frame soon; one to a socket that is closed is lost."""

    @abstractmethod
    async def receive(self) -> str | int:
        """Return the next frame, or the code with which the server has closed."""

    @abstractmethod
    async def close(self, code: int) -> None:
        """Close, by `LOST` without a handshake; return when the server knows."""


class AsgiSocket(TabSocket):
    """A socket of an ASGI application, which runs in this event loop."""

    def __init__(
        self,
        application: Any,
        *,
        path: str | None,
        origin: str,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        self._origin = origin
        self._path = get_script_prefix() + WEBSOCKET_PATH if path is None else path
        url = urlsplit(origin)
        host = url.hostname or "testserver"
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "wss" if url.scheme == "https" else "ws",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"host", url.netloc.encode()),
                (b"origin", origin.encode()),
                *headers,
            ],
            "subprotocols": [SUBPROTOCOL],
            "client": ("127.0.0.1", 0),
            "server": (host, url.port or 80),
        }
        # Under DEBUG, pages are told so too.
        self.is_told = not settings.DEBUG
        communicator: Any = ApplicationCommunicator
        self._communicator = communicator(_with_hints(application), scope)

    async def open(self) -> None:
        """See `TabSocket.open`."""
        self._communicator.input_queue.put_nowait({"type": "websocket.connect"})
        try:
            answer = await self._event()
        except Exception as error:
            error.add_note(f"The application failed for {self._path}. {ROUTE}")
            raise
        if answer["type"] != "websocket.accept":
            await self.close(LOST)
            raise Refused(
                f"The application refused a WebSocket at {self._path} from "
                f"{self._origin}, so it knows no such route or origin. Give the origin "
                f"of the site's pages: tab(…, origin='https://…'). {ROUTE}"
            )

    def send(self, text: str) -> None:
        """See `TabSocket.send`."""
        event = {"type": "websocket.receive", "text": text}
        self._communicator.input_queue.put_nowait(event)

    async def receive(self) -> str | int:
        """See `TabSocket.receive`."""
        event = await self._event()
        if event["type"] == "websocket.send":
            return str(event["text"])
        return int(event.get("code") or 1000)

    async def close(self, code: int) -> None:
        """See `TabSocket.close`."""
        event = {"type": "websocket.disconnect", "code": code}
        self._communicator.input_queue.put_nowait(event)
        await self._communicator.wait(END_SECONDS)

    async def _event(self) -> dict[str, Any]:
        queue, serving = self._communicator.output_queue, self._communicator.future
        getting = asyncio.ensure_future(queue.get())
        try:
            # In this order: what it has sent comes before its end.
            await asyncio.wait({getting, serving}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                event: dict[str, Any] = getting.result()
                return event
            serving.result()
            return {"type": "websocket.close", "code": LOST}
        finally:
            getting.cancel()


def _with_hints(application: Any) -> Any:
    """Return an application whose frames say what they say developers under DEBUG."""
    if not callable(application):
        raise TypeError(
            f"application is {shown(application)}: give the ASGI application itself, "
            "as in tab(…, application=StoreConsumer.as_asgi()), or none for that of "
            "ASGI_APPLICATION."
        )
    as_one: Any = guarantee_single_callable
    serve = as_one(application)

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        # Here, since this task has a context of its own.
        with telling_all():
            await serve(scope, receive, send)

    return telling


class ServerSocket(TabSocket):
    """A socket of a server at a URL, by the package websockets."""

    def __init__(
        self, url: str, *, origin: str | None, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        if connect is None:
            raise ModuleNotFoundError(
                f"tab(…, url={url!r}) needs the package websockets, from 15 on: "
                "pip install 'websockets>=15'. Without a url, a tab talks to the "
                "site's ASGI application in this process."
            )
        parts = _server_url(url)
        path = parts.path if parts.path.strip("/") else f"/{WEBSOCKET_PATH}"
        secure = parts.scheme in {"https", "wss"}
        self._url = f"{'wss' if secure else 'ws'}://{parts.netloc}{path}"
        self._origin = origin or f"{'https' if secure else 'http'}://{parts.netloc}"
        self._headers = [(name.decode(), value.decode()) for name, value in headers]
        self._connection: ClientConnection | None = None
        self._waiting: asyncio.Queue[str] = asyncio.Queue()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """See `TabSocket.open`."""
        protocol: Any = SUBPROTOCOL
        origin: Any = self._origin
        try:
            self._connection = await connect(
                self._url,
                origin=origin,
                subprotocols=[protocol],
                additional_headers=self._headers,
                compression=None,
                max_size=None,
                ping_interval=None,
                proxy=None,
            )
        except (InvalidHandshake, OSError) as error:
            raise Refused(
                f"No WebSocket at {self._url} from {self._origin}: {error}. An ASGI "
                "server has to listen there, such as uvicorn or daphne, which "
                f"live_server of pytest-django is not. {ROUTE}"
            ) from error
        self._writing = asyncio.create_task(self._write(self._connection))

    def send(self, text: str) -> None:
        """See `TabSocket.send`."""
        self._waiting.put_nowait(text)

    async def _write(self, connection: ClientConnection) -> None:
        # `receive` says that it is closed.
        with suppress(ConnectionClosed):
            while True:
                await connection.send(await self._waiting.get())

    async def receive(self) -> str | int:
        """See `TabSocket.receive`."""
        connection: Any = self._connection
        try:
            return str(await connection.recv())
        except ConnectionClosed as closed:
            return LOST if closed.rcvd is None else closed.rcvd.code

    async def close(self, code: int) -> None:
        """See `TabSocket.close`."""
        if self._connection is None or self._writing is None:
            return
        self._writing.cancel()
        if code == LOST:
            self._connection.transport.abort()
            await self._connection.wait_closed()
        else:
            await self._connection.close(code)


def _server_url(url: object) -> SplitResult:
    """Return the parts of a server's URL; raise TypeError or ValueError for others."""
    if not isinstance(url, str):
        raise TypeError(
            f"url is {shown(url)}: give text, as in tab(…, "
            "url='http://127.0.0.1:8000')."
        )
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        bare = url.rpartition("://")[2].strip("/") or "127.0.0.1:8000"
        raise ValueError(
            f"url is {url!r}: give the whole URL of a server, with its http:// or "
            f"https://, as in tab(…, url='http://{bare}')."
        )
    return parts


def _header(pair: Any) -> tuple[bytes, bytes]:
    """Return one header; raise TypeError for what is none."""
    try:
        name, value = pair
        return _bytes(name).lower(), _bytes(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"headers has {shown(pair)}: give pairs of a name and a value, as in "
            "tab(…, headers=[(b'cookie', b'sessionid=…')])."
        ) from None


def _bytes(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode("latin-1")
    if isinstance(text, bytes):
        return text
    raise TypeError


def open_socket(
    application: Any,
    url: str | None,
    *,
    path: str | None,
    origin: str | None,
    headers: Sequence[tuple[bytes, bytes]],
) -> TabSocket:
    """Return a socket that is not open yet; see `tab` for the arguments."""
    headers = [_header(pair) for pair in headers]
    if url is not None:
        return ServerSocket(url, origin=origin, headers=headers)
    if application is None:
        application = default_application()
    return AsgiSocket(
        application, path=path, origin=origin or "http://testserver", headers=headers
    )


def default_application() -> Any:
    """Return what ASGI_APPLICATION names; without it, the consumer of our route."""
    if getattr(settings, "ASGI_APPLICATION", None):
        return get_default_application()
    return StoreConsumer.as_asgi()
