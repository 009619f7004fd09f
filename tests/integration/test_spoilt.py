"""A session with a key that somebody else has written to, beside sessions that work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.cas.keys import revocations_key
from sessionstores.backends.types import Lease
from sessionstores.keys import SESSION, StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime.hub import current_hub, hubs
from tests.faults.sites import on_redis
from tests.servers import Valkey
from tests.sockets import CODE, Frame, Opener, Socket, opening_tabs, until

SPOILT = "ZZZZZZ"


@pytest.fixture(params=["r", "c", "d", "o", "g", "f", "locmem r"])
def spoil(request: pytest.FixtureRequest, settings: Any) -> Iterator[Any]:
    """Puts junk in the place of a key of the session `SPOILT`."""
    if request.param == "locmem r":

        def spoil_value() -> None:
            backend: Any = get_backend(blocking=True)
            name = revocations_key(SPOILT)
            token = run(backend.store.read([name])).get(name)
            run(backend.store.cas(name, token and token.token, b"\xff\xffjunk", 1_000))

        yield spoil_value
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    settings.CACHES = on_redis(valkey.port, valkey.number)["CACHES"]

    def spoil_key() -> None:
        with valkey.client() as client:
            client.set(f"ss:{{{SPOILT}}}:{request.param}:", "junk")

    yield spoil_key
    assert not hubs


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab


async def pinged(*sockets: Socket) -> list[Frame]:
    """Have a heartbeat; return the ping of each tab, which it answers."""
    await current_hub().heartbeat.pulse()
    pings = []
    for socket in sockets:
        frame = await socket.receive()
        assert frame["type"] == "ping", frame
        await socket.say(type="pong")
        pings.append(frame)
    await until(lambda: all(c.outbox.asked is None for c in hub_tabs()))
    return pings


def hub_tabs() -> list[Any]:
    return list(current_hub().connections.values())


async def test_a_spoilt_session_costs_only_itself(
    spoil: Any, tab: Opener, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    backend = get_backend(blocking=False)
    codes = [CODE, *(f"AAAAA{n}" for n in range(2, 7))]
    healthy = [
        await tab(token=Participant(code, "alice").token(), client=code)
        for code in codes
    ]
    spoilt = await tab(token=Participant(SPOILT, "zoe").token())
    # Somebody whose process is dead, so that there is something to notice.
    far = Lease("far", StoreKey(CODE, "far"), "far", "c", frozenset({SESSION}))
    await backend.lease([far])
    await pinged(*healthy, spoilt)
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05, "PRESENCE_LEASE": 1}
    await get_backend(blocking=False).lease([far])
    settings.SESSIONSTORES = {"LEAVE_GRACE": 0.05}
    spoil()
    for _ in range(4):
        *pings, _ = await pinged(*healthy, spoilt)
        assert all(set(ping["heads"]) == {"me", "session"} for ping in pings)
        await asyncio.sleep(0.4)
    # Leases are renewed, who is gone is noticed, and what is committed arrives.
    for code in codes:
        assert (await stores.apresence(code))["alice"].connections == 1
    await until(lambda: set(healthy[0].look()) == {"alice"})
    assert (await healthy[0].act(1, "board.note", text="x"))["type"] == "ack"
    bob = await tab("bob")
    await until(lambda: set(healthy[0].look()) == {"alice", "bob"})
    told = [r for r in caplog.records if r.getMessage().startswith(f"{SPOILT}: ")]
    texts = [record.getMessage().split(": ")[1] for record in told]
    repeated = {text for text in texts if texts.count(text) > 1}
    assert repeated <= {"reading who is present failed"}, texts
    assert not [r for r in caplog.records if "heartbeat failed" in r.getMessage()]
    # A revocation elsewhere is seen to, and one that cannot be told is no accident.
    current_hub().heartbeat.check_soon(hub_tabs())
    await until(lambda: not current_hub().heartbeat._checks)
    await stores.arevoke(CODE, "bob")
    await bob.expect("error", code="invalid_token")
    await bob.closed()
    # Its own tabs leave as well, and the hub stops with the last one.
    for socket in (spoilt, *healthy):
        await socket.drop()
    assert not hubs
    await until(lambda: not current_hub()._roster._reaping)
