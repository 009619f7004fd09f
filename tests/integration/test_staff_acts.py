"""What staff do in the admin, and what the tabs of those concerned are told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from sessionstores import SessionLocked, stores
from sessionstores.exceptions import MESSAGES
from sessionstores.participants.messages import END_MESSAGES, RESTARTED
from sessionstores.realtime.protocol import Close
from tests.admin.acting import told
from tests.sockets import CODE, Frame, Opener, Socket, opening_tabs, token
from tests.staff import ALL, member, page
from tests.workshop.states import Agenda, Board

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_beats(settings: Any) -> None:
    """Have no frames but those that staff have caused."""
    settings.SESSIONSTORES = {"AUTO_SWEEP": False, "HEARTBEAT": 3_600}


@pytest.fixture
async def tab() -> AsyncIterator[Opener]:
    async with opening_tabs() as open_tab:
        yield open_tab


@pytest.fixture
async def staff() -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(member)(*ALL))
    return client


async def act(staff: AsyncClient, action: str, *chosen: str, **body: str) -> list[str]:
    """Act on the session, or on those who are chosen; return what staff are told."""
    name = "participants_act" if chosen else "session_act"
    sent = {"action": action, "confirm": "yes", "chosen": " ".join(chosen), **body}
    response = await staff.post(page(name, CODE), sent, follow=True)
    return await sync_to_async(told)(response)


async def ended(socket: Socket, reason: str) -> str:
    """Expect the end of a tab; return what its person is told."""
    frame = await socket.expect("end", reason=reason, retry=False)
    return str(frame["message"])


async def test_who_is_disconnected_is_told_by_whom_and_comes_back_by_a_reload(
    tab: Opener, staff: AsyncClient
) -> None:
    alice = await tab("alice")
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "mine")
    await alice.expect("patch")
    assert await act(staff, "disconnect") == ["Disconnected 1 person, 1 tab."]
    message = await ended(alice, "disconnected")
    assert "Whoever runs this session has disconnected you." in message
    assert "Nothing is lost: reload the page to come back." in message
    assert await alice.closed() == Close.DISCONNECTED
    again = await tab("alice")
    assert again.snapshots["me"]["states"]["board"]["notes"] == "mine"


async def test_whose_states_are_reset_is_told_by_whom(
    tab: Opener, staff: AsyncClient
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "mine")
    await alice.expect("patch")
    said = await act(staff, "reset", "alice")
    assert said == ["Reset alice: they start afresh."]
    frame = await alice.expect("snapshot", doc="me", reset=True)
    assert frame["states"]["board"]["notes"] == ""
    assert frame["message"] == str(RESTARTED)
    assert "Whoever runs this session has had you start afresh." in frame["message"]
    # The next one that is none is told as such.
    await alice.say(type="sync", doc="me")
    frame = await alice.expect("snapshot", doc="me", reset=False)
    assert "message" not in frame
    assert bob.silent


async def test_a_state_that_the_server_has_lost_is_not_said_to_be_reset_by_anybody(
    tab: Opener,
) -> None:
    alice = await tab("alice")
    await stores.get(Board, CODE, "alice").adispatch(Board.note, "mine")
    await alice.expect("patch")
    await stores.get(Board, CODE, "alice").adelete()
    frame: Frame = await alice.expect("snapshot", doc="me", reset=True)
    assert "message" not in frame


@pytest.mark.parametrize(
    ("action", "reason", "code", "words"),
    [
        ("remove", "cleanup", Close.ENDED, "Reload the page to start again."),
        ("kick", "kicked", Close.KICKED, "Ask whoever runs it whether you may"),
    ],
)
async def test_who_is_removed_is_told_what_to_do_next(
    tab: Opener,
    staff: AsyncClient,
    action: str,
    reason: str,
    code: Close,
    words: str,
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    assert len(await act(staff, action, "alice")) == 1
    message = await ended(alice, reason)
    assert message == str(END_MESSAGES[reason])
    assert words in message
    assert await alice.closed() == code
    assert bob.silent
    if action == "kick":
        refused = Socket()
        await refused.open()
        await refused.say(type="hello", token=token("alice"), client="c9")
        await refused.expect("error", code="kicked", message=str(MESSAGES["kicked"]))
        assert await refused.closed() == Close.KICKED
        said = await act(staff, "readmit", "alice")
        assert said == ["Readmitted alice: they can join again."]
    # Who may come back comes back, and has nothing of what was.
    back = await tab("alice")
    assert back.snapshots["me"]["states"]["board"]["notes"] == ""


async def test_an_ended_session_says_so_in_every_tab_and_to_whoever_comes_back(
    tab: Opener, staff: AsyncClient
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    assert await act(staff, "end") == [f"Ended {CODE}."]
    for each in (alice, bob):
        assert await ended(each, "ended") == "This session is over."
        assert await each.closed() == Close.ENDED


async def test_a_locked_session_tells_newcomers_whom_to_ask_and_nobody_else(
    tab: Opener, staff: AsyncClient
) -> None:
    alice = await tab("alice")
    said = await act(staff, "lock")
    assert said == [f"Locked {CODE}. People already in can carry on."]
    assert (await alice.act(1, "board.note", text="still here"))["type"] == "ack"
    with pytest.raises(SessionLocked) as refused:
        await stores.get(Board, CODE, "zoe").asnapshot()
    assert "Ask whoever runs it to let you in." in refused.value.message
    await act(staff, "unlock")
    assert (await tab("zoe")).welcome["participant"] == "zoe"


async def test_another_name_and_role_reach_the_tab_and_what_it_may_do(
    tab: Opener, staff: AsyncClient
) -> None:
    alice = await tab("alice")
    refused = await alice.act(1, "agenda.advance")
    assert (refused["type"], refused["code"]) == ("reject", "forbidden")
    said = await act(staff, "name", "alice", called="Ada")
    assert said == ["Renamed alice to Ada."]
    await alice.expect("self", name="Ada", role="participant")
    said = await act(staff, "role", "alice", role="facilitator")
    assert said == ["The role of Ada is facilitator now."]
    await alice.expect("self", name="Ada", role="facilitator")
    assert (await alice.act(2, "agenda.advance"))["type"] == "ack"


async def test_a_message_is_read_by_those_whom_it_is_said_to_have_reached(
    tab: Opener, staff: AsyncClient
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    said = await act(staff, "message", "alice", text="Lunch")
    assert said == ["Sent to 1 person, 1 tab."]
    await alice.expect("message", data={"announcement": "Lunch"})
    assert bob.silent
    said = await act(staff, "message", text="All")
    assert said == ["Sent to 2 people, 2 tabs."]
    for each in (alice, bob):
        await each.expect("message", data={"announcement": "All"})


async def test_a_step_that_staff_open_is_opened_in_every_tab(
    tab: Opener, staff: AsyncClient
) -> None:
    alice, bob = await tab("alice"), await tab("bob")
    assert await act(staff, "run:agenda.advance") == ["Now at step 2."]
    for each in (alice, bob):
        frame = await each.expect("patch", doc="session")
        assert frame["ops"] == [{"op": "replace", "path": "/agenda/step", "value": 2}]
    assert (await stores.get(Agenda, CODE).asnapshot()).state.step == 2
