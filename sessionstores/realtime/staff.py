"""Staff's WebSocket: notifies admin pages that sessions have changed.

Notifications are hints, at most one a second: the page then asks for what it shows.
Without them it asks at the chosen interval.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from hashlib import blake2b
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.signals import setting_changed
from django.db import Error
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare, salted_hmac

from .. import conf
from ..concurrency.threads import mutex
from ..event_bus import Serving
from .channel_layer import LAYER_SECONDS, reaches_others
from .hub import hubs
from .lobby import current_lobby
from .timeline import timeline

logger = logging.getLogger("sessionstores.admin")

STAFF_PATH = "ws/sessionstores/staff/"
STAFF_SALT = "sessionstores.staff"
# How long a token is valid, from the rendering of its page.
TOKEN_SECONDS = 120
HELLO_SECONDS = 5.0
# Between two notifications, and between two checks of the permission.
NUDGE_SECONDS = 1.0
RECHECK_SECONDS = 30.0
# After the first change of a quiet time, to notify of what follows closely as well.
SETTLE_SECONDS = 0.05
MAX_FRAME = 4_096
# Sessions that a notification names; above that, it means all of them.
MAX_CODES = 100
EVERY_CODE = "*"

# Of a site whose keys begin as they do by default; see `staff_group`.
GROUP = "sessionstores.staff"
# Marks this process's own messages, which the layer brings back to it.
ORIGIN = secrets.token_hex(8)

FORBIDDEN = 4003
HELLO_TIMEOUT = 4008


def staff_group() -> str:
    """Return the group of this site's admin pages: others may share the layer."""
    prefix = conf.get().key_prefix
    if prefix == conf.Conf().key_prefix:
        return GROUP
    return f"{GROUP}.{blake2b(prefix.encode(), digest_size=8).hexdigest()}"


def make_staff_token(request: HttpRequest) -> str:
    """Return a signed token of the user, for the first frame of the page's socket."""
    user: Any = request.user
    return signing.dumps([str(user.pk), _mark(user)], salt=STAFF_SALT)


def _mark(user: Any) -> str:
    # Changes with the password, which signs people out everywhere.
    own = user.get_session_auth_hash()
    return salted_hmac(STAFF_SALT, own, algorithm="sha256").hexdigest()


def allowed_user(pk: str, mark: str) -> bool:
    """Whether that user may see the overview now."""
    try:
        user: Any = get_user_model()._default_manager.get(pk=pk)
    except (get_user_model().DoesNotExist, ValueError, ValidationError):
        return False
    return (
        user.is_active
        and user.is_staff
        and constant_time_compare(_mark(user), mark)
        and user.has_perm("sessionstores.view_dashboard")
    )


class StaffConsumer(AsyncWebsocketConsumer):
    """One admin page's connection. The page sends a token and a topic; see `receive`.

    It receives `{"type":"ready"}`, again in `RECHECK_SECONDS`, since proxies close idle
    connections, and `{"type":"changed"}` after each change.
    """

    async def connect(self) -> None:
        """Accept, and wait for the token."""
        self.loop = asyncio.get_running_loop()
        self.topic = ""
        self._who: list[str] | None = None
        self._changed = False
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        await self.accept()
        self._deadline = self._task(self._expect_token())

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Handle `{"token": "…", "topic": "K7Q2ZD"}`, once; topic "": all sessions."""
        if self._who is not None:
            return
        who, topic = _read(text_data)
        if who is None or not await database_sync_to_async(allowed_user)(*who):
            await self.close(FORBIDDEN)
            return
        self._who, self.topic = who, topic
        self._deadline.cancel()
        self._task(self._recheck(*who))
        nudger.watching.add(self)
        nudger.start()
        await self._join()
        await self._say("ready")

    async def disconnect(self, code: int) -> None:
        """Stop listening."""
        nudger.watching.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        layer = get_channel_layer()
        if layer is not None and self._who is not None:
            try:
                await layer.group_discard(staff_group(), self.channel_name)
            except Exception as error:  # noqa: BLE001 - layers raise anything
                logger.info("A closed page was not removed from its group: %r", error)

    async def nudge(self, event: dict[str, Any]) -> None:
        """Handle a notification from another process; Channels calls it by its type."""
        if event["origin"] != ORIGIN:
            self.notice(event["codes"])

    def notice(self, codes: list[str]) -> None:
        """Notify the page if it shows one of `codes`, once in `NUDGE_SECONDS`."""
        if self.topic and self.topic not in codes and EVERY_CODE not in codes:
            return
        self._changed = True
        if self._timer is None:
            wait = max(self._next - self.loop.time(), 0)
            self._timer = self.loop.call_later(wait, self._notify)

    def _notify(self) -> None:
        self._timer = None
        if self._changed and self in nudger.watching:
            self._changed = False
            self._next = self.loop.time() + NUDGE_SECONDS
            self._task(self._say("changed"))

    async def _say(self, kind: str) -> None:
        try:
            await self.send(f'{{"type":"{kind}"}}')
        except Exception:  # noqa: BLE001
            # Servers differ in what they raise once the page has closed, if anything.
            logger.debug("A page was closed before it was notified")

    def _task(self, coroutine: Any) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _join(self) -> None:
        layer = get_channel_layer()
        if layer is not None:
            try:
                async with asyncio.timeout(LAYER_SECONDS):
                    await layer.group_add(staff_group(), self.channel_name)
            except Exception as error:  # noqa: BLE001 - layers raise anything
                logger.info("A page is notified by this process only: %r", error)

    async def _expect_token(self) -> None:
        """Close if no token comes in time, or too many newer pages have none yet."""
        try:
            async with asyncio.timeout(HELLO_SECONDS) as limit:
                with current_lobby().waiting(self.scope, limit):
                    await asyncio.Event().wait()
        except TimeoutError:
            await self.close(HELLO_TIMEOUT)

    async def _recheck(self, pk: str, mark: str) -> None:
        """Close when the user loses the permission; until then, say so now and then."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                allowed = await database_sync_to_async(allowed_user)(pk, mark)
            except Error as error:
                logger.info("Whether a page may listen on is asked again: %r", error)
                allowed = True
            if not allowed:
                nudger.watching.discard(self)
                await self.close(FORBIDDEN)
                return
            await self._say("ready")


