"""Channel of the channel layer: acquired, read, probed, and replaced if silent."""

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

from ..backends import get_backend
from ..concurrency.backoff import Backoff
from ..monitoring.log_limiter import LogLimiter, log_limiter, suffix
from . import serializers

logger = logging.getLogger("sessionstores.delivery")

MESSAGE_TYPE = "sessionstores.event"
LAYER_SECONDS = 1.0
# Pauses before a failed layer is tried again.
RECONNECT = Backoff(0.1, 5.0)


@dataclass(slots=True)
class LayerCounters:
    """Counts of delivery between processes; a lost hint delays tabs by a heartbeat.

    Events are counted once for each process that they go to. `sent`: the layer took
    it. `full`: the layer refused it, since that process has left too many unread; only
    layers with a capacity do, not the one on publish/subscribe. `failed`: the layer
    raised or took longer than `LAYER_SECONDS`, for an event, a probe, or repeatedly
    while reading. `dropped`: it was not tried, without a layer that reaches other
    processes, or behind `MAX_WAITING` other events.

    `received`: messages from the layer, probes apart. `unknown`: those of them that
    this version cannot decode. `silent`: times that a probe did not come back within a
    heartbeat, so that this process acquired a new channel.
    """

    sent: int = 0
    received: int = 0
    unknown: int = 0
    full: int = 0
    failed: int = 0
    dropped: int = 0
    silent: int = 0


counters = LayerCounters()


class OneLineFilter(logging.Filter):
    """Lets one record of each text through in a heartbeat, without its traceback.

    For the layer on publish/subscribe, which logs one for each attempt to reconnect.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limiter = LogLimiter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; makes it one line with a count."""
        more = self._limiter.admit(record.msg)
        if more is None:
            return False
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() + (f": {error!r}" if error else "")
        record.msg, record.args, record.exc_info = text + suffix(more), (), None
        return True


_one_line = OneLineFilter()


def _warn(text: str, about: object) -> None:
    limiter = log_limiter(get_backend(blocking=False))
    limiter.log(logger, logging.WARNING, text, about)


def reaches_others(layer: Any) -> bool:
    """Whether a channel layer reaches other processes."""
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


class Channel:
    """The channel by which others reach one event loop, and the task that reads it.

    `renamed` is called with the name of each channel that it acquires, `deliver` with
    the events.
    """

    def __init__(
        self,
        renamed: Callable[[str], None],
        deliver: Callable[[serializers.Delivery], None],
    ) -> None:
        self._renamed = renamed
        self._deliver = deliver
        self._layer: Any = None
        # Whether the layer is ours alone, in the place of one that fell silent.
        self._private = False
        self._name = ""
        self._listening: asyncio.Task[None] | None = None
        # A probe was sent, and nothing has been received since.
        self._unheard = False

    async def open(self) -> None:
        """Acquire a channel of the default layer, if there is one, and read it.

        Raises nothing that the layer does: it is tried again until it works.
        """
        logging.getLogger("channels_redis.pubsub").addFilter(_one_line)
        self._layer = get_channel_layer()
        self._private = False
        if self._layer is not None:
            await self._listen_anew()

    async def close(self) -> None:
        """Stop reading, and close the layer's connections if it is ours alone."""
        await end([self._listening] if self._listening else [])
        self._listening = None
        if self._private:
            self._private = False
            await close_layer(self._layer)

    async def probe(self) -> None:
        """Acquire a new channel if the last probe did not come back; send another.

        A layer whose connection is dead may wait for ever without an error.
        """
        if not (self._name and reaches_others(self._layer)):
            return
        if self._unheard:
            counters.silent += 1
            _warn("%s has fallen silent; acquiring a new channel", self._name)
            await self.close()
            # All channels of a layer may share one dead connection.
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
            _warn("The channel layer did not take a probe: %r", error)

    async def _listen_anew(self) -> None:
        self._name = ""
        self._unheard = False
        try:
            await self._acquire()
        except Exception as error:  # noqa: BLE001 - as above
            counters.failed += 1
            _warn("No channel acquired yet; heartbeats must catch up: %r", error)
        finally:
            self._listening = asyncio.create_task(self._listen())

    async def _acquire(self) -> None:
        async with asyncio.timeout(LAYER_SECONDS):
            self._name = await self._layer.new_channel()
        self._renamed(self._name)

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
                    # It was connected: redis-py ends reads after 5 s without data.
                    failures = 0
                failures += 1
                self._log_failure(failures, error)
                await asyncio.sleep(RECONNECT.delay(failures - 1))
            else:
                failures = 0
                self._receive(message)

    def _log_failure(self, failures: int, error: Exception) -> None:
        """Count and log a failure to read; the first may be an idle connection's."""
        if failures == 1:
            logger.info("Reading the channel layer was interrupted: %r", error)
            return
        counters.failed += 1
        _warn("The channel layer failed; it is tried again until it works: %r", error)

    def _receive(self, message: Mapping[str, Any]) -> None:
        self._unheard = False
        try:
            if message["type"] != MESSAGE_TYPE:
                raise ValueError(message["type"])
            event = serializers.decode(message["body"])
        except (KeyError, TypeError, ValueError):
            # Of another version, in a rolling deploy: heartbeats make up for it.
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
    """Close a channel layer's connections of this event loop, if it can."""
    # Of the two on Redis, the one on publish/subscribe has `flush` for this, which in
    # the other, and maybe elsewhere, deletes all processes' messages.
    names = {each.__name__ for each in type(layer).__mro__}
    how = "flush" if "RedisPubSubChannelLayer" in names else "close_pools"
    try:
        async with asyncio.timeout(LAYER_SECONDS):
            if hasattr(layer, how):
                await getattr(layer, how)()
    except Exception as error:  # noqa: BLE001 - layers raise what their clients do
        logger.info("A channel layer's connections did not close: %r", error)


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks, and return when they have ended."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        # A layer may ignore the first, to unsubscribe from a server that is down.
        _, pending = await asyncio.wait(pending, timeout=LAYER_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
