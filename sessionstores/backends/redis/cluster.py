"""The nodes of a cluster: which of them serves what, and how commands get there.

Each node has connections of its own, so that what befalls one does not concern what
the others serve.
"""

from __future__ import annotations

import asyncio
import threading
import time
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .location import ANSWER_SECONDS, Address
from .sync_pool import (
    LOST,
    REFUSALS,
    Redirect,
    SyncPool,
    not_in_a_cluster,
    or_raise,
    redirect_of,
)

SLOTS = 16_384
# A slot that has moved takes one, one that is on the move another; more are a loop.
REDIRECTS = 3

# Any bytes may be a key.
HOW = "utf-8", "surrogateescape"

Command = Sequence[Any]


def first_key(command: Command) -> str:
    """Return the first key of a command, or of a script."""
    key = command[3 if command[0] in ("EVALSHA", "EVAL") else 1]
    return key.decode(*HOW) if isinstance(key, bytes) else str(key)


def slot_of(command: Command) -> int:
    """Return the slot of a command's first key; its other keys share it."""
    key = first_key(command)
    tag, closed, _ = key.partition("{")[2].partition("}")
    return crc_hqx((tag if closed and tag else key).encode(*HOW), 0) % SLOTS


class Slots:
    """Who serves what, as a node told it last; false until one did.

    `seed` is the node that is asked first, `remap` makes the addresses that nodes have
    of one another into those that they have from here.
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
        """All that can be asked who serves what, the doubtful ones last."""
        return list(dict.fromkeys([*self._known, self._seed]))

    def owner(self, command: Command) -> Address:
        """Return the node that serves the keys of a command."""
        return self._owners[slot_of(command)]

    def learn(self, told: Sequence[Sequence[Any]], by: Address) -> None:
        """Take over what the node at `by` answers to CLUSTER SLOTS."""
        if not told:
            raise not_in_a_cluster(by)
        # If nobody serves a slot, that one says so.
        owners = [by] * SLOTS
        primaries: dict[Address, None] = {}
        known = {by: None}
        for first, last, *nodes in told:
            addresses = [self._address(node[0], node[1], by) for node in nodes]
            owners[first : last + 1] = addresses[:1] * (last + 1 - first)
            primaries[addresses[0]] = None
            known |= dict.fromkeys(addresses)
        self.primaries, self._known = list(primaries), list(known)
        self._owners = owners

    def follow(self, redirect: Redirect, by: Address) -> Address:
        """Return where the node at `by` sends a command; remember it if for good."""
        there = self._address(redirect.host, redirect.port, by)
        if not redirect.asking:
            self._owners[redirect.slot] = there
        return there

    def doubt(self, node: Address) -> None:
        """Let a node that does not answer be the last that is asked."""
        self._known = [*(each for each in self._known if each != node), node]

    def _address(self, host: bytes | str | None, port: int, by: Address) -> Address:
        name = host.decode() if isinstance(host, bytes) else host
        # One that does not know its name is where it was asked.
        return self._remap((name, port)) if name else (by[0], port)


class LoopCluster:
    """Sends what the coroutines of one event loop ask for to the nodes that serve it.

    `make` returns a node's `LoopClient`, which closes when the loop ends.
    """

    def __init__(self, slots: Slots, make: Callable[[Address], Any]) -> None:
        self._slots = slots
        self._make = make
        self._nodes: dict[Address, Any] = {}
        self._looking: asyncio.Task[None] | None = None

    def _at(self, address: Address) -> Any:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make(address)
        return node

    async def send(self, *command: Any) -> Any:
        """Return the answer; errors are those of redis-py and TimeoutError."""
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        if not self._slots:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(self._look())
        address = self._slots.owner(command)
        try:
            return await self._at(address).send(*command)
        except LOST:
            self._doubt(address)
            raise
        except REFUSALS as error:
            redirect = redirect_of(error)
            if redirect is None:
                raise
        async with asyncio.timeout_at(deadline):
            return await self._sent_on(redirect, address, command)

    async def _sent_on(
        self, redirect: Redirect, address: Address, command: Command
    ) -> Any:
        left = REDIRECTS
        while True:
            left -= 1
            if not redirect.asking:
                self._look()
            address = self._slots.follow(redirect, address)
            node = self._at(address)
            # One behind the other, in one write.
            asked = [node.send("ASKING")] if redirect.asking else []
            try:
                return (await asyncio.gather(*asked, node.send(*command)))[-1]
            except LOST:
                self._doubt(address)
                raise
            except REFUSALS as error:
                following = redirect_of(error)
                if following is None or not left:
                    raise
                redirect = following

    def _doubt(self, node: Address) -> None:
        self._slots.doubt(node)
        self._look()

    def _look(self) -> asyncio.Task[None]:
        """Find out who serves what; nobody needs to wait for it."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._ask())
            self._looking.add_done_callback(self._looked)
        return self._looking

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        # Those who wait for it are told, and others need not be.
        if not task.cancelled():
            task.exception()

    async def _ask(self) -> None:
        """Ask all nodes at once; the first that tells is believed."""
        asking = [
            asyncio.create_task(self._told_by(node)) for node in self._slots.nodes
        ]
        left = len(asking)
        try:
            for told in asyncio.as_completed(asking):
                left -= 1
                try:
                    self._slots.learn(*await told)
                except (*LOST, *REFUSALS):
                    if not left:
                        raise
                else:
                    return
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _told_by(self, node: Address) -> tuple[Sequence[Any], Address]:
        return await self._at(node).send("CLUSTER", "SLOTS"), node

    async def nodes(self) -> list[Any]:
        """Return the clients of all primaries."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.shield(self._look())
        return [self._at(address) for address in self._slots.primaries]

    async def close(self) -> None:
        """Close all connections; they open again when they are needed."""
        if self._looking is not None:
            self._looking.cancel()
        for node in self._nodes.values():
            await node.close()

    def abandon(self) -> None:
        """End the connections of a loop that was closed."""
        for node in self._nodes.values():
            node.abandon()


class Cluster:
    """Sends what synchronous callers ask for to the nodes that serve it.

    Safe in threads and across a fork, as the `SyncPool` of a node is, which `make`
    returns.
    """

    def __init__(self, slots: Slots, make: Callable[[Address], SyncPool]) -> None:
        self._slots = slots
        self._make = make
        self._nodes: dict[Address, SyncPool] = {}
        self._looking: threading.Thread | None = None

    def _at(self, address: Address) -> SyncPool:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, self._make(address))
        return node

    def send(self, *command: Any) -> Any:
        """Return the answer to one command; raises the errors of redis-py."""
        (answer,) = self.send_all([command])
        return or_raise(answer)

    def send_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, one write to each node; errors included."""
        if not self._slots:
            self._ask()
        parts: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            parts.setdefault(self._slots.owner(command), []).append(number)
        answers: list[Any] = [None] * len(commands)
        for address, numbers in parts.items():
            told = self._told(address, [commands[number] for number in numbers])
            for number, answer in zip(numbers, told, strict=True):
                answers[number] = self._final(answer, address, commands[number])
        return answers

    def _told(self, address: Address, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._at(address).send_all(commands)
        except LOST:
            self._slots.doubt(address)
            self._look()
            raise

    def _final(self, answer: Any, address: Address, command: Command) -> Any:
        """Return what is answered in the end, where a node sends a command on."""
        for _ in range(REDIRECTS):
            redirect = redirect_of(answer)
            if redirect is None:
                break
            if not redirect.asking:
                self._look()
            address = self._slots.follow(redirect, address)
            asking = [("ASKING",)] if redirect.asking else []
            answer = self._told(address, [*asking, command])[-1]
        return answer

    def _look(self) -> None:
        """Find out who serves what; nobody waits for it, as nodes may be silent."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._look_on, daemon=True)
            # Not while the interpreter ends.
            with suppress(RuntimeError):
                self._looking.start()

    def _look_on(self) -> None:
        with suppress(*LOST, *REFUSALS):
            self._ask()

    def _ask(self) -> None:
        """Ask one node after the other, as long as an answer may take."""
        started = time.monotonic()
        nodes = self._slots.nodes
        for node in nodes:
            try:
                self._slots.learn(self._at(node).send("CLUSTER", "SLOTS"), node)
            except (*LOST, *REFUSALS):
                is_late = time.monotonic() - started >= ANSWER_SECONDS
                if is_late or node == nodes[-1]:
                    raise
            else:
                return

    def nodes(self) -> list[SyncPool]:
        """Return what sends to each of the primaries."""
        self._ask()
        return [self._at(address) for address in self._slots.primaries]
