"""The lobby: who says no hello gives way to who comes later, and nobody else does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from channels.testing import WebsocketCommunicator
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionstores.realtime import lobby
from sessionstores.realtime.lobby import Lobby, current_lobby
from sessionstores.realtime.protocol import Close
from sessionstores.realtime.staff import HELLO_TIMEOUT, StaffConsumer
from tests.sockets import PATIENCE, Opener, Socket, token, until

OF_NETWORK, IN_ALL = 3, 5


@pytest.fixture(autouse=True, scope="module")
def small() -> object:
    """A lobby for three sockets of a network, and five in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lobby, "MAX_OF_NETWORK", OF_NETWORK)
        patch.setattr(lobby, "MAX_WAITING", IN_ALL)
        yield


class Waiting:
    """A socket that waits in a lobby; `gone` once it had to give way."""

    def __init__(self, room: Lobby, network: str) -> None:
        self.network = network
        self.hello = asyncio.Event()
        self.gone = False
        self.task = asyncio.create_task(self._wait(room))

    async def _wait(self, room: Lobby) -> None:
        try:
            async with asyncio.timeout(60) as limit:
                with room.waiting({"client": [self.network, 1]}, limit):
                    await self.hello.wait()
        except TimeoutError:
            self.gone = True

    async def says_hello(self) -> None:
        """Leave the lobby."""
        self.hello.set()
        await self.task


moves = st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()))


@given(moves)
@settings(max_examples=60)
async def test_of_too_many_the_oldest_gives_way_and_nobody_is_turned_away(
    moves: list[tuple[str, bool]],
) -> None:
    room = Lobby()
    there: list[Waiting] = []
    for network, leaves in moves:
        before = list(there)
        newcomer = Waiting(room, network)
        there.append(newcomer)
        for _ in range(4):
            await asyncio.sleep(0)
        gone = [each for each in there if each.gone]
        there = [each for each in there if not each.gone]
        assert len(room) == len(there) <= IN_ALL
        assert newcomer in there
        same = [each for each in before if each.network == network]
        if len(same) >= OF_NETWORK:
            assert gone == same[:1]
        elif len(before) >= IN_ALL:
            (oldest,) = gone
            theirs = [
                each for each in [*before, newcomer] if each.network == oldest.network
            ]
            assert oldest is theirs[0]
            counts = [sum(e.network == n.network for e in before) for n in before]
            assert len(theirs) >= max(counts)
        else:
            assert not gone
        if leaves:
            await there.pop(len(there) // 2).says_hello()
        assert len(room) == len(there)
    for each in there:
        await each.says_hello()
    assert len(room) == 0


def silent(address: str) -> Socket:
    """Return a socket from an address."""
    socket = Socket()
    socket.communicator.scope["client"] = [address, 50_000]
    return socket


async def told_to_come_back(socket: Socket) -> bool:
    """Take what a socket is told that had to give way."""
    await socket.expect("error", code="hello_timeout")
    return await socket.closed() == Close.HELLO_TIMEOUT


async def test_the_oldest_silent_socket_of_an_address_is_told_to_come_back(
    tab: Opener,
) -> None:
    sockets = [silent("192.0.2.1") for _ in range(OF_NETWORK + 2)]
    for socket in sockets:
        await socket.open()
    for socket in sockets[:2]:
        assert await told_to_come_back(socket)
    other = silent("192.0.2.2")
    await other.open()
    assert len(current_lobby()) == OF_NETWORK + 1
    # Whoever says hello is let in, from whichever address, and frees a place.
    for number, socket in enumerate([*sockets[2:], other]):
        await socket.say(type="hello", token=token(), client=f"c{number}")
        await socket.expect("welcome")
    assert len(current_lobby()) == 0
    for socket in [*sockets, other]:
        await socket.drop()


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
async def test_a_network_counts_as_one_address(
    one: str, another: str, same: bool
) -> None:
    sockets = [silent(one) for _ in range(OF_NETWORK)] + [silent(another)]
    for socket in sockets:
        await socket.open()
    await until(lambda: len(current_lobby()) == OF_NETWORK + (not same))
    if same:
        assert await told_to_come_back(sockets[0])
    for socket in sockets:
        await socket.drop()
    assert len(current_lobby()) == 0


@pytest.mark.parametrize("client", [None, ["", None], ["not an address", 1]])
async def test_a_server_that_tells_no_address_still_lets_everybody_in(
    client: object,
) -> None:
    for _ in range(2 * IN_ALL):
        socket = Socket()
        socket.communicator.scope["client"] = client
        await socket.open()
        await socket.say(type="hello", token=token(), client="c1")
        await socket.expect("welcome")
        await socket.drop()
    assert len(current_lobby()) == 0


# Channels closes old connections, such as another test has left.
@pytest.mark.django_db
async def test_pages_of_staff_without_a_token_count_too() -> None:
    pages = [WebsocketCommunicator(StaffConsumer.as_asgi(), "/") for _ in range(7)]
    for page in pages:
        page.scope["client"] = ["192.0.2.1", 50_000]
        await page.connect(PATIENCE)
    for page in pages[: 7 - OF_NETWORK]:
        event = await page.receive_output(PATIENCE)
        assert (event["type"], event["code"]) == ("websocket.close", HELLO_TIMEOUT)
    assert len(current_lobby()) == OF_NETWORK
    for page in pages:
        await page.disconnect()
    await until(lambda: len(current_lobby()) == 0)


async def test_while_strangers_flood_the_lobby_everybody_else_comes_in(
    tab: Opener,
) -> None:
    flooding = True
    opened: list[Socket] = []

    async def flood() -> None:
        while flooding:
            opened.append(silent("192.0.2.1"))
            await opened[-1].open()

    floods = [asyncio.create_task(flood()) for _ in range(2)]
    await until(lambda: len(opened) > 2 * IN_ALL)
    # Behind a proxy, all have its address.
    for number, address in enumerate(["192.0.2.1", "192.0.2.7", "192.0.2.1"]):
        socket = silent(address)
        await socket.open()
        await socket.say(type="hello", token=token(f"p{number}"), client="c1")
        await socket.expect("welcome")
        opened.append(socket)
        assert len(current_lobby()) <= OF_NETWORK + 1
    flooding = False
    await asyncio.gather(*floods)
    for socket in opened:
        with suppress(TimeoutError):
            await socket.drop()
