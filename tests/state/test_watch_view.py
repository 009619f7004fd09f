"""Watch views: what a role sees of others' states, in snapshots and in patches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.event_bus import Change
from sessionstores.keys import StoreKey
from sessionstores.state import codec
from sessionstores.state.apply_patch import apply
from sessionstores.state.declaration import State, field, registry
from sessionstores.state.watch_view import WatchView, watch_view

with registry.isolated():

    class Paper(State, sensitive=("draft",), watch=("teacher",), rename="camel"):
        title: str = ""
        draft: list[str] = field(default_factory=list[str])
        two_words: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    class Diary(State):
        title: str = ""

    class Score(State, watch=("teacher", "guest")):
        points: int = 0


VIEW = WatchView((Paper, Score))
NAMES = frozenset({"paper", "score"})
KEY = StoreKey("K7Q2ZD", "bob")

SECRET = "canary"
texts = st.sampled_from(["", "a", "b", "a long text that takes some bytes"])
hidden = st.sampled_from([SECRET, f"{SECRET}-2", f"{SECRET} of another length"])
lists = st.lists(texts, max_size=4)


@st.composite
def records(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw a record's stored states, with what this release does not declare."""
    paper: dict[str, Any] = {
        "title": draw(texts),
        "draft": draw(st.lists(hidden | texts, max_size=4)),
        "twoWords": draw(st.dictionaries(st.sampled_from("xy/~"), lists, max_size=3)),
    }
    if draw(st.booleans()):
        paper["later"] = draw(hidden | st.lists(hidden | texts, max_size=3))
    if draw(st.booleans()):
        paper = dict(draw(st.permutations(list(paper.items()))))
    states = {
        "paper": paper,
        "diary": {"title": draw(hidden)},
        "score": {"points": draw(st.integers(0, 3))},
    }
    return {name: b"1:" + msgspec.json.encode(state) for name, state in states.items()}


def shown(stored: dict[str, bytes]) -> dict[str, Any]:
    text = msgspec.json.encode(VIEW.states(stored))
    found: dict[str, Any] = msgspec.json.decode(text)
    return found


def between(before: dict[str, bytes], after: dict[str, bytes]) -> bytes:
    changed = {name: after[name] for name in after if after[name] != before.get(name)}
    return Change(KEY, "a", "b", before, changed).operations


@given(records(), records())
def test_a_filtered_patch_leads_to_what_a_snapshot_shows(
    before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    operations = VIEW.operations(between(before, after), NAMES)
    if operations is not None:
        assert apply(shown(before), msgspec.json.decode(operations)) == shown(after)


@given(records(), records())
def test_nothing_hidden_is_in_a_snapshot_or_a_patch(
    before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    assert SECRET not in str(shown(after))
    operations = VIEW.operations(between(before, after), NAMES)
    assert SECRET.encode() not in (operations or b"")


@given(records())
def test_a_state_that_whoever_watches_has_not_takes_a_snapshot(
    record: dict[str, bytes],
) -> None:
    missing = {name: record[name] for name in record if name != "score"}
    operations = between(missing, record)
    assert VIEW.operations(operations, NAMES - {"score"}) is None
    # A state that is not shown at all needs none.
    without = {name: record[name] for name in record if name != "diary"}
    assert VIEW.operations(between(without, record), NAMES) == b"[]"


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        # What was hidden is in no operation.
        ({"op": "move", "from": "/paper/draft/0", "path": "/paper/title"}, None),
        ({"op": "copy", "from": "/diary/title", "path": "/paper/title"}, None),
        ({"op": "replace", "path": "", "value": {}}, None),
        (
            {"op": "move", "from": "/paper/title", "path": "/paper/draft"},
            {"op": "remove", "path": "/paper/title"},
        ),
        (
            {"op": "replace", "path": "/paper", "value": {"title": "x", "draft": []}},
            {"op": "replace", "path": "/paper", "value": {"title": "x"}},
        ),
        ({"op": "remove", "path": "/paper/draft/0"}, ()),
        ({"op": "add", "path": "/paper/draft~1x", "value": 1}, ()),
        ({"op": "add", "path": "/paperwork/title", "value": 1}, ()),
        ({"op": "move", "from": "/diary/a", "path": "/diary/b"}, ()),
    ],
)
def test_each_operation_is_shown_as_far_as_its_places_are(
    operation: dict[str, Any], left: Any
) -> None:
    found = VIEW.operations(msgspec.json.encode([operation]), NAMES)
    if left is None:
        assert found is None
    else:
        assert found is not None
        assert msgspec.json.decode(found) == ([left] if left else [])


def test_a_role_sees_the_states_that_name_it() -> None:
    with registry.isolated():

        class Notes(State, watch=("teacher",)):
            text: str = ""

        class Board(State, watch=("teacher", "guest")):
            text: str = ""

        class Agenda(State, scope="session", watch=("teacher", "guest", "staff")):
            step: int = 1

        assert watch_view("teacher").names == ["board", "notes"]
        assert watch_view("guest").classes == (Board,)
        assert Notes not in watch_view("guest").classes
        for role in ("staff", "participant", ""):
            assert not watch_view(role)
            assert watch_view(role).digest == ""
        assert watch_view("teacher").digest == watch_view("teacher").digest
        assert watch_view("teacher").digest != watch_view("guest").digest
        assert Agenda.__sessionstores__.watch


def test_a_whole_state_is_not_encoded_anew() -> None:
    stored = {"score": codec.encode(Score(points=3))}
    assert bytes(VIEW.states(stored)["score"]) == b'{"points":3}'