def _read(text: str | None) -> tuple[list[str] | None, str]:
    try:
        if text is None or len(text) > MAX_FRAME:
            return None, ""
        frame = msgspec.json.decode(text, type=dict[str, str])
        content = signing.loads(
            frame.get("token", ""), salt=STAFF_SALT, max_age=TOKEN_SECONDS
        )
    except (ValueError, signing.BadSignature):
        return None, ""
    return content, frame.get("topic", "")


class StaffNudger:
    """Notifies the admin pages that watch of the sessions that have changed here.

    Once in `NUDGE_SECONDS`, from an event loop that serves tabs or staff. Where there
    is none, as in a command, nothing is sent: pages learn of it when they ask.
    """

    def __init__(self) -> None:
        # The admin pages that are connected to this process.
        self.watching: set[StaffConsumer] = set()
        self._next = 0.0
        self._sends: set[asyncio.Task[None]] = set()
        self.clear()

    def clear(self) -> None:
        """Drop the codes that wait to be sent."""
        self._codes: set[str] = set()
        self._lock = mutex()
        # The loop that is about to send what is gathered.
        self._planned: asyncio.AbstractEventLoop | None = None

    def start(self, event: Serving | None = None) -> None:
        """Note every session that changes from here on; also a bus listener."""
        timeline.rearm()

    def note(self, code: str) -> None:
        """Remember a session that has changed; the timeline calls it, in any thread."""
        loop = self._planned
        if loop is not None and not loop.is_closed():
            # Under the GIL, adding to a set is one step.
            self._codes.add(code)
            return
        if not (hubs or self.watching) or (loop := self._serving()) is None:
            return
        with self._lock:
            self._codes.add(code)
            if self._planned is None or self._planned.is_closed():
                self._planned = loop
                loop.call_soon_threadsafe(self._plan, loop)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        wait = max(self._next - loop.time(), SETTLE_SECONDS)
        loop.call_later(wait, self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next = loop.time() + NUDGE_SECONDS
        # First, so that no change is missed between the two.
        timeline.rearm()
        with self._lock:
            codes, self._codes = sorted(self._codes), set()
            self._planned = None
        if not codes:
            return
        if len(codes) > MAX_CODES:
            codes = [EVERY_CODE]
        for consumer in list(self.watching):
            if not consumer.loop.is_closed():
                consumer.loop.call_soon_threadsafe(consumer.notice, codes)
        layer = get_channel_layer()
        if layer is not None and reaches_others(layer):
            self._sends.add(task := loop.create_task(_send(layer, codes)))
            task.add_done_callback(self._sends.discard)

    def _serving(self) -> asyncio.AbstractEventLoop | None:
        for hub in list(hubs.values()):
            if not hub.loop.is_closed():
                return hub.loop
        for consumer in list(self.watching):
            if not consumer.loop.is_closed():
                return consumer.loop
        return None


async def _send(layer: Any, codes: list[str]) -> None:
    try:
        async with asyncio.timeout(LAYER_SECONDS):
            await layer.group_send(
                staff_group(), {"type": "nudge", "codes": codes, "origin": ORIGIN}
            )
    except Exception as error:  # noqa: BLE001 - layers raise anything
        logger.debug("The staff of other processes are not notified: %r", error)


nudger = StaffNudger()


@receiver(setting_changed)
def _drop_for_another_backend(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "CHANNEL_LAYERS", "SESSIONSTORES", "DATABASES"}:
        nudger.clear()


if hasattr(os, "register_at_fork"):
    # The parent sends its own codes, and its lock may be held at the fork.
    os.register_at_fork(after_in_child=nudger.clear)
