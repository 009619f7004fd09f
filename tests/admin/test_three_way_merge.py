"""Three-way merge of states: who changed what, and what both together are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores import State, field
from sessionstores.admin.three_way_merge import ABSENT, Merged, merge_states
from sessionstores.state.declaration import registry


class Circle(msgspec.Struct, tag="circle"):
    x: int = 0
    r: int = 1


class Square(msgspec.Struct, tag="square"):
    x: int = 0
    side: int = 1


with registry.isolated():

    class Any_(State, name="any"):
        """Holds anything, and one of two kinds of structs."""

        data: dict[str, Any] = field(default_factory=dict[str, Any])
        shape: Circle | Square = field(default_factory=Circle)


def merge(base: Any, theirs: Any, mine: Any, **options: Any) -> Merged:
    """Merge three documents as the field `data`."""
    sides = [{"data": each} for each in (theirs, mine)]
    start = None if base is None else {"data": base}
    return merge_states(Any_, start, *sides, **options)


def told(merged: Merged) -> list[tuple[str, str]]:
    return [(each.path, each.by) for each in merged.changes]


def test_what_only_one_side_has_changed_is_taken_from_it() -> None:
    base = {"a": 1, "b": {"x": 1, "y": 1}, "gone": 1, "left": 1}
    theirs = {"a": 2, "b": {"x": 1, "y": 2}, "left": 1, "their": []}
    mine = {"a": 1, "b": {"x": 3, "y": 1}, "gone": 1, "my": []}
    merged = merge(base, theirs, mine)
    assert merged.data == {
        "data": {"a": 2, "b": {"x": 3, "y": 2}, "their": [], "my": []}
    }
    assert merged.undecided == ()
    assert told(merged) == [
        ("/data/a", "theirs"),
        ("/data/b/x", "mine"),
        ("/data/b/y", "theirs"),
        ("/data/gone", "theirs"),
        ("/data/left", "mine"),
        ("/data/their", "theirs"),
        ("/data/my", "mine"),
    ]
    removed = merged.changes[3]
    assert (removed.base, removed.theirs, removed.mine) == (1, ABSENT, 1)


@pytest.mark.parametrize(
    ("base", "theirs", "mine"),
    [
        ({"a": 1}, {"a": 2}, {"a": 3}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [0, 1]}),
        ({"a": 1}, {}, {"a": 2}),
        ({"a": 1}, {"a": 2}, {}),
        ({}, {"a": {"x": 1}}, {"a": {"y": 1}}),
        ({"a": {"x": 1}}, {"a": [1]}, {"a": {"x": 2}}),
        ({"a": 1}, {"a": True}, {"a": 1.0}),
    ],
)
def test_different_changes_of_one_place_are_to_be_decided(
    base: Any, theirs: Any, mine: Any
) -> None:
    merged = merge(base, theirs, mine)
    assert merged.undecided == ("/data/a",)
    assert [each.path for each in merged.overlaps] == ["/data/a"]
    assert merged.data == {"data": theirs}
    for side, document in (("theirs", theirs), ("mine", mine)):
        decided = merge(base, theirs, mine, choices={"/data/a": side})
        assert decided.undecided == ()
        assert decided.data == {"data": document}


def test_the_same_change_of_both_is_no_overlap() -> None:
    merged = merge({"a": 1, "b": 1}, {"a": 2}, {"a": 2})
    assert told(merged) == [("/data/a", "both"), ("/data/b", "both")]
    assert merged.data == {"data": {"a": 2}}


def test_an_object_that_has_become_another_kind_is_merged_as_a_whole() -> None:
    base = {"type": "circle", "x": 0, "r": 1}
    theirs = {"type": "square", "x": 0, "side": 1}
    mine = {"type": "circle", "x": 5, "r": 1}
    sides = ({"shape": each} for each in (base, theirs, mine))
    merged = merge_states(Any_, *sides)
    assert told(merged) == [("/shape", "overlap")]
    moved = {**base, "r": 9}
    sides = ({"shape": each} for each in (base, moved, mine))
    assert merge_states(Any_, *sides).data == {"shape": {**mine, "r": 9}}


def test_without_a_base_every_difference_is_to_be_decided() -> None:
    merged = merge(None, {"a": 1, "b": 1, "c": {"x": 1}}, {"a": 1, "c": {"x": 2}})
    assert merged.undecided == ("/data/b", "/data/c/x")
    assert {each.base for each in merged.changes} == {ABSENT}


def test_beside_something_hidden_only_theirs_is_kept() -> None:
    base = {"ada": {"who": "a", "age": 1}, "ben": {"who": "b"}}
    theirs = {"ada": {"who": "a", "age": 2}, "ben": {"who": "b"}}
    mine = {"ada": {"who": "A", "age": 1}, "ben": {"who": "B"}}
    hidden = ["/data/ada/token"]
    choices = {"/data/ada/who": "mine"}
    merged = merge(base, theirs, mine, hidden=hidden, choices=choices)
    assert [(each.path, each.guarded) for each in merged.overlaps] == [
        ("/data/ada/who", True),
        ("/data/ben/who", True),
    ]
    assert merged.data == {"data": theirs}


def test_who_moves_keys_moves_them_for_both() -> None:
    base, moved = {"a": 1, "b": 1}, {"b": 1, "a": 1}
    for theirs, mine, expected in (
        ({**base, "c": 1}, moved, "bac"),
        (moved, {**base, "c": 1}, "bac"),
        ({"b": 1, "a": 2}, {"b": 1, "a": 1, "c": 1}, "bac"),
    ):
        data = merge(base, theirs, mine).data["data"]
        assert "".join(data) == expected


KEYS = st.sampled_from(["a", "b", "~/"])
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        st.integers(0, 2) | st.booleans(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner),
        max_leaves=5,
    ),
)


@given(base=DOCUMENTS, theirs=DOCUMENTS, mine=DOCUMENTS)
def test_no_side_loses_what_it_alone_has_changed(
    base: Any, theirs: Any, mine: Any
) -> None:
    text = json.dumps
    assert merge(base, theirs, base).data == {"data": theirs}
    assert merge(base, base, mine).data == {"data": mine}
    merged = merge(base, theirs, mine)
    for side in ("theirs", "mine"):
        decided = merge(
            base, theirs, mine, choices=dict.fromkeys(merged.undecided, side)
        )
        assert decided.undecided == ()
        # What it was merged into has all its changes: of neither is anything left.
        again = merge(base, decided.data["data"], mine)
        left = [each.by for each in again.changes]
        assert "mine" not in left
    # Merged the other way round, the same is to be decided.
    other = merge(base, mine, theirs)
    assert {*merged.undecided} == {*other.undecided}
    if not merged.undecided:
        assert text(merged.data, sort_keys=True) == text(other.data, sort_keys=True)
