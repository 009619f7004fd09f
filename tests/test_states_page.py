"""What the page on states shows works as shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.dispatch import receiver

from sessionstores import field, stores
from sessionstores.signals import state_quarantined
from sessionstores.state import codec
from sessionstores.state.declaration import State, problems_of, registry
from tests.contract.contract import quarantine_in

PAGE = (Path(__file__).parent.parent / "docs" / "states.md").read_text()


def test_its_migration_carries_what_it_says() -> None:
    block = next(each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    space: dict[str, Any] = {"__name__": __name__, "State": State}
    with registry.isolated():
        exec(compile(block, "states.md", "exec", dont_inherit=True), space)
        board = space["Board"]
        assert problems_of(board) == []
        stored = b'1:{"title":"Plan","points":3,"notes":"x"}'
        state, before = codec.load(board, stored)
        assert (state.heading, state.points) == ("Plan", [3])
        assert codec.plain(codec.dump(state, before)[0]) == {
            "points": [3],
            "notes": "x",
            "heading": "Plan",
        }


def declare(space: dict[str, Any], kind: str) -> Any:
    """Declare the board anew, in the place of the one before."""
    source = f"class Board(State):\n    deck: {kind} = field(default_factory={kind})"
    exec(compile(source, "states.md", "exec", dont_inherit=True), space)
    return space["Board"]


def test_what_could_not_be_read_can_be_put_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read, put_back, receive = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[-3:]
    rows: list[dict[str, Any]] = []
    lost = SimpleNamespace(create=lambda **row: rows.append(row))
    space: dict[str, Any] = {
        "__name__": __name__,
        "Lost": SimpleNamespace(objects=lost),
        "State": State,
        "field": field,
        "json": json,
        "receiver": receiver,
        "state_quarantined": state_quarantined,
        "stores": stores,
    }
    kept = list(state_quarantined.receivers)
    with registry.isolated():
        exec(receive, space)
        before = declare(space, "list[str]")
        stores.get(before, "K7Q2ZD", "alice").dispatch(
            lambda board: board.deck.append("ace")
        )
        spoilt = declare(space, "dict[str, int]")
        assert stores.get(spoilt, "K7Q2ZD", "alice").state.deck == {}
        key = quarantine_in(caplog)
        assert key.startswith("ss:{K7Q2ZD}:q:alice:")
        exec(re.sub(r"ss:\{K7Q2ZD\}:q:alice:\w+", key, read), space)
        assert space["found"] == ("board", b'1:{"deck":["ace"]}')
        assert [row["data"] for row in rows] == [space["found"].data]
        after = declare(space, "list[str]")
        exec(put_back, space)
        assert stores.get(after, "K7Q2ZD", "alice").state.deck == ["ace"]
    state_quarantined.receivers = kept
    state_quarantined.sender_receivers_cache.clear()
