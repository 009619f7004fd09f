"""This process's channel of the channel layer: taken, read, probed and replaced."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from channels import DEFAULT_CHANNEL_LAYER
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from ..concurrency import Backoff
from . import serializers

logger = logging.getLogger("sessionstores.delivery")

MESSAGE_TYPE = "sessionstores.event"
LAYER_SECONDS = 1.0
# Pauses before a layer that failed is tried again.
RECONNECT = Backoff(0.1, 5.0)


@dataclass(slots=True)
class LayerCounters:
    """What delivery did in this process; hints that were lost cost a heartbeat.

    Events are counted once for each process that they go to. `sent`: the layer took
    it. `full`: the layer refused it, since that process has left too many unread; only
    layers with a capacity do, not the one on publish/subscribe. `failed`: the layer
    raised or took longer than `LAYER_SECONDS`, for an event, a probe, or repeatedly
    while reading. `dropped`: it was not tried, for want of a layer that reaches other
    processes, or with `MAX_WAITING` events before it.

    `received`: messages from the layer, probes apart. `unknown`: those of them that
    this version cannot read. `silent`: times that a probe did not come back within a
    heartbeat, so that this process took a new channel.
    """

    sent: int = 0
    received: int = 0
    unknown: int = 0
    full: int = 0
    failed: int = 0
    dropped: int = 0
    silent: int = 0


counters = LayerCounters()


def reaches_others(layer: Any) -> bool:
    """Tell whether a channel layer goes beyond this process."""
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


class Channel:
    """The channel by which others reach one event loop, and the task that reads it.

    `taken` is told the name of each channel that it takes, `deliver` gets the events.
    """

    def __init__(
        self,
        taken: Callable[[str], None],
        deliver: Callable[[serializers.Delivery], None],
    ) -> None:
        self._taken = taken
        self._deliver = deliver
        self._layer: Any = None
        # Whether the layer is ours alone, taken in the place of one that fell silent.
        self._private = False
        self._name = ""
        self._listening: asyncio.Task[None] | None = None
        # A probe is on its way, and nothing has come in since it was sent.
        self._unheard = False

    async def open(self) -> None:
        """Take a channel of the default layer, if there is one, and read it.

        Never raises for what the layer does: it is tried again until it works.
        """
        self._layer = get_channel_layer()
        self._private = False
        if self._layer is not None:
            await self._listen_anew()

    async def close(self) -> None:
        """Read no more, and close the connections that nobody else uses."""
        await end([self._listening] if self._listening else [])
        self._listening = None
        if self._private:
            self._private = False
            await close_layer(self._layer)

    async def probe(self) -> None:
        """Take a new channel if the last probe did not come back, and send another.

        A layer whose connection is gone may wait for good, and never tell.
        """
        if not (self._name and reaches_others(self._layer)):
            return
        if self._unheard:
            counters.silent += 1
            logger.warning("%s has fallen silent; taking a new channel", self._name)
            await self.close()
            # It may share a dead connection among all its channels.
            self._layer = channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)
            self._private = True
            await self._listen_anew()
        self._unheard = True
        try:
            async with asyncio.timeout(LAYER_SECONDS):
                message = {"type": MESSAGE_TYPE, "body": serializers.PROBE}
                await self._layer.send(self._name, message)
        except ChannelFull:
            counters.full += 1
        except Exception as error:  # noqa: BLE001 - layers raise what their clients do
            self._unheard = False
            counters.failed += 1
            logger.warning("The channel layer takes no probe: %r", error)

    async def _listen_anew(self) -> None:
        self._name = ""
        self._unheard = False
        try:
            await self._acquire()
        except Exception:
            counters.failed += 1
            logger.exception("No channel yet: heads must tell what others commit")
        finally:
            self._listening = asyncio.create_task(self._listen())

    async def _acquire(self) -> None:
        async with asyncio.timeout(LAYER_SECONDS):
            self._name = await self._layer.new_channel()
        self._taken(self._name)

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            since = math.inf
            try:
                if not self._name:
                    await self._acquire()
                since = loop.time()
                message = await self._layer.receive(self._name)
            except Exception as error:  # noqa: BLE001 - as above
                if loop.time() - since > LAYER_SECONDS:
                    # It was connected: redis-py ends reads that are idle for 5 s.
                    failures = 0
                failures += 1
                self._note(failures, error)
                await asyncio.sleep(RECONNECT.delay(failures - 1))
            else:
                failures = 0
                self._receive(message)

    def _note(self, failures: int, error: Exception) -> None:
        """Count and log what went wrong, once in an outage."""
        if failures == 1:
            logger.info("Reading the channel layer ended, and goes on: %r", error)
            return
        counters.failed += 1
        if failures == 2:
            logger.warning(
                "The channel layer failed; it is tried again until it works",
                exc_info=error,
            )

    def _receive(self, message: Mapping[str, Any]) -> None:
        self._unheard = False
        try:
            if message["type"] != MESSAGE_TYPE:
                raise ValueError(message["type"])
            event = serializers.decode(message["body"])
        except (KeyError, TypeError, ValueError):
            # Another version's, in a rolling deploy: what it says shows in the heads.
            counters.received += 1
            counters.unknown += 1
            return
        if isinstance(event, serializers.LayerProbe):
            return
        counters.received += 1
        try:
            self._deliver(event)
        except Exception:
            logger.exception("Delivery of %s failed", type(event).__name__)


async def close_layer(layer: Any) -> None:
    """Close a channel layer's connections of this event loop, as far as it can."""
    # Of the two on Redis, one has this for it and the other `flush`, which in the
    # first, as in others maybe, deletes what is everybody's.
    names = {each.__name__ for each in type(layer).__mro__}
    how = "flush" if "RedisPubSubChannelLayer" in names else "close_pools"
    try:
        async with asyncio.timeout(LAYER_SECONDS):
            if hasattr(layer, how):
                await getattr(layer, how)()
    except Exception as error:  # noqa: BLE001 - layers raise what their clients do
        logger.info("A channel layer's connections did not close: %r", error)


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks and return when they are over."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        # A layer may first take its leave of a server that is gone; then once more.
        _, pending = await asyncio.wait(pending, timeout=LAYER_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
