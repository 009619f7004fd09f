"""Recordings: their bounds, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from sessionstores import ActionRejected, stores
from sessionstores.contrib.recording import MAX_CALLS, Recording, begin, end
from tests.sockets import CODE
from tests.workshop.states import Agenda, Board


@pytest.fixture
def recording() -> Iterator[Recording]:
    found, before = begin()
    yield found
    end(found, before)


def test_a_recording_lists_so_many_calls_and_counts_the_rest() -> None:
    recording = Recording()
    for _ in range(MAX_CALLS + 3):
        with recording.call("touch"):
            pass
    assert len(recording.calls) == MAX_CALLS
    assert recording.left_out == 3


def test_a_call_within_a_call_is_nested_and_its_time_counted_once() -> None:
    recording = Recording()
    with recording.call("dispatch") as outer, recording.call("touch") as inner:
        pass
    with recording.call("peek") as last:
        pass
    assert [call.nested for call in recording.calls] == [False, True, False]
    assert inner.seconds <= outer.seconds
    assert recording.seconds == outer.seconds + last.seconds


def test_what_a_call_raises_goes_on_and_only_its_code_is_kept() -> None:
    recording = Recording()
    with pytest.raises(ActionRejected), recording.call("dispatch"):
        raise ActionRejected("The secret is out.", code="told")
    (call,) = recording.calls
    assert (call.result, call.code) == ("rejected", "told")


def test_steps_outside_of_calls_and_their_bytes_are_counted(
    recording: Recording,
) -> None:
    stored = stores.get(Board, CODE, "alice").snapshot
    stored()
    size = recording.bytes
    assert recording.others.steps["open"] == 1
    stored()
    (person,) = stores.people(CODE)
    assert recording.bytes - size == person.bytes
    stores.peek_all(Board, CODE)
    assert recording.others.steps["read_states"] == 1


async def test_a_task_that_outlives_its_request_adds_nothing() -> None:
    recording, before = begin()
    ended = asyncio.Event()

    async def go_on() -> None:
        await ended.wait()
        await stores.get(Agenda, CODE).asnapshot()

    task = asyncio.create_task(go_on())
    end(recording, before)
    ended.set()
    await task
    assert not recording.others.steps


def test_a_recording_within_another_gives_way_to_it_again() -> None:
    def nested() -> None:
        outer, none = begin()
        inner, before = begin()
        assert before is outer
        end(inner, before)
        stores.get(Agenda, CODE).snapshot()
        assert outer.others.steps
        assert not inner.others.steps
        end(outer, none)

    copy_context().run(nested)
