"""Publisher: takes events from the bus to the hubs of the processes they concern."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.core.signals import setting_changed
from django.db import connections
from django.dispatch import receiver

from .. import conf
from ..backends import get_backend, in_use
from ..backends.base import Backend, run
from ..concurrency.threads import BackgroundThread, Completion, start_system_thread
from ..event_bus import Failure, Hint
from ..monitoring.history import write_figures
from ..monitoring.log_limiter import log_limiter
from ..monitoring.tally import tally_of
from ..monitoring.workers import has_news, report_news
from . import serializers
from .channel_layer import LAYER_SECONDS, MESSAGE_TYPE, counters, reaches_others
from .hub import Hub, hubs
from .timeline import timeline, write_timeline

logger = logging.getLogger("sessionstores.delivery")

# Events of one loop that wait for the layer; further ones are left to the heartbeats.
MAX_WAITING = 1_000


class Publisher:
    """Delivers this process's events: to its own hubs, and through the channel layer.

    Code in an event loop has its events sent by a task of that loop, other code by one
    background thread.
    """

    def __init__(self) -> None:
        self._senders: WeakKeyDictionary[asyncio.AbstractEventLoop, _LayerSender] = (
            WeakKeyDictionary()
        )
        # The thread stays once it has begun, since each new loop would be a new
        # connection of the layer.
        self._background = BackgroundThread(
            "sessionstores-publisher",
            _PublisherThread,
            join_seconds=LAYER_SECONDS,
            has_loop=True,
        )
        # The layer that was used last, and whether it reaches other processes.
        self._layer: Any = None
        self._reaches_others = False

    def publish(self, event: Hint) -> None:
        """Deliver an event; a listener of the event bus.

        Raises nothing that the layer does: events are hints, and heartbeats compare
        heads. Without a running event loop it returns when the layer has the event,
        after `LAYER_SECONDS` at the latest, and at once while the layer fails.
        """
        here: list[Hub] = []
        elsewhere: list[str] = []
        for process in event.followers:
            hub = hubs.get(process)
            if hub is None:
                elsewhere.append(process)
            else:
                here.append(hub)
        # First, so that no tab of this process waits for the layer.
        for hub in here:
            hub.deliver(event)
        if elsewhere:
            self._send(event, elsewhere)

    def write_timeline_later(self, since: float) -> None:
        """Have the background thread write the timeline a heartbeat from now.

        Where this process has tabs, their heartbeat writes it.
        """
        if hubs:
            return
        with self._background.worker() as thread:
            thread.write_timeline_later(since, conf.get().heartbeat)
        self.report_later()

    def report_later(self, event: Failure | None = None) -> None:
        """Have the background thread write the figures of this process, likewise.

        A listener of the event bus.
        """
        if hubs:
            return
        backend = get_backend(blocking=False)
        with self._background.worker() as thread:
            thread.report_later(backend, conf.get().heartbeat)

    @property
    def is_cut_off(self) -> bool:
        """Whether the layer did not take the last event of code without a loop."""
        if not self._background.is_running:
            return False
        with self._background.worker() as thread:
            return not thread.sender.works

    def close(self) -> None:
        """End the background thread and its connections; the next event starts one."""
        self._background.close()

    def _send(self, event: Hint, processes: Sequence[str]) -> None:
        layer = get_channel_layer()
        if layer is not self._layer:
            self._reaches_others, self._layer = reaches_others(layer), layer
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if layer is None or (loop is None and not self._reaches_others):
            counters.dropped += len(processes)
            _count_dropped(len(processes))
        elif loop is None:
            self._send_from_thread(event, processes)
        else:
            sender = self._senders.get(loop)
            if sender is None:
                sender = self._senders[loop] = _LayerSender()
            sender.enqueue(event, processes)

    def _send_from_thread(self, event: Hint, processes: Sequence[str]) -> None:
        done = Completion()
        with self._background.worker() as thread:
            works = thread.sender.works
            thread.loop.call_soon_threadsafe(
                thread.sender.enqueue, event, processes, done
            )
        if works:
            done.wait(LAYER_SECONDS)


_Waiting = tuple[Hint | str, Sequence[str], Completion | None]


def _encoded(event: Hint) -> str:
    """Return an event as the layer carries it; log it if that fails, and return ""."""
    try:
        return serializers.encode(event)
    except Exception:
        logger.exception("Delivery of %s failed", type(event).__name__)
        return ""


def _count_dropped(messages: int) -> None:
    tally_of(get_backend(blocking=False)).dropped += messages


def _warn(text: str, about: object) -> None:
    # Each commit comes here in an outage.
    limiter = log_limiter(get_backend(blocking=False))
    limiter.log(logger, logging.WARNING, text, about)


class _LayerSender:
    """Sends events from one event loop to the channel layer, in order."""

    def __init__(self) -> None:
        # Whether the layer took the last event.
        self.works = True
        # Events, or their encoded form, with their processes and the caller's future.
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    def enqueue(
        self, event: Hint, processes: Sequence[str], done: Completion | None = None
    ) -> None:
        """Have an event sent to processes; `done` resolves then, or if it is dropped.

        Call it in the loop. An event that need not wait is encoded in the sending task:
        past the answer to the tab that acted, and in the background thread for code
        without a loop. One that waits is encoded now, and keeps no states in memory.
        """
        if len(self._waiting) >= MAX_WAITING:
            counters.dropped += len(processes)
            _count_dropped(len(processes))
            if done is not None:
                done.set()
            return
        if self._task is None:
            self._waiting.append((event, processes, done))
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            self._waiting.append((_encoded(event), processes, done))

    async def _run(self) -> None:
        try:
            while self._waiting:
                event, processes, done = self._waiting.popleft()
                body = event if isinstance(event, str) else _encoded(event)
                del event
                if body:
                    try:
                        await self._send(processes, body)
                    except Exception as error:  # noqa: BLE001 - layers raise anything
                        _warn("The channel layer could not be asked: %r", error)
                if done is not None:
                    done.set()
        finally:
            self._task = None

    async def _send(self, processes: Sequence[str], body: str) -> None:
        layer: Any = get_channel_layer()
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
                        _count_dropped(1)
                        _warn(
                            "%s reads too slowly; its heartbeat must catch up", process
                        )
                    except Exception as error:  # noqa: BLE001 - layers raise anything
                        works = False
                        counters.failed += 1
                        _count_dropped(1)
                        self._log_failure(error)
                    else:
                        counters.sent += 1
        except TimeoutError as error:
            works = False
            counters.failed += left + 1
            _count_dropped(left + 1)
            self._log_failure(error)
        if works and not self.works:
            text = "The channel layer takes events again"
            log_limiter(get_backend(blocking=False)).log(logger, logging.INFO, text)
        self.works = works

    def _log_failure(self, error: Exception) -> None:
        self.works = False
        _warn("The channel layer takes no events; heartbeats must catch up: %r", error)


class _PublisherThread:
    """Work of the background thread: an event loop that sends and writes timelines."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.sender = _LayerSender()
        self._stopping = asyncio.Event()
        self._writes: set[asyncio.Task[None]] = set()
        # Until then, by `time.monotonic`, a report to this backend is on its way.
        self._reporting_until = -math.inf
        self._backend: Backend | None = None

    def run(self) -> None:
        """Run the loop until `stop`; then write the timeline and close connections."""
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())
        # Blocking: an interpreter that exits starts no threads for coroutines.
        if start_system_thread() is None:
            run(write_timeline(blocking=True))
            run(self._report_news(blocking=True))
        connections.close_all()

    def stop(self) -> None:
        """Have `run` return soon."""
        with suppress(RuntimeError):  # The loop is closed.
            self.loop.call_soon_threadsafe(self._stopping.set)

    def write_timeline_later(self, since: float, delay: float) -> None:
        """Have `Timeline.flush_since` run in `delay` seconds; from any thread."""
        self.loop.call_soon_threadsafe(
            self.loop.call_later, delay, self._write_timeline, since
        )

    def report_later(self, backend: Backend, delay: float) -> None:
        """Have the figures about a backend written in `delay` seconds; from any thread.

        Unless they are to be, or the backend is dropped meanwhile: this process then
        is of another site. Of two threads at once, each may have them written.
        """
        now = time.monotonic()
        if backend is self._backend and now < self._reporting_until:
            return
        self._backend, self._reporting_until = backend, now + delay
        self.loop.call_soon_threadsafe(
            self.loop.call_later, delay, self._report, backend
        )

    def _write_timeline(self, since: float) -> None:
        self._start(timeline.flush_since(since))

    def _report(self, backend: Backend) -> None:
        if in_use(backend, blocking=False):
            self._start(self._write_figures(backend))

    async def _write_figures(self, backend: Backend) -> None:
        await write_figures(backend, last=True)
        # The cache did not take them. What failed in an outage is to be told after it,
        # whether or not anything fails then.
        if has_news(backend) and not hubs and not self._stopping.is_set():
            self.report_later(backend, conf.get().heartbeat)

    async def _report_news(self, *, blocking: bool) -> None:
        """Write the figures that the last report would have; raise nothing."""
        if self._backend and (backend := in_use(self._backend, blocking=blocking)):
            await report_news(backend)

    def _start(self, write: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _serve(self) -> None:
        await self._stopping.wait()
        # Cancelled, they would lose what they are writing.
        if self._writes:
            await asyncio.wait(self._writes)
        # Blocking code would take the connections of greenlets, which belong to their
        # thread.
        if start_system_thread() is not None:
            await write_timeline()
            await self._report_news(blocking=False)


publisher = Publisher()


@receiver(setting_changed)
def _close_connections(*, setting: str, **kwargs: Any) -> None:
    if setting in {"CACHES", "CHANNEL_LAYERS", "DATABASES"}:
        publisher.close()
