"""What a tab is told of an action whose outcome the server does not know."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.manager import stores
from tests.sockets import CODE, Frame, Opener, Socket
from tests.workshop.states import Board


async def fails(*args: Any, **kwargs: Any) -> Any:
    raise StoreUnavailable("redis at 10.0.0.7 does not answer")


async def notes() -> str:
    return (await stores.get(Board, CODE, "alice").asnapshot()).state.notes


async def resend(tab: Socket, id: int, text: str) -> Frame:
    """Send an action again, as one of the first connection, and return its answer."""
    await tab.say(
        type="action",
        id=id,
        client="c1",
        state="board",
        action="note",
        args={"text": text},
    )
    return await tab.receive()


@pytest.mark.parametrize("applied", [True, False])
async def test_an_action_whose_commit_got_no_answer_is_of_unknown_outcome(
    tab: Opener, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    commit = type(get_backend(blocking=False)).commit

    async def unanswered(*args: Any, **kwargs: Any) -> Any:
        if applied:
            await commit(*args, **kwargs)
        await fails()

    first = await tab(client="c1")
    with monkeypatch.context() as outage:
        outage.setattr(type(get_backend(blocking=False)), "commit", unanswered)
        answer = await first.act(1, "board.note", text="one")
    assert (answer["type"], answer["code"]) == ("reject", "outcome_unknown")
    assert "10.0.0.7" not in answer["message"]
    assert (await first.act(2, "board.note", text="two"))["type"] == "ack"
    # Had the tab not heard the first answer, it would send the action again.
    second = await tab(client="c2")
    again = await resend(second, 1, "one")
    if applied:
        assert (again["type"], again["base"]) == ("ack", again["rev"])
    else:
        assert (again["type"], again["code"]) == ("reject", "store_unavailable")
    assert await notes() == "two"


async def test_an_action_sent_again_in_an_outage_is_of_unknown_outcome(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await tab(client="c1")
    assert (await first.act(1, "board.note", text="one"))["type"] == "ack"
    second = await tab(client="c2")
    with monkeypatch.context() as outage:
        outage.setattr(type(get_backend(blocking=False)), "read", fails)
        answer = await resend(second, 1, "one")
        assert (answer["type"], answer["code"]) == ("reject", "outcome_unknown")
        # What is sent for the first time has not been run.
        answer = await second.act(2, "board.note", text="two")
        assert (answer["type"], answer["code"]) == ("reject", "store_unavailable")
    assert (await second.act(3, "board.note", text="three"))["type"] == "ack"
    answer = await resend(second, 1, "one")
    assert (answer["type"], answer["base"]) == ("ack", answer["rev"])
    assert await notes() == "three"
