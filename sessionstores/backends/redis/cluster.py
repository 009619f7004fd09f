"""Connections to a cluster: find the node that serves a key, and follow redirects.

Each node has connections of its own, so a node that fails delays nothing that the
others serve. redis-py's cluster clients do not have that property: the blocking one
reads the slots again inside the failed call and under one lock, and the asynchronous
one may send ASKING and the command behind it on different connections.
"""

from __future__ import annotations

import asyncio
import threading
import time
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    MovedError,
    RedisError,
    ResponseError,
)

from ...concurrency.backoff import Backoff
from ..errors import NotSent
from .async_connection import LoopConnection
from .errors import NO_REPLY, error_code
from .location import REPLY_SECONDS, Address
from .serializers import first_key
from .sync_pool import Command, SyncPool

SLOTS = 16_384
# A slot that has moved takes one redirect, one that is moving another; more are a loop.
MAX_REDIRECTS = 3
# The share of its time that a command may wait; the reply to the last try takes some.
WAITING_SHARE = 0.8
# Before a command on several keys of a slot is sent again while these are moving.
_PAUSES = Backoff(0.01, 0.05)


def slot_of(command: Command) -> int:
    """Return the slot of a command's first key, which its other keys share."""
    key = first_key(command)
    tag, closed, _ = key.partition("{")[2].partition("}")
    tagged = tag if closed and tag else key
    return crc_hqx(tagged.encode("utf-8", "surrogateescape"), 0) % SLOTS


class SlotTable:
    """The node that serves each slot, as last learnt from a node; false until then.

    `seed` is the node that is asked first; `remap` turns the addresses that nodes give
    into those under which they are reached from here.
    """

    def __init__(self, seed: Address, remap: Callable[[Address], Address]) -> None:
        self._seed = seed
        self._remap = remap
        self._owners: list[Address] = []
        self._known: list[Address] = []
        self.primaries: list[Address] = []

    def __bool__(self) -> bool:
        return bool(self._owners)

    @property
    def nodes(self) -> list[Address]:
        """All nodes that can be asked for the slots, those that failed last."""
        return list(dict.fromkeys([*self._known, self._seed]))

    def owner(self, command: Command) -> Address:
        """Return the node that serves the keys of a command."""
        return self._owners[slot_of(command)]

    def learn(self, reply: Sequence[Sequence[Any]], by: Address) -> None:
        """Take over the reply of the node at `by` to CLUSTER SLOTS."""
        if not reply:
            raise ResponseError(f"CLUSTERDOWN {by[0]}:{by[1]} is in no cluster")
        # Commands for a slot without a node go to `by`, which replies with that error.
        owners = [by] * SLOTS
        primaries: dict[Address, None] = {}
        known = {by: None}
        for first, last, *nodes in reply:
            addresses = [self._address(node[0], node[1], by) for node in nodes]
            owners[first : last + 1] = addresses[:1] * (last + 1 - first)
            primaries[addresses[0]] = None
            known |= dict.fromkeys(addresses)
        self.primaries, self._known = list(primaries), list(known)
        self._owners = owners

    def follow(self, redirect: AskError, by: Address) -> Address:
        """Return the node that `by` redirects to; remember it if the slot has moved."""
        target = self._address(redirect.host, redirect.port, by)
        if isinstance(redirect, MovedError):
            self._owners[redirect.slot_id] = target
        return target

    def demote(self, node: Address) -> None:
        """Ask a node that did not reply after all others."""
        self._known = [*(each for each in self._known if each != node), node]

    def _address(self, host: bytes | str | None, port: int, by: Address) -> Address:
        name = host.decode() if isinstance(host, bytes) else host
        # A node that does not know its own name is at the address just asked.
        return self._remap((name, port)) if name else (by[0], port)


