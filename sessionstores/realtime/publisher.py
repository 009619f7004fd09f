"""Takes events from the lower layers to the hubs of the processes that they concern."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.db import connections

from .. import conf
from ..backends.base import run
from ..event_bus import Event, Note, bus
from . import serializers
from .channel_layer import LAYER_SECONDS, MESSAGE_TYPE, counters, reaches_others
from .hub import hubs
from .timeline import timeline, write_timeline

logger = logging.getLogger("sessionstores.delivery")

# Events of one loop that wait for the layer; past that, heads must tell.
MAX_WAITING = 1_000

Parcel = tuple[tuple[str, ...], str]


def broadcast(event: Event) -> None:
    """Hand an event to this process's hubs, and to the others through the layer.

    Never raises for what the layer does: it is a hint, and the heartbeat compares
    heads. Where no event loop runs, it returns when the layer has the event, after
    `LAYER_SECONDS` at the latest, and at once while the layer takes nothing.
    """
    if isinstance(event, Note):
        return
    others = []
    for process in event.followers:
        hub = hubs.get(process)
        if hub is None:
            others.append(process)
        else:
            hub.deliver(event)
    if not others:
        return
    layer = get_channel_layer()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if layer is None or (loop is None and not reaches_others(layer)):
        counters.dropped += len(others)
        return
    parcel = tuple(others), serializers.encode(event)
    if loop is None:
        _publisher.publish(parcel)
    else:
        _loop_publisher(loop).take(parcel)


def see_to_timeline() -> None:
    """Have it written by the publisher's loop where no heartbeat does that."""
    if not hubs:
        _publisher.write_soon()


class _LoopPublisher:
    """Sends a loop's parcels one after the other, so that they stay in order."""

    def __init__(self) -> None:
        # Whether the layer took what it was given last.
        self.works = True
        self._parcels: deque[tuple[Parcel, Future[None] | None]] = deque()
        self._task: asyncio.Task[None] | None = None

    def take(self, parcel: Parcel, done: Future[None] | None = None) -> None:
        """Queue a parcel; `done` is told when it has been sent, or given up."""
        if len(self._parcels) >= MAX_WAITING:
            counters.dropped += len(parcel[0])
            if done is not None:
                done.set_result(None)
            return
        self._parcels.append((parcel, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._parcels:
                parcel, done = self._parcels.popleft()
                await self._send(parcel)
                if done is not None:
                    done.set_result(None)
        finally:
            self._task = None

    async def _send(self, parcel: Parcel) -> None:
        layer: Any = get_channel_layer()
        processes, body = parcel
        left = len(processes)
        works = True
        try:
            async with asyncio.timeout(LAYER_SECONDS):
                for process in processes:
                    left -= 1
                    try:
                        message = {"type": MESSAGE_TYPE, "body": body}
                        await layer.send(process, message)
                    except ChannelFull:
                        counters.full += 1
                        logger.warning(
                            "%s reads too slowly; heads must tell it", process
                        )
                    except Exception as error:  # noqa: BLE001 - layers raise anything
                        works = False
                        counters.failed += 1
                        self._complain(error)
                    else:
                        counters.sent += 1
        except TimeoutError as error:
            works = False
            counters.failed += left + 1
            self._complain(error)
        if works and not self.works:
            logger.info("The channel layer takes events again")
        self.works = works

    def _complain(self, error: Exception) -> None:
        # Once in an outage: each commit comes here.
        if self.works:
            self.works = False
            logger.warning(
                "The channel layer takes no events, so heads must tell: %r", error
            )


_couriers: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopPublisher] = (
    WeakKeyDictionary()
)


def _loop_publisher(loop: asyncio.AbstractEventLoop) -> _LoopPublisher:
    courier = _couriers.get(loop)
    if courier is None:
        courier = _couriers[loop] = _LoopPublisher()
    return courier


class _ThreadPublisher:
    """The thread whose event loop sends what code without a loop has to say.

    It writes the timeline, too, while this process has no tabs. It starts with the
    first of these and stays, since each new loop would be a new connection of the
    layer. It ends before a fork, so that no process shares its sockets with a child,
    and at exit; what comes later starts another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def publish(self, parcel: Parcel) -> None:
        """Have a parcel sent, and wait for that unless the last one failed."""
        done: Future[None] = Future()
        with self._lock:
            if self._thread is None:
                self._start()
            self._loop.call_soon_threadsafe(self._courier.take, parcel, done)
            works = self._courier.works
        if works:
            with suppress(TimeoutError):
                done.result(LAYER_SECONDS)

    def write_soon(self) -> None:
        """Have the timeline written a heartbeat from now, or when the thread ends."""
        delay = conf.get().heartbeat
        with self._lock:
            if self._thread is None:
                self._start()
            loop, due = self._loop, self._due
            loop.call_soon_threadsafe(lambda: loop.call_later(delay, due.set))

    def close(self) -> None:
        """End the thread, and with it its connections."""
        with self._lock:
            self._close()

    def before_fork(self) -> None:
        """End the thread, and let nobody start another before the fork is done."""
        self._lock.acquire()
        self._close()

    def after_fork(self) -> None:
        """Let parent and child each start a thread of their own."""
        self._lock.release()

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._due = asyncio.Event()
        self._courier = _LoopPublisher()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._loop, self._stop, self._due),
            name="sessionstores-publisher",
            daemon=True,
        )
        self._thread.start()

    @staticmethod
    def _run(
        loop: asyncio.AbstractEventLoop, stop: asyncio.Event, due: asyncio.Event
    ) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_write_until(stop, due))
        # In this flavour, since an interpreter that exits starts no threads any more.
        run(write_timeline(blocking=True))
        connections.close_all()

    def _close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(LAYER_SECONDS)


async def _write_until(stop: asyncio.Event, due: asyncio.Event) -> None:
    """Write the timeline whenever it is due."""
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        waiting = asyncio.create_task(due.wait())
        await asyncio.wait((stopping, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if due.is_set():
            due.clear()
            await write_timeline()


_publisher = _ThreadPublisher()
atexit.register(_publisher.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_publisher.before_fork,
        after_in_parent=_publisher.after_fork,
        after_in_child=_publisher.after_fork,
    )

timeline.due = see_to_timeline
bus.subscribers.extend((broadcast, timeline.take))
