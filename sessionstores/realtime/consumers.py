"""Consumer: one tab's WebSocket, from `hello` to the close.

It has its own receive loop: Channels' dispatch costs a thread hop and a task for each
message. One task reads and runs the tab's actions in sequence; all else that the tab
is sent goes through its outbox.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer
from django.utils.translation import gettext_lazy as _

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend
from ..backends.types import Profile
from ..exceptions import LimitReached, SessionStoresError
from ..monitoring.tally import tally_of
from ..participants.tokens import Claims, check_standing, read_token
from ..store.admissions import admit
from . import protocol
from .connection import SYNC, Connection
from .dispatcher import Dispatcher
from .error_frames import close_of, error_frame, failure_frame
from .frame_head import FrameHead
from .frame_throttle import CHARACTERS, FrameThrottle, TooManyFrames
from .hub import Hub, current_hub
from .languages import language_of, use_language
from .lobby import current_lobby
from .origins import foreign_origin
from .protocol import BadFrame, Close, HelloFrame
from .token_bucket import TokenBucket
from .token_renewal import take_token
from .watch_frames import UnwatchFrame, WatchFrame

logger = logging.getLogger("sessionstores.delivery")

HELLO_SECONDS = 5.0
# For the last frame and the close: a tab that reads nothing must not hold us up.
CLOSE_SECONDS = 2.0
# Bad frames per minute before a connection is closed.
MAX_BAD_FRAMES = 20
# Frames in a row before other tabs have their turn: neither receiving a frame that
# waits nor work in memory yields.
STRIDE = 16

# Frames that are spent from a tab's budget together.
PAID_AT_ONCE = 16

HELLO = FrameHead(of="hello")

_FOREIGN = _("This page may not connect. Open it by the usual address of the site.")
_TOO_MANY_TABS = _(
    "This session is open in too many tabs. Close one, and this one connects by itself."
)

# A server reads on until the tab agrees to be closed, as fast as it can. One that keeps
# on sending is not asked to agree, which a server that names this version of the ASGI
# specification knows how to do: it cuts off the socket of an application that returns.
_FOR_SENDING = {Close.TOO_MANY_FRAMES, Close.TOO_MANY_BAD_FRAMES, Close.SLOW}
_CUTS_OFF = "2.3"
# Who has sent nothing for so long has stopped.
QUIET_SECONDS = 0.1


class _Denied(Exception):
    def __init__(self, close: Close, frame: str) -> None:
        super().__init__(frame)
        self.close = close
        self.frame = frame


class _ClientDisconnected(Exception):
    """The tab has closed its side."""


class StoreConsumer(AsyncConsumer):
    """Speaks `sessionstores.v1` with one tab; see `protocol` for the frames.

    A denied connection is accepted first: browsers hide why an opening fails.
    """

    hello_seconds = HELLO_SECONDS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection until it is closed, by either side."""
        if scope["type"] != "websocket":
            raise ValueError(
                f"StoreConsumer serves WebSockets, not {scope['type']!r} connections."
            )
        self.scope = scope
        self._send: Callable[[dict[str, Any]], Awaitable[None]] = send
        self._receive: Callable[[], Awaitable[dict[str, Any]]] = receive
        self._connection: Connection | None = None
        self._bad_frames = TokenBucket(MAX_BAD_FRAMES / 60, MAX_BAD_FRAMES)
        rate = conf.get().rate_limit
        self._throttle = FrameThrottle(rate) if rate else None
        # What this tab's frames count since its budget was asked.
        self._unpaid = 0.0
        if (await receive())["type"] != "websocket.connect":
            return
        offered = list(scope.get("subprotocols") or ())
        chosen = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        try:
            await send({"type": "websocket.accept", "subprotocol": chosen})
            close, farewell = await self._serve(offered)
            await self._close(close, farewell)
        except _ClientDisconnected:
            return
        finally:
            await self._leave()

    async def _serve(self, offered: list[str]) -> tuple[Close, str | None]:
        """Return the close code, and the frame to send before the close."""
        try:
            self._check_origin()
            if offered and protocol.SUBPROTOCOL not in offered:
                hint = f"The subprotocol must be {protocol.SUBPROTOCOL}."
                frame = failure_frame("unknown_protocol", hint)
                raise _Denied(Close.UNKNOWN_PROTOCOL, frame)
            hello = await self._hello()
            use_language(language_of(hello.lang))
            connection = await self._welcome(hello)
            await self._read(connection)
            return connection.closing or Close.NORMAL, connection.farewell
        except asyncio.CancelledError:
            ours = self._connection
            task = asyncio.current_task()
            if ours is None or ours.closing is None or task is None:
                raise
            task.uncancel()
            return ours.closing, ours.farewell
        except _Denied as denied:
            return denied.close, denied.frame
        except TooManyFrames as flood:
            limit = LimitReached(flood.hint, message=flood.message)
            return Close.TOO_MANY_FRAMES, error_frame(limit)
        except SessionStoresError as error:
            return close_of(error), error_frame(error, HELLO)
        except _ClientDisconnected:
            raise
        except Exception as error:
            logger.exception("A connection failed")
            return Close.INTERNAL, error_frame(error)

    def _check_origin(self) -> None:
        # In case the site's routing lacks a validator.
        if (origin := foreign_origin(self.scope["headers"])) is not None:
            hint = f"The origin {origin[:200]!r} may not connect; see ALLOWED_HOSTS."
            frame = failure_frame("forbidden", hint, message=_FOREIGN)
            raise _Denied(Close.FORBIDDEN, frame)

    async def _hello(self) -> HelloFrame:
        try:
            async with asyncio.timeout(self.hello_seconds) as limit:
                with current_lobby().waiting(self.scope, limit):
                    return await self._first_frame()
        except TimeoutError:
            frame = failure_frame("hello_timeout", "No hello came in time.")
            raise _Denied(Close.HELLO_TIMEOUT, frame) from None

    async def _first_frame(self) -> HelloFrame:
        while True:
            try:
                frame = await self._frame()
                if isinstance(frame, HelloFrame):
                    return frame
                head = protocol.head_of(frame)
                raise BadFrame("bad_frame", "The first frame must be hello.", head)
            except BadFrame as bad:
                await self._complain(bad, self._say)

    async def _welcome(self, hello: HelloFrame) -> Connection:
        """Join the hub, then send snapshots: commits between the two reach the tab."""
        backend = get_backend(blocking=False)
        claims = await self._identify(backend, hello)
        max_age = conf.get().token_max_age
        profile = await check_standing(backend, claims, max_age=max_age)
        admit(backend, claims.key)
        connection = self._open(backend, claims, hello, profile)
        try:
            connection.show(hello.meta)
        except BadFrame as bad:
            await self._complain(bad, self._say)
        self._connection = connection
        self._hub: Hub = current_hub()
        await self._hub.join(connection)
        await self._claim_place(connection)
        await connection.outbox.begin(*await self._greet(connection))
        await self._hub.admit(connection)
        tally_of(backend).reconnects += hello.runs is not None
        return connection

    async def _identify(self, backend: Backend, hello: HelloFrame) -> Claims:
        return read_token(hello.token, max_age=conf.get().token_max_age)

    def _open(
        self, backend: Backend, claims: Claims, hello: HelloFrame, profile: Profile
    ) -> Connection:
        return Connection(backend, claims, hello, self._send, profile)

    async def _greet(self, connection: Connection) -> list[str]:
        """Return the first frames, which are written before what comes meanwhile."""
        settings = conf.get()
        snapshots = [await connection.open(each) for each in connection.names.values()]
        welcome = protocol.welcome(
            session=connection.key.session,
            participant=connection.key.participant,
            role=connection.actor.role,
            name=connection.actor.name,
            client=connection.client,
            ping=settings.heartbeat,
            now=time.time(),
            rate=settings.rate_limit,
            frame=settings.max_frame_bytes,
        )
        return [welcome, *snapshots]

    async def _claim_place(self, connection: Connection) -> None:
        """Enforce `MAX_CONNECTIONS`; a tab may replace its own earlier connection.

        Only connections leased earlier count: of many that open at once, all see the
        same order, so that exactly `MAX_CONNECTIONS` get in.
        """
        found = await connection.backend.connections(connection.key)
        ours = [lease for lease in found if lease.connection == connection.id]
        place = (ours[0].since if ours else math.inf, connection.id)
        others = [
            lease
            for lease in found
            if lease.connection != connection.id and not lease.leaving
        ]
        connection.resumed = any(lease.leaving for lease in found) or any(
            lease.client == connection.client for lease in others
        )
        same = [lease for lease in others if lease.client == connection.client]
        earlier = [each for each in others if (each.since, each.connection) < place]
        # What the tab itself left behind, when its worker died, does not count.
        left = [lease for lease in same if lease in earlier]
        if len(earlier) - bool(left) >= conf.get().max_connections:
            error = LimitReached(
                f"{connection.key} has {len(earlier)} connections open already, and "
                "MAX_CONNECTIONS allows no more: close a tab first.",
                message=_TOO_MANY_TABS,
            )
            raise _Denied(Close.TOO_MANY_CONNECTIONS, error_frame(error, HELLO))
        for lease in left:
            if lease.connection not in self._hub.connections:
                # If its process is alive after all, it leases it again.
                nothing: frozenset[str] = frozenset()
                await connection.backend.release(lease._replace(follows=nothing))
        if same or not ours:
            # A duplicated tab has the client id of the one that it was copied from.
            connection.client = secrets.token_urlsafe(9)
            await self._hub.renew(connection)

    async def _read(self, connection: Connection) -> None:
        """Handle frames one after the other until either side closes."""
        dispatcher = Dispatcher(connection)
        connection.busy = False
        number = 0
        while connection.closing is None:
            try:
                frame = await self._frame()
            except BadFrame as bad:
                await self._complain(bad, connection.outbox.reply)
                continue
            if isinstance(frame, protocol.ActionFrame):
                await dispatcher.run(frame)
            elif isinstance(frame, protocol.PongFrame):
                if connection.outbox.pong():
                    dispatcher.confirm()
            elif isinstance(frame, protocol.ByeFrame):
                connection.close(Close.NORMAL)
            else:
                try:
                    await self._process(connection, frame)
                except BadFrame as bad:
                    await self._complain(bad, connection.outbox.reply)
            number += 1
            if not number % STRIDE:
                await asyncio.sleep(0)

    async def _process(self, connection: Connection, frame: protocol.Frame) -> None:
        if isinstance(frame, protocol.SyncFrame):
            await self._wait_for_reads()
            if not await connection.sync(frame.doc, frame.rev):
                text = f"There is no document {frame.doc!r} here."
                raise BadFrame("bad_frame", text, SYNC)
        elif isinstance(frame, protocol.TokenFrame):
            await self._wait_for_reads()
            await take_token(connection, frame.token)
        elif isinstance(frame, WatchFrame | UnwatchFrame):
            await self._wait_for_reads(await self._hub.watchers.take(connection, frame))
        elif isinstance(frame, protocol.MetaFrame):
            if connection.show(frame.data):
                self._hub.show(connection)
        else:
            head = protocol.head_of(frame)
            raise BadFrame("bad_frame", "Only the first frame may be hello.", head)

    async def _wait_for_reads(self, reads: float = 1) -> None:
        if self._throttle and (seconds := self._throttle.reads.spend(reads)):
            await self._throttle.wait(seconds)

    async def _frame(self) -> protocol.Frame:
        return protocol.parse(await self._text(), conf.get().max_frame_bytes)

    async def _text(self) -> str | None:
        """Return the text of the next frame, once it is paid for; None: it has none."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise _ClientDisconnected
        text: str | None = event.get("text")
        throttle = self._throttle
        if throttle is not None:
            self._unpaid += 1 + len(text or event.get("bytes") or "") / CHARACTERS
            # Several at once: most tabs never come near their budget.
            if self._unpaid >= PAID_AT_ONCE:
                seconds = throttle.frames.spend(self._unpaid)
                self._unpaid = 0.0
                if seconds:
                    await throttle.wait(seconds)
        return text

    async def _complain(
        self, bad: BadFrame, say: Callable[[str], Awaitable[None]]
    ) -> None:
        if not self._bad_frames.take():
            hint = f"More than {MAX_BAD_FRAMES} bad frames in a minute. {bad.hint}"
            frame = failure_frame("too_many_bad_frames", hint, bad.head)
            raise _Denied(Close.TOO_MANY_BAD_FRAMES, frame)
        await say(error_frame(bad))

    async def _say(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def _close(self, close: Close, farewell: str | None) -> None:
        if self._connection is not None:
            # From here on no other task closes it, which would cancel this one.
            self._connection.closing = close
            self._connection.outbox.stop()
        if farewell is not None:
            await self._try({"type": "websocket.send", "text": farewell})
        await self._leave(for_good=close < Close.TOKEN)
        if close in _FOR_SENDING and self._cuts_off and await self._keeps_sending():
            return
        reason = close.name.lower()
        await self._try(
            {"type": "websocket.close", "code": self._code(close), "reason": reason}
        )

    def _code(self, close: Close) -> int:
        return int(close)

    @property
    def _cuts_off(self) -> bool:
        version: str = self.scope.get("asgi", {}).get("spec_version", "")
        return version >= _CUTS_OFF

    async def _keeps_sending(self) -> bool:
        """Whether a frame waits to be read, or comes at once."""
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                event = await self._receive()
        except TimeoutError:
            return False
        return bool(event["type"] == "websocket.receive")

    async def _try(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._send(message)
        except Exception:  # noqa: BLE001
            # Servers differ in what they raise for a closed connection, if anything.
            logger.debug("A tab had closed before it was closed here")

    async def _leave(self, *, for_good: bool = False) -> None:
        if self._connection is not None:
            self._connection.outbox.stop()
            await self._hub.leave(self._connection, for_good=for_good)