class Route:
    """The next step for a command whose node did not serve it.

    `node` is where to send it, after `pause` seconds, with ASKING before it if
    `is_asking`; if `has_moved`, the slots should be read again. It is to be served
    within `seconds`.
    """

    def __init__(self, node: Address, seconds: float) -> None:
        self.node = node
        self.pause = 0.0
        self.is_asking = False
        self.has_moved = False
        self._deadline = time.monotonic() + WAITING_SHARE * seconds
        self._redirects = 0
        self._pauses = 0

    def leads_on(self, reply: Any, slots: SlotTable) -> bool:
        """Take a reply; return whether to send the command once more."""
        self.pause, self.has_moved = 0.0, False
        if isinstance(reply, AskError):
            if self._redirects == MAX_REDIRECTS:
                return False
            self._redirects += 1
            self.has_moved = isinstance(reply, MovedError)
            self.is_asking = not self.has_moved
            self.node = slots.follow(reply, self.node)
            return True
        if isinstance(reply, ResponseError) and error_code(reply) == "TRYAGAIN":
            # It has not run: some of its keys are here and some at another node.
            self.pause = _PAUSES.delay(self._pauses)
            self._pauses += 1
            return time.monotonic() + self.pause < self._deadline
        return False


class LoopCluster:
    """Sends the commands of one event loop's coroutines to the nodes that serve them.

    `connect` returns the connection to a node, which closes when the loop ends.
    """

    def __init__(
        self,
        slots: SlotTable,
        connect: Callable[[Address], LoopConnection],
        seconds: float = REPLY_SECONDS,
    ) -> None:
        self._slots = slots
        self._connect = connect
        self._seconds = seconds
        self._nodes: dict[Address, LoopConnection] = {}
        self._refreshing: asyncio.Task[None] | None = None

    def _node(self, address: Address) -> LoopConnection:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._connect(address)
        return node

    async def send(self, *command: Any) -> Any:
        """Return the reply; raises errors of redis-py and TimeoutError."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        if not self._slots:
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.shield(self._refresh())
            except (RedisError, OSError) as error:
                raise NotSent(error) from error
        address = self._slots.owner(command)
        try:
            return await self._node(address).send(*command)
        except NO_REPLY:
            self._demote(address)
            raise
        except ResponseError as error:
            left = deadline - asyncio.get_running_loop().time()
            route = Route(address, left)
            if not route.leads_on(error, self._slots):
                raise
        async with asyncio.timeout_at(deadline):
            return await self._send_on(route, command)

    async def _send_on(self, route: Route, command: Command) -> Any:
        while True:
            if route.has_moved:
                self._refresh()
            if route.pause:
                await asyncio.sleep(route.pause)
            node = self._node(route.node)
            # In one write, so that nothing comes between.
            asking = [node.send("ASKING")] if route.is_asking else []
            try:
                return (await asyncio.gather(*asking, node.send(*command)))[-1]
            except NO_REPLY:
                self._demote(route.node)
                raise
            except ResponseError as error:
                if not route.leads_on(error, self._slots):
                    raise

    def _demote(self, node: Address) -> None:
        self._slots.demote(node)
        self._refresh()

    def _refresh(self) -> asyncio.Task[None]:
        """Read the slots again, in a task of its own."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._learn())
            self._refreshing.add_done_callback(self._refreshed)
        return self._refreshing

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        # Retrieved, so that asyncio does not log it as never retrieved.
        if not task.cancelled():
            task.exception()

    async def _learn(self) -> None:
        """Ask all nodes for the slots at once, and believe the first that replies."""
        asking = [
            asyncio.create_task(self._slots_by(node)) for node in self._slots.nodes
        ]
        left = len(asking)
        try:
            for reply in asyncio.as_completed(asking):
                left -= 1
                try:
                    self._slots.learn(*await reply)
                except (*NO_REPLY, ResponseError):
                    if not left:
                        raise
                else:
                    return
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _slots_by(self, node: Address) -> tuple[Sequence[Any], Address]:
        return await self._node(node).send("CLUSTER", "SLOTS"), node

    async def primaries(self) -> list[LoopConnection]:
        """Return the connections to all primaries."""
        async with asyncio.timeout(self._seconds):
            await asyncio.shield(self._refresh())
        return [self._node(address) for address in self._slots.primaries]

    async def close(self) -> None:
        """Close all connections; they open again when they are needed."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        for node in self._nodes.values():
            await node.close()

    def shut_down(self) -> None:
        """Close the connections of a loop that is closed."""
        for node in self._nodes.values():
            node.shut_down()


class SyncCluster:
    """Sends the commands of a process's threads to the nodes that serve them.

    Safe in threads and across a fork, if the pools that `connect` returns are.
    """

    def __init__(
        self,
        slots: SlotTable,
        connect: Callable[[Address], SyncPool],
        seconds: float = REPLY_SECONDS,
    ) -> None:
        self._slots = slots
        self._connect = connect
        self._seconds = seconds
        self._nodes: dict[Address, SyncPool] = {}
        self._refreshing: threading.Thread | None = None

    def _node(self, address: Address) -> SyncPool:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, self._connect(address))
        return node

    def send(self, *command: Any) -> Any:
        """Return the reply to one command; raises the errors of redis-py."""
        reply = self.send_all([command])[0]
        if not isinstance(reply, Exception):
            return reply
        try:
            raise reply
        finally:
            # Else the error would refer to this frame, and the frame to it.
            del reply

    def send_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands, errors included; one write to each node."""
        if not self._slots:
            try:
                self._learn()
            except (RedisError, OSError) as error:
                raise NotSent(error) from error
        parts: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            parts.setdefault(self._slots.owner(command), []).append(number)
        replies: list[Any] = [None] * len(commands)
        for address, numbers in parts.items():
            some: list[Any]
            try:
                some = self._exchange(address, [commands[each] for each in numbers])
            except BusyLoadingError as error:
                # Its reply, though redis-py takes it for a lost connection.
                some = [error] * len(numbers)
            for number, reply in zip(numbers, some, strict=True):
                replies[number] = self._send_on(reply, address, commands[number])
        return replies

    def _send_on(self, reply: Any, address: Address, command: Command) -> Any:
        """Return the final reply to a command, after redirects and pauses."""
        if not isinstance(reply, ResponseError):
            return reply
        route = Route(address, self._seconds)
        while route.leads_on(reply, self._slots):
            if route.has_moved:
                self._refresh()
            time.sleep(route.pause)
            asking: list[Command] = [("ASKING",)] if route.is_asking else []
            reply = self._exchange(route.node, [*asking, command])[-1]
        return reply

    def _exchange(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._node(address).send_all(commands)
        except NO_REPLY:
            self._slots.demote(address)
            self._refresh()
            raise

    def _refresh(self) -> None:
        """Read the slots again, in a thread: silent nodes delay no caller."""
        if self._refreshing is None or not self._refreshing.is_alive():
            self._refreshing = threading.Thread(target=self._try_learn, daemon=True)
            # No thread starts while the interpreter ends.
            with suppress(RuntimeError):
                self._refreshing.start()

    def _try_learn(self) -> None:
        with suppress(*NO_REPLY, ResponseError):
            self._learn()

    def _learn(self) -> None:
        """Ask one node after the other for the slots, as long as a reply may take."""
        started = time.monotonic()
        nodes = self._slots.nodes
        for node in nodes:
            try:
                self._slots.learn(self._node(node).send("CLUSTER", "SLOTS"), node)
            except (*NO_REPLY, ResponseError):
                is_late = time.monotonic() - started >= self._seconds
                if is_late or node == nodes[-1]:
                    raise
            else:
                return

    def primaries(self) -> list[SyncPool]:
        """Return the pools of all primaries."""
        self._learn()
        return [self._node(address) for address in self._slots.primaries]
