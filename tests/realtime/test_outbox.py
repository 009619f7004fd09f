from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from sessionstores.realtime import outbox as module
from sessionstores.realtime.outbox import Outbox
from tests.sockets import until


def rev(number: int) -> str:
    return f"7f3a.{number}-{number:08x}"


def op(number: int) -> bytes:
    return json.dumps([{"n": number}]).encode()


class Line:
    """A line to a tab that can be held up; what got through is in `sent`."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.sent: list[dict[str, Any]] = []
        self.lost = 0
        self.attended = 0
        self.error: Exception | None = None
        self.reads: list[str] = []
        self.outbox = Outbox(self._send, self._read, self._attend, self._lose)

    async def _send(self, event: dict[str, Any]) -> None:
        await self.free.wait()
        if self.error:
            raise self.error
        self.sent.append(json.loads(event["text"]))

    async def _read(self, doc: str) -> str:
        self.reads.append(doc)
        return json.dumps({"type": "snapshot", "doc": doc})

    def _attend(self) -> str:
        self.attended += 1
        return json.dumps({"type": "presence", "n": self.attended})

    def _lose(self) -> None:
        self.lost += 1

    def patch(
        self, base: int, to: int, doc: str = "me", ops: bytes | None = None
    ) -> None:
        self.outbox.patch(doc, rev(base), rev(to), ops or op(to))

    async def rest(self) -> None:
        """Wait until nothing more is written."""
        await until(lambda: not self.outbox._writing)

    @property
    def shown(self) -> list[str]:
        return [
            f"{frame['type']} {frame.get('doc', frame.get('n', ''))}".strip()
            for frame in self.sent
        ]


def text(number: int, size: int = 0) -> str:
    return json.dumps({"type": "text", "n": number, "x": "x" * size})


@pytest.fixture
async def line() -> Line:
    line = Line()
    await line.outbox.begin()
    return line


async def test_nothing_is_written_before_the_beginning() -> None:
    line = Line()
    line.outbox.post(text(3))
    line.patch(1, 2)
    await asyncio.sleep(0)
    assert line.sent == []
    await line.outbox.begin(text(1), text(2))
    await line.rest()
    assert line.shown == ["text 1", "text 2", "text 3", "patch me"]


async def test_a_reply_to_an_idle_tab_needs_no_other_task(line: Line) -> None:
    before = asyncio.all_tasks()
    await line.outbox.reply(text(1))
    assert line.shown == ["text 1"]
    assert asyncio.all_tasks() == before


async def test_patches_join_while_the_tab_cannot_be_written_to(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    await asyncio.sleep(0)
    for number in range(1, 5):
        line.patch(number, number + 1)
    line.patch(1, 2, "session")
    line.free.set()
    await line.rest()
    assert line.shown == ["text 1", "patch me", "patch session"]
    joined = line.sent[1]
    assert (joined["base"], joined["rev"]) == (rev(1), rev(5))
    assert joined["ops"] == [{"n": n} for n in (2, 3, 4, 5)]


async def test_patches_that_come_in_the_other_order_join_too(line: Line) -> None:
    line.patch(2, 3)
    line.patch(1, 2)
    line.patch(3, 4, ops=b"[]")
    await line.rest()
    (joined,) = line.sent
    assert (joined["base"], joined["rev"]) == (rev(1), rev(4))
    assert joined["ops"] == [{"n": 2}, {"n": 3}]


async def test_a_gap_in_what_waits_gives_way_to_a_snapshot(line: Line) -> None:
    line.patch(1, 2)
    line.outbox.post(text(1))
    line.patch(5, 6)
    line.patch(6, 7)
    line.outbox.refresh("me")
    await line.rest()
    assert line.shown == ["snapshot me", "text 1"]
    assert line.reads == ["me"]


async def test_more_than_16_kb_of_patches_give_way_to_a_snapshot(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    await asyncio.sleep(0)
    for number in range(1, 10_001):
        line.patch(number, number + 1)
    assert len(line.outbox._queue) == 1
    line.free.set()
    await line.rest()
    assert line.shown == ["text 1", "snapshot me"]


async def test_one_patch_alone_may_be_larger(line: Line) -> None:
    line.patch(1, 2, ops=json.dumps(["x" * 50_000]).encode())
    await line.rest()
    assert line.shown == ["patch me"]


async def test_a_reply_comes_after_the_patches_before_it(line: Line) -> None:
    line.patch(1, 2)
    reply = asyncio.create_task(line.outbox.reply(text(1), "me"))
    await asyncio.sleep(0)
    line.patch(3, 4)
    await reply
    await line.rest()
    assert line.shown == ["patch me", "text 1", "patch me"]
    assert [frame.get("rev") for frame in line.sent] == [rev(2), None, rev(4)]


async def test_a_snapshot_that_waits_makes_up_for_patches_after_a_reply(
    line: Line,
) -> None:
    line.outbox.refresh("me")
    reply = asyncio.create_task(line.outbox.reply(text(1), "me"))
    await asyncio.sleep(0)
    line.patch(3, 4)
    await reply
    await line.rest()
    assert line.shown[:2] == ["snapshot me", "text 1"]


async def test_a_reply_returns_when_it_has_been_written(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    reply = asyncio.create_task(line.outbox.reply(text(2)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not reply.done()
    line.free.set()
    await reply
    assert line.shown == ["text 1", "text 2"]


async def test_past_the_window_documents_wait_for_a_pong_and_replies_do_not(
    line: Line,
) -> None:
    await line.outbox.reply(text(1, module.WINDOW_BYTES))
    line.patch(1, 2)
    line.patch(2, 3)
    await line.outbox.reply(text(2))
    await line.rest()
    assert line.shown == ["text 1", "text 2", "ping"]
    assert line.outbox.asked is not None
    assert line.outbox.pong()
    await line.rest()
    assert line.shown == ["text 1", "text 2", "ping", "patch me"]
    assert line.sent[-1]["rev"] == rev(3)
    assert line.outbox.asked is None


async def test_a_pong_confirms_only_what_was_sent_before_its_ping(line: Line) -> None:
    line.outbox.ping('{"type":"ping"}')
    await line.rest()
    await line.outbox.reply(text(1, module.WINDOW_BYTES + 100))
    line.patch(1, 2)
    await line.rest()
    assert line.outbox.pong()
    await line.rest()
    # What the first pong confirmed was not enough; another ping has gone out.
    assert line.shown == ["ping", "text 1", "ping"]
    assert line.outbox.pong()
    await line.rest()
    assert line.shown[-1] == "patch me"


async def test_a_pong_that_nobody_asked_for_confirms_nothing(line: Line) -> None:
    assert not line.outbox.pong()


async def test_a_newer_ping_takes_the_place_of_one_that_waits(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    await asyncio.sleep(0)
    line.outbox.ping('{"type":"ping","n":1}')
    line.outbox.ping('{"type":"ping","n":2}')
    line.free.set()
    await line.rest()
    assert line.shown == ["text 1", "ping 2"]


async def test_who_is_present_is_asked_for_once_when_the_tab_can_take_it(
    line: Line,
) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    await asyncio.sleep(0)
    for _ in range(100):
        line.outbox.presence()
    assert line.attended == 0
    line.outbox.post(text(2))
    line.free.set()
    await line.rest()
    assert line.shown == ["text 1", "presence 1", "text 2"]
    line.outbox.presence()
    await line.rest()
    assert line.shown[3:] == ["presence 2"]


async def test_past_the_window_who_is_present_waits_for_a_pong(line: Line) -> None:
    line.outbox.post(text(1, module.WINDOW_BYTES))
    await line.rest()
    line.outbox.presence()
    line.outbox.presence()
    await line.rest()
    assert line.shown == ["text 1", "ping"]
    assert line.attended == 0
    line.outbox.pong()
    await line.rest()
    assert line.shown == ["text 1", "ping", "presence 1"]


async def test_a_tab_for_which_too_much_text_waits_is_given_up(line: Line) -> None:
    line.free.clear()
    for number in range(40):
        line.outbox.post(text(number, 50_000))
    assert line.lost == 1
    assert not line.outbox._queue
    line.free.set()


async def test_a_tab_that_confirms_nothing_is_given_up(line: Line) -> None:
    for number in range(40):
        await line.outbox.reply(text(number, 50_000))
    assert line.lost == 1
    assert len(line.sent) * 50_000 < module.WINDOW_BYTES + module.MAX_BYTES + 100_000


async def test_one_text_larger_than_all_limits_still_goes_out(line: Line) -> None:
    await line.outbox.reply(text(1, 2 * module.MAX_BYTES))
    await line.outbox.reply(text(2))
    assert line.lost == 0
    assert line.shown == ["text 1", "text 2"]


async def test_a_tab_that_is_gone_is_given_up_once(line: Line) -> None:
    line.error = OSError("gone")
    await line.outbox.reply(text(1))
    await line.outbox.reply(text(2))
    assert line.lost == 1


async def test_a_stopped_outbox_takes_nothing_and_frees_who_waits(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    reply = asyncio.create_task(line.outbox.reply(text(2)))
    await asyncio.sleep(0)
    line.outbox.stop()
    await asyncio.wait_for(reply, 5)
    line.patch(1, 2)
    line.outbox.refresh("me")
    line.outbox.post(text(3))
    line.outbox.ping("{}")
    assert not line.outbox._queue
    assert line.sent == []
    assert line.lost == 0


async def test_what_comes_while_a_snapshot_is_shown_follows_it(line: Line) -> None:
    line.free.clear()
    showing = asyncio.create_task(line.outbox.show("me"))
    await until(lambda: line.reads)
    line.patch(1, 2)
    line.outbox.post(text(1))
    line.free.set()
    await showing
    await line.rest()
    assert line.shown == ["snapshot me", "patch me", "text 1"]


async def test_a_snapshot_is_shown_after_what_is_on_its_way(line: Line) -> None:
    line.free.clear()
    line.outbox.post(text(1))
    await line.outbox.show("me")
    assert line.reads == []
    line.free.set()
    await line.rest()
    assert line.shown == ["text 1", "snapshot me"]


async def test_no_snapshot_is_shown_past_the_window(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW_BYTES", 40)
    await line.outbox.reply(text(1, 60))
    await line.outbox.show("me")
    await line.rest()
    assert line.reads == []
    assert line.outbox.pong()
    await line.rest()
    assert line.shown[-1] == "snapshot me"


async def test_a_patch_that_a_tab_takes_at_once_is_written_alone(line: Line) -> None:
    line.outbox.patch("me", rev(1), rev(2), op(2), '{"type":"patch","doc":"me"}')
    if sys.version_info >= (3, 12):
        # Without a turn of the loop.
        assert line.shown == ["patch me"]
    await line.rest()
    assert line.shown == ["patch me"]
    line.free.clear()
    line.outbox.patch("me", rev(2), rev(3), op(3), '{"type":"patch","doc":"me"}')
    line.patch(3, 4)
    line.patch(4, 5)
    line.outbox.post(text(1))
    assert line.shown == ["patch me"]
    line.free.set()
    await line.rest()
    assert line.shown == ["patch me", "patch me", "patch me", "text 1"]
    assert (line.sent[2]["base"], line.sent[2]["rev"]) == (rev(3), rev(5))


async def test_a_tab_that_is_gone_costs_the_others_nothing(line: Line) -> None:
    other = Line()
    await other.outbox.begin()
    line.error = OSError("gone")
    for each in (line, other):
        each.outbox.patch("me", rev(1), rev(2), op(2), '{"type":"patch","doc":"me"}')
    await other.rest()
    assert (line.lost, other.shown) == (1, ["patch me"])
    line.outbox.patch("me", rev(2), rev(3), op(3), '{"type":"patch","doc":"me"}')
    assert (line.lost, line.shown) == (1, [])
