"""Applying a patch: by the RFC, and without changing its source."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from sessionstores.state.apply_patch import InvalidPatch, apply
from tests.state.test_patch import alike, identical

VECTORS = Path(__file__).parents[1] / "vectors" / "json-patch"


def vectors() -> list[Any]:
    return [
        pytest.param(vector, id=f"{path.stem}-{number}")
        for path in sorted(VECTORS.glob("*.json"))
        for number, vector in enumerate(json.loads(path.read_bytes()))
        if "doc" in vector and not vector.get("disabled")
    ]


@pytest.mark.parametrize("vector", vectors())
def test_apply_passes_the_public_vectors(vector: dict[str, Any]) -> None:
    document = copy.deepcopy(vector["doc"])
    if "error" in vector:
        with pytest.raises(InvalidPatch):
            apply(document, vector["patch"])
    else:
        result = apply(document, vector["patch"])
        assert alike(result, vector.get("expected", result))
    assert identical(document, vector["doc"])


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        ({"op": "add", "path": "/list/01", "value": 1}, "not an array index"),
        ({"op": "add", "path": "/list/²", "value": 1}, "not an array index"),
        ({"op": "add", "path": "/list/-1", "value": 1}, "not an array index"),
        ({"op": "add", "path": "/list/4", "value": 1}, "past the end"),
        (
            {"op": "add", "path": f"/list/{'9' * 5000}", "value": 1},
            "not an array index",
        ),
        ({"op": "remove", "path": "/list/-"}, "not an array index"),
        ({"op": "replace", "path": "/list/3", "value": 1}, "past the end"),
        ({"op": "replace", "path": "/none", "value": 1}, "no member 'none'"),
        ({"op": "replace", "path": "/__class__", "value": 1}, "no member"),
        ({"op": "add", "path": "/text/0", "value": 1}, "not a container"),
        ({"op": "add", "path": "/none/0", "value": 1}, "no member"),
        ({"op": "add", "path": "list", "value": 1}, "begin with '/'"),
        ({"op": "add", "path": "/~2", "value": 1}, "'~' without"),
        ({"op": "add", "path": "/~", "value": 1}, "'~' without"),
        ({"op": "add", "path": 5, "value": 1}, "a string"),
        ({"op": "add", "value": 1}, "'path' must be"),
        ({"op": "add", "path": "/x"}, "'value' is missing"),
        ({"op": "replace", "path": "/text"}, "'value' is missing"),
        ({"op": "test", "path": "/text"}, "'value' is missing"),
        ({"op": "test", "path": "/text", "value": "u"}, "differs"),
        ({"op": "test", "path": "/one", "value": True}, "differs"),
        ({"op": "test", "path": "/deep", "value": {"a": [0]}}, "differs"),
        ({"op": "test", "path": "/list", "value": {}}, "differs"),
        ({"op": "copy", "path": "/x", "from": "/none"}, "no member"),
        ({"op": "move", "path": "/x"}, "'from' must be"),
        ({"op": "move", "path": "/deep/a", "from": "/deep"}, "into itself"),
        ({"op": "move", "path": "/none", "from": "/none"}, "no member"),
        ({"op": "remove", "path": ""}, "whole document"),
        ({"op": "swap", "path": "/x"}, "op is 'swap'"),
        ({"path": "/x"}, "op is None"),
    ],
)
def test_an_operation_that_does_not_fit_is_refused_whole(
    operation: dict[str, Any], reason: str
) -> None:
    document = {"list": [1, 2], "text": "t", "one": 1, "deep": {"a": [1]}}
    before = copy.deepcopy(document)
    with pytest.raises(InvalidPatch, match=reason) as caught:
        apply(document, [{"op": "add", "path": "/list/0", "value": 0}, operation])
    assert "operation 1" in str(caught.value)
    assert document == before


def test_a_test_compares_as_json_does() -> None:
    document = {"a": [1, {"b": None}], "t": True}
    same = {"t": True, "a": [1.0, {"b": None}]}
    assert apply(document, [{"op": "test", "path": "", "value": same}]) is document


def test_apply_shares_what_did_not_change() -> None:
    document: Any = {"deck": ["a"], "piles": {"keep": ["b"], "drop": ["c"]}, "n": [[1]]}
    before = copy.deepcopy(document)
    value = {"new": ["d"]}
    result = apply(
        document,
        [
            {"op": "add", "path": "/piles/keep/-", "value": value},
            {"op": "add", "path": "/piles/keep/1/new/0", "value": "e"},
            {"op": "test", "path": "/n/0/0", "value": 1},
        ],
    )
    assert result["piles"]["keep"] == ["b", {"new": ["e", "d"]}]
    assert result["deck"] is document["deck"]
    assert result["piles"]["drop"] is document["piles"]["drop"]
    assert result["n"] is document["n"]
    assert document == before
    assert value == {"new": ["d"]}
    assert apply(document, []) is document


def test_a_copy_changes_apart_from_its_source() -> None:
    result = apply(
        {"a": {"b": [1]}},
        [
            {"op": "add", "path": "/a/b/-", "value": 2},
            {"op": "copy", "from": "/a", "path": "/c"},
            {"op": "add", "path": "/c/b/-", "value": 3},
            {"op": "remove", "path": "/a/b/0"},
        ],
    )
    assert result == {"a": {"b": [2]}, "c": {"b": [1, 2, 3]}}


def test_a_move_onto_itself_changes_nothing() -> None:
    document = {"a": [1]}
    assert apply(document, [{"op": "move", "from": "/a", "path": "/a"}]) is document
