"""People in their tabs: names and roles that change reach open tabs and later actions.

On real sockets of this process, and on workers that share a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sessionstores import Participant, State, action, injected, stores
from sessionstores.backends import get_backend
from sessionstores.backends.types import Profile
from sessionstores.keys import StoreKey
from sessionstores.realtime.hub import current_hub, hubs
from sessionstores.state.declaration import problems_of, registry
from tests.faults.sites import on_redis
from tests.servers import Valkey
from tests.sockets import CODE, Frame, Opener, Socket, opening_tabs, token, until


@pytest.fixture(autouse=True, params=["locmem", "valkey"])
def cache(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """The caches on which this is tried."""
    if request.param == "valkey":
        valkey: Valkey = request.getfixturevalue("valkey")
        settings.CACHES = on_redis(valkey.port, valkey.number)["CACHES"]
    yield
    assert not hubs


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as opener:
        yield opener


@pytest.fixture(autouse=True)
def states() -> Iterator[None]:
    with registry.isolated():

        class Floor(State, name="floor", scope="session"):
            said: tuple[str, ...] = ()

            @action
            def say(self, *, by: Participant = injected) -> None:
                self.said = (*self.said, f"{by.name} {by.role}")

            @action(role="facilitator")
            def close(self) -> None:
                self.said = ()

        class Hand(State, name="hand"):
            raised: bool = False

            @action
            def raise_it(self) -> None:
                self.raised = not self.raised

        assert problems_of(Floor) == problems_of(Hand) == []
        yield


def people(socket: Socket) -> dict[str, tuple[str | None, str]]:
    """Return names and roles of those who are present, as the frames have said."""
    socket.look()
    known: dict[str, tuple[str | None, str]] = {}
    for frame in socket.presence_frames:
        for id, who in frame.get("people", {}).items():
            known[id] = who["name"], who["role"]
    return {id: known[id] for id in socket.present if id in known}


def record_of(participant: str) -> StoreKey:
    return StoreKey(CODE, participant)


async def named(participant: str, name: str | None, role: str) -> None:
    """Have somebody a record with a name and a role, as after a join."""
    backend = get_backend(blocking=False)
    await backend.open(record_of(participant), {}, profile=Profile(name, role))


async def test_a_tab_is_welcomed_with_the_name_and_role_of_the_record(
    tab: Opener,
) -> None:
    await named("alice", "Ada", "facilitator")
    socket = await tab("alice", role="participant")
    assert (socket.welcome["name"], socket.welcome["role"]) == ("Ada", "facilitator")
    assert (await socket.act(1, "floor.close"))["type"] == "ack"
    other = await tab("bob", role="guest")
    assert (other.welcome["name"], other.welcome["role"]) == (None, "guest")


async def test_everybody_is_shown_who_is_present(tab: Opener) -> None:
    await named("alice", "Ada", "facilitator")
    alice = await tab("alice")
    bob = await tab("bob")
    both = {"alice": ("Ada", "facilitator"), "bob": (None, "participant")}
    for socket in (alice, bob):
        await until(lambda socket=socket: people(socket) == both, "both")


async def test_a_new_name_and_role_reach_all_tabs_at_once(tab: Opener) -> None:
    first, second, bob = await tab("alice"), await tab("alice"), await tab("bob")
    await until(lambda: len(people(bob)) == 2, "both")
    # No heartbeat runs in this test: what arrives, a hint has brought.
    await stores.aset_name(CODE, "alice", " Ada ")
    for socket in (first, second):
        await socket.expect("self", name="Ada", role="participant")
    await until(lambda: people(bob)["alice"] == ("Ada", "participant"), "the name")
    await stores.aset_role(CODE, "alice", "facilitator")
    for socket in (first, second):
        await socket.expect("self", name="Ada", role="facilitator")
    await until(lambda: people(bob)["alice"] == ("Ada", "facilitator"), "the role")
    # The same again is nothing new; nor are others' frames "self".
    await stores.aset_role(CODE, "alice", "facilitator")
    await stores.aset_name(CODE, "bob", "Bo")
    await until(lambda: people(first)["bob"][0] == "Bo", "the other name")
    assert first.silent
    assert second.silent


async def test_later_actions_of_an_open_tab_have_the_new_name_and_role(
    tab: Opener,
) -> None:
    socket = await tab("alice")
    assert (await socket.act(1, "floor.close"))["code"] == "forbidden"
    await socket.act(2, "floor.say")
    await stores.aset_name(CODE, "alice", "Ada")
    await socket.expect("self", name="Ada")
    await socket.act(3, "floor.say")
    await stores.aset_role(CODE, "alice", "facilitator")
    await socket.expect("self", role="facilitator")
    await socket.act(4, "floor.say")
    said = stores.get("floor", CODE)
    assert (await said.asnapshot()).state.said == (
        "None participant",
        "Ada participant",
        "Ada facilitator",
    )
    assert (await socket.act(5, "floor.close"))["type"] == "ack"
    await stores.aset_role(CODE, "alice", "guest")
    await socket.expect("self", role="guest")
    assert (await socket.act(6, "floor.close"))["code"] == "forbidden"
    # An older token, of more rights, gives none back.
    await socket.say(type="token", token=token("alice", "facilitator"))
    assert (await socket.act(7, "floor.close"))["code"] == "forbidden"


async def test_without_the_hint_tabs_learn_with_the_next_beat(tab: Opener) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await until(lambda: len(people(bob)) == 2, "both")
    given = Profile("Ada", "facilitator")
    await get_backend(blocking=False).set_profile(record_of("alice"), given)
    await current_hub().heartbeat.pulse()
    await alice.expect("ping")
    await alice.expect("self", name="Ada", role="facilitator")
    await bob.expect("ping")
    await until(lambda: people(bob)["alice"] == ("Ada", "facilitator"), "the change")


@pytest.mark.parametrize("how", ["by an action", "by a snapshot"])
async def test_a_lost_record_has_its_name_and_role_again(tab: Opener, how: str) -> None:
    await named("alice", "Ada", "facilitator")
    backend, key = get_backend(blocking=False), record_of("alice")
    ada = Profile("Ada", "facilitator", "7")
    await backend.set_profile(key, ada)
    socket = await tab("alice")
    await until(lambda: people(socket), "the first presence")
    await backend.clear()
    frames: list[Frame] = []
    if how == "by an action":
        frames.append(await socket.act(1, "hand.raise_it"))
        assert await backend.profiles([key]) == {key: Profile()}
    # The first may find no lease.
    for _ in range(3):
        await current_hub().heartbeat.pulse()
        while frames[-1:] == [] or frames[-1]["type"] != "ping":
            frames.append(await socket.receive())
        del frames[-1]
    assert await backend.profiles([key]) == {key: ada}
    assert "self" not in {frame["type"] for frame in frames}


async def test_a_token_alone_gives_a_record_without_a_role_its_own(
    tab: Opener,
) -> None:
    await get_backend(blocking=False).open(record_of("alice"), {})
    await tab("alice", role="facilitator")
    await current_hub().heartbeat.pulse()
    assert [each.role for each in await stores.apeople(CODE)] == ["facilitator"]
    # From then on, the record decides.
    await stores.aset_role(CODE, "alice", "guest")
    again = await tab("alice", role="facilitator")
    assert again.welcome["role"] == "guest"


async def test_a_withdrawn_role_does_not_come_back_by_a_tab(tab: Opener) -> None:
    await named("alice", "Ada", "facilitator")
    socket = await tab("alice")
    await stores.arevoke(CODE, "alice")
    frame = await socket.receive()
    assert frame["code"] == "invalid_token"
    assert await socket.closed() == 4100
    await current_hub().heartbeat.pulse()
    (alice,) = await stores.apeople(CODE)
    assert (alice.name, alice.role) == ("Ada", "participant")


async def test_many_changes_end_with_the_last_everywhere(tab: Opener) -> None:
    tabs = [await tab(id) for id in ("alice", "bob", "carol")]
    await until(lambda: len(people(tabs[0])) == 3, "everybody")

    async def rename(id: str) -> None:
        for number in range(20):
            await stores.aset_name(CODE, id, f"{id} {number}")

    await asyncio.gather(rename("alice"), rename("bob"))
    last = {
        "alice": ("alice 19", "participant"),
        "bob": ("bob 19", "participant"),
        "carol": (None, "participant"),
    }
    own: dict[int, str] = {}
    for number, socket in enumerate(tabs):
        while number < 2 and own.get(number) != f"{socket.welcome['participant']} 19":
            own[number] = (await socket.expect("self"))["name"]
        await until(lambda socket=socket: people(socket) == last, "the last names")
