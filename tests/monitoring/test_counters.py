"""The counts of a process: dispatches, tries and conflicts."""

from __future__ import annotations

import os
import socket

import pytest

from sessionstores.exceptions import ActionRejected
from sessionstores.manager import stores
from tests.rivals import overtake
from tests.sockets import CODE
from tests.workshop.states import Board


def test_the_process_counts_dispatches_tries_and_conflicts() -> None:
    board = stores.get(Board, CODE, "alice")
    board.dispatch(Board.note, "first")
    before = stores.stats().process
    with pytest.raises(ActionRejected):
        board.dispatch(Board.move, "no such card", pile="keep")
    overtaken = False

    def slow_note(state: Board) -> None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            overtake(board, lambda state: state.note("overtaken"))
        state.notes = "slow"

    board.dispatch(slow_note)
    after = stores.stats().process
    assert board.state.notes == "slow"
    assert after.dispatches - before.dispatches == 2
    assert after.tries - before.tries == 3
    assert after.conflicts - before.conflicts == 1
    assert (after.pid, after.host) == (os.getpid(), socket.gethostname())
