"""Takes events from the lower layers to the hubs of the processes that they concern."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer

from . import events
from .hub import LAYER_SECONDS, MESSAGE_TYPE, counters, hubs
from .signals import Event, outlet

logger = logging.getLogger("sessionstores.delivery")

# Events of one loop that wait for the layer; past that, heads must tell.
MAX_WAITING = 1_000

Parcel = tuple[tuple[str, ...], str]


def broadcast(event: Event) -> None:
    """Hand an event to this process's hubs, and to the others through the layer.

    Never raises for what the layer does: it is a hint, and the heartbeat compares
    heads. Waits for the layer only where no event loop runs.
    """
    others = []
    for process in event.followers:
        hub = hubs.get(process)
        if hub is None:
            others.append(process)
        else:
            hub.deliver(event)
    if not others:
        return
    if get_channel_layer() is None:
        counters.dropped += len(others)
        return
    parcel = tuple(others), events.encode(event)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async_to_sync(_send)(parcel)
    else:
        _courier(loop).take(parcel)


class _Courier:
    """Sends a loop's parcels one after the other, so that they stay in order."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()
        self._task: asyncio.Task[None] | None = None

    def take(self, parcel: Parcel) -> None:
        if len(self._parcels) >= MAX_WAITING:
            counters.dropped += len(parcel[0])
            return
        self._parcels.append(parcel)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._parcels:
                await _send(self._parcels.popleft())
        finally:
            self._task = None


_couriers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Courier] = WeakKeyDictionary()


def _courier(loop: asyncio.AbstractEventLoop) -> _Courier:
    courier = _couriers.get(loop)
    if courier is None:
        courier = _couriers[loop] = _Courier()
    return courier


async def _send(parcel: Parcel) -> None:
    layer: Any = get_channel_layer()
    processes, body = parcel
    for process in processes:
        try:
            async with asyncio.timeout(LAYER_SECONDS):
                await layer.send(process, {"type": MESSAGE_TYPE, "body": body})
        except ChannelFull:
            counters.full += 1
            logger.warning("%s reads too slowly; heads must tell it", process)
        except Exception:
            counters.failed += 1
            logger.exception("The channel layer did not take an event")
        else:
            counters.sent += 1


outlet.subscribers.append(broadcast)
