"""What a tab is told of an action whose outcome the server does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable, UnknownState
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.realtime import dispatcher
from sessionstores.store import record_queue
from tests.sockets import CODE, Frame, Opener, Socket
from tests.workshop.states import Agenda, Board


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


async def put_again(tab: Socket, id: int, action: str, **args: Any) -> Frame:
    """Send an action of the client c1 again; return its answer."""
    state, _, name = action.partition(".")
    await tab.say(
        type="action", id=id, client="c1", state=state, action=name, args=args
    )
    return await tab.receive()


async def test_of_many_refusals_none_is_ever_acknowledged(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    first = await tab(client="c1")
    for id in range(1, 201):
        await first.act(id, "board.move", card="joker", pile="keep")
    assert (await first.act(201, "board.note", text="x"))["type"] == "ack"
    second = await tab(client="c2")
    codes = [
        (await put_again(second, id, "board.move", card="ace", pile="keep"))["code"]
        for id in range(1, 201)
    ]
    assert codes == ["rejected"] * 72 + ["no_such_card"] * 128
    assert (await put_again(second, 201, "board.note", text="x"))["type"] == "ack"


async def test_an_action_of_a_state_that_one_worker_does_not_know_is_not_acknowledged(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_state = dispatcher.get_state

    def older(name: str) -> Any:
        if name == "board":
            raise UnknownState("There is no state 'board'.")
        return get_state(name)

    first = await tab(client="c1")
    with monkeypatch.context() as release:
        release.setattr(dispatcher, "get_state", older)
        assert (await first.act(1, "board.note", text="x"))["code"] == "unknown_state"
    assert (await first.act(2, "board.note", text="y"))["type"] == "ack"
    second = await tab(client="c2")
    assert (await put_again(second, 1, "board.note", text="x"))["code"] == (
        "unknown_state"
    )
    assert await notes() == "y"
    # Nor is what another worker applied refused by one that does not know it.
    with monkeypatch.context() as release:
        release.setattr(dispatcher, "get_state", older)
        assert (await put_again(second, 2, "board.note", text="y"))["type"] == "ack"


@pytest.mark.parametrize("text", ["x" * 70_000, '{"type":"action","id":1,"state":7}'])
async def test_an_action_whose_frame_could_not_be_read_is_not_acknowledged(
    tab: Opener, text: str
) -> None:
    first = await tab(client="c1")
    await first.say_text(text)
    await first.expect("error")
    assert (await first.act(2, "board.note", text="y"))["type"] == "ack"
    second = await tab(client="c2")
    assert (await put_again(second, 1, "board.note", text="x"))["code"] == "rejected"


async def test_an_action_that_changed_nothing_is_acknowledged_again(
    tab: Opener,
) -> None:
    first = await tab(client="c1")
    assert (await first.act(1, "board.note", text=""))["type"] == "ack"
    assert (await first.act(2, "board.note", text="y"))["type"] == "ack"
    second = await tab(client="c2")
    again = await put_again(second, 1, "board.note", text="")
    assert (again["type"], again["base"]) == ("ack", again["rev"])


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("agenda.advance", {}),
        ("agenda.vanished", {}),
        ("agenda.vote", {"card": "no number"}),
    ],
    ids=["forbidden", "unknown", "malformed"],
)
async def test_what_was_applied_is_acknowledged_though_it_would_be_refused_now(
    tab: Opener, action: str, args: Any
) -> None:
    first = await tab(client="c1")
    assert (await first.act(1, "agenda.vote", card=3))["type"] == "ack"
    second = await tab(client="c2")
    assert (await put_again(second, 1, action, **args))["type"] == "ack"
    # And what was not applied is refused.
    assert (await put_again(second, 2, action, **args))["type"] == "reject"


async def test_a_tab_that_makes_up_clients_runs_no_action_twice(
    tab: Opener, settings: Any
) -> None:
    settings.SESSIONSTORES = {"RATE_LIMIT": None}
    bob, eve = await tab("bob", client="b"), await tab("eve", client="e")
    assert (await bob.act(1, "agenda.vote", card=1))["type"] == "ack"
    answers = []
    for number in (*range(100), *range(100)):
        await eve.say(
            type="action",
            id=1,
            client=f"{number:040}",
            state="agenda",
            action="vote",
            args={"card": number},
        )
        while (answer := await eve.receive())["type"] == "patch":
            pass
        answers.append(answer)
    kinds = [each.get("code", each["type"]) for each in answers]
    assert kinds[:5] == ["ack"] * 5
    assert set(kinds[100:]) <= {"ack", "outcome_unknown"}
    # Those that are acknowledged now ran before.
    assert not any("result" in each for each in answers[100:])
    agenda = await stores.get(Agenda, CODE).asnapshot()
    acked = [n for n, kind in enumerate(kinds[:100]) if kind == "ack"]
    assert agenda.state.votes["eve"] == acked[-1]
    # It costs others nothing.
    again = await tab("bob", client="new")
    answer = await put_bob(again)
    assert answer["type"] == "ack"


async def put_bob(tab: Socket) -> Frame:
    """Send bob's vote again."""
    await tab.say(
        type="action",
        id=1,
        client="b",
        state="agenda",
        action="vote",
        args={"card": 1},
    )
    return await tab.receive()


@asynccontextmanager
async def turns_taken(
    monkeypatch: pytest.MonkeyPatch, key: StoreKey
) -> AsyncIterator[None]:
    """Let whoever waits for a turn on a record wait in vain, and not for long."""
    monkeypatch.setattr(record_queue, "WAIT_SECONDS", 0.01)
    async with record_queue.holding(get_backend(blocking=False), key):
        yield


async def test_an_action_that_waits_in_vain_to_be_repeated_is_no_conflict(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await tab(client="c1")
    assert (await first.act(1, "board.note", text="one"))["type"] == "ack"
    assert (await first.act(2, "board.note", text="two"))["type"] == "ack"
    second = await tab(client="c2")
    async with turns_taken(monkeypatch, StoreKey(CODE, "alice")):
        # The client would run a conflict again, under a new id.
        again = await put_again(second, 1, "board.note", text="one")
        assert (again["type"], again["base"]) == ("ack", again["rev"])
        # Where it was first sent, it may wait for its turn to this moment.
        again = await put_again(second, 3, "board.note", text="three")
        assert again["code"] == "outcome_unknown"
        # What is sent for the first time has not been run.
        answer = await second.act(4, "board.note", text="four")
        assert answer["code"] == "conflict"
    assert await notes() == "two"
