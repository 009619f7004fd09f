"""Patches lead exactly from one JSON document to another, and stay small."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterable
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores.state.apply_patch import apply
from sessionstores.state.key_order import is_index
from sessionstores.state.patch import diff

NAMES = st.sampled_from(["a", "b", "", "~", "/", "~1/", "0", "-", "é", "🂡"]) | st.text(
    max_size=4
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 0.0, -0.0, 1.0, 1e300, 5e-324, -1.5, 10**16, 1e16])
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=5)
    ),
    max_leaves=30,
)
FEW: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 0.0, -0.0, 1.0, True, False, None, "", "a", "b", [], {}]
)


def size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def alike(one: Any, other: Any) -> bool:
    """Return whether documents are equal, in whatever order their keys are."""
    return identical(by_name(one), by_name(other))


def by_name(document: Any) -> Any:
    if isinstance(document, list):
        return [*map(by_name, document)]
    if isinstance(document, dict):
        return {name: by_name(document[name]) for name in sorted(document)}
    return document


def identical(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (
            one.keys() == other.keys()
            and ordered(one) == ordered(other)
            and all(identical(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return repr(one) == repr(other)


def ordered(names: Iterable[str]) -> list[str]:
    """Return the keys whose order counts: not those that JavaScript sorts."""
    return [name for name in names if not is_index(name)]


def by_library(document: Any, operations: list[Any]) -> Any:
    # Wrapped, as the library cannot tell a scalar document from a text to parse.
    return jsonpatch.apply_patch({"doc": document}, operations)["doc"]


def check(old: Any, new: Any) -> list[Any]:
    """Verify the patch between two documents in every way, and return it."""
    before, after = msgspec.json.encode(old), msgspec.json.encode(new)
    operations = diff(old, new, "/doc")
    assert msgspec.json.encode(old) == before
    assert msgspec.json.encode(new) == after
    # As a client gets them.
    received = msgspec.json.decode(msgspec.json.encode(operations))
    assert identical(by_library(old, received), new)
    assert identical(apply({"doc": old}, received)["doc"], new)
    assert identical(apply(old, diff(old, new)), new)
    assert bool(operations) is (before != after)
    return operations


def spots(document: Any) -> list[Any]:
    """Return every container of a document."""
    children = (
        list(document.values())
        if isinstance(document, dict)
        else document
        if isinstance(document, list)
        else None
    )
    if children is None:
        return []
    return [document, *(spot for child in children for spot in spots(child))]


def mutate(document: Any, draw: random.Random, fresh: Any) -> Any:
    containers = spots(document)
    if not containers:
        return fresh
    spot = draw.choice(containers)
    names = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
    deed = draw.choice(["add", "remove", "set", "move", "swap"])
    if deed == "add" or not names:
        put(spot, draw, fresh)
    elif deed == "remove":
        spot.pop(draw.choice(names))
    elif deed == "set":
        spot[draw.choice(names)] = fresh
    elif deed == "move":
        value = spot.pop(draw.choice(names))
        put(draw.choice(spots(document)), draw, value)
    else:
        one, other = draw.choice(names), draw.choice(names)
        spot[one], spot[other] = spot[other], spot[one]
    return document


def shuffle(document: Any, draw: random.Random) -> Any:
    """Return a document whose objects have their keys in another order."""
    if isinstance(document, list):
        return [shuffle(each, draw) for each in document]
    if not isinstance(document, dict):
        return document
    pairs = [(name, shuffle(each, draw)) for name, each in document.items()]
    if draw.random() < 0.7:
        draw.shuffle(pairs)
    return dict(pairs)


def put(spot: Any, draw: random.Random, value: Any) -> None:
    if isinstance(spot, dict):
        spot[draw.choice(["a", "b", "~/", "new"])] = value
    else:
        spot.insert(draw.randint(0, len(spot)), value)


@given(DOCUMENTS, DOCUMENTS)
@example(1, True)
@example(1.0, 1)
@example(0.0, -0.0)
@example([0, 1], [False, True])
@example([[1, "a"], 2], [[1.0, "a"], 2])
@example({"a": {"b": 1, "c": [2]}}, {"a": {"c": [2.0], "b": 1}})
@example(None, {})
@example([], {})
def test_diff_leads_from_any_document_to_any_other(old: Any, new: Any) -> None:
    check(old, new)


@given(DOCUMENTS, st.lists(DOCUMENTS, min_size=1, max_size=4), st.randoms())
def test_diff_leads_to_a_document_changed_a_little(
    old: Any, fresh: list[Any], draw: random.Random
) -> None:
    new = copy.deepcopy(old)
    for value in fresh:
        new = mutate(new, draw, copy.deepcopy(value))
    check(old, new)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(FEW, max_size=9), min_size=1),
    st.integers(1, 6),
    st.randoms(),
)
def test_cards_move_between_and_within_lists(
    old: dict[str, list[Any]], moves: int, draw: random.Random
) -> None:
    # Long values keep replacing a whole list from being the smaller patch.
    old = {name: [[card, "-" * 99] for card in cards] for name, cards in old.items()}
    new = copy.deepcopy(old)
    for _ in range(moves):
        origin = draw.choice(list(new.values()))
        if origin:
            card = origin.pop(draw.randrange(len(origin)))
            draw.choice(list(new.values())).insert(draw.randint(0, 9), card)
    check(old, new)


@given(st.integers(1, 12), st.integers(1, 12), st.randoms())
def test_every_card_dealt_is_one_small_move(
    cards: int, dealt: int, draw: random.Random
) -> None:
    old: dict[str, list[str]] = {name: [f"{name} {'-' * 99}"] * 2 for name in "abc"}
    old["deck"] = [f"{number} {'-' * 99}" for number in range(cards)]
    new = copy.deepcopy(old)
    for _ in range(min(cards, dealt)):
        card = new["deck"].pop(draw.randrange(len(new["deck"])))
        new[draw.choice("abc")].insert(draw.randint(0, 9), card)
    operations = check(old, new)
    assert len(operations) == min(cards, dealt)
    for operation in operations:
        assert operation["op"] == "move"
        assert size(operation) < 100


@given(st.lists(FEW, max_size=12), st.lists(FEW, max_size=12))
def test_lists_of_values_that_python_calls_equal(
    old: list[Any], new: list[Any]
) -> None:
    check(old, new)


@given(st.lists(st.integers(0, 9), max_size=12), st.randoms())
def test_a_shuffled_list_with_duplicates(old: list[Any], draw: random.Random) -> None:
    new = old.copy()
    draw.shuffle(new)
    check(old, new)
    long = [{"card": value, "text": "-" * 60} for value in old]
    check(long, [long[old.index(value)] for value in new])


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_is_hardly_larger_than_the_document(old: Any, new: Any) -> None:
    operations = diff(old, new, "/doc")
    whole = [{"op": "replace", "path": "/doc", "value": new}]
    assert len(operations) < 2 or size(operations) <= size(whole)


@given(DOCUMENTS)
def test_equal_documents_give_no_operations(document: Any) -> None:
    assert diff(document, document) == []
    assert diff(document, msgspec.json.decode(msgspec.json.encode(document))) == []


@given(DOCUMENTS, st.lists(DOCUMENTS, max_size=2), st.randoms())
def test_keys_get_their_new_order_at_every_depth(
    old: Any, fresh: list[Any], draw: random.Random
) -> None:
    new = copy.deepcopy(old)
    for value in fresh:
        new = mutate(new, draw, copy.deepcopy(value))
    check(old, shuffle(new, draw))


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.dictionaries(st.sampled_from("uvwxyz"), st.sampled_from([*"12"])),
        min_size=2,
    ),
    st.randoms(),
)
def test_keys_get_their_order_while_values_move_between_objects(
    old: dict[str, Any], draw: random.Random
) -> None:
    pad = "-" * 99
    old = {
        name: {key: [card, pad] for key, card in cards.items()}
        for name, cards in old.items()
    }
    new = copy.deepcopy(old)
    for _ in range(3):
        origin = draw.choice(list(new.values()))
        if origin:
            card = origin.pop(draw.choice(list(origin)))
            draw.choice(list(new.values()))[draw.choice("uvwxyz")] = card
    check(old, shuffle(new, draw))


def test_a_key_that_moves_to_the_end_is_removed_and_added() -> None:
    old = {"votes": {"ada": 1, "bob": 2, "cleo": "-" * 200}}
    new = {"votes": {"ada": 1, "cleo": "-" * 200, "bob": 2}}
    assert check(old, new) == [
        {"op": "remove", "path": "/doc/votes/bob"},
        {"op": "add", "path": "/doc/votes/bob", "value": 2},
    ]


def test_an_object_that_was_sorted_is_replaced_where_that_is_shorter() -> None:
    old = {"votes": {"d": 4, "c": 3, "b": 2, "a": 1}, "pad": "-" * 200}
    new = {**old, "votes": dict(sorted(old["votes"].items()))}  # type: ignore[attr-defined]
    assert check(old, new) == [
        {"op": "replace", "path": "/doc/votes", "value": new["votes"]}
    ]


def test_keys_that_javascript_sorts_are_not_put_in_order() -> None:
    pad = "-" * 200
    old = {"2": 2, "a": pad, "10": 10}
    assert check(old, {"1": 1, "2": 2, "10": 10, "a": pad}) == [
        {"op": "add", "path": "/doc/1", "value": 1}
    ]
    assert diff(old, {"2": 2, "10": 10, "a": pad}, "/doc") == [
        {"op": "replace", "path": "/doc", "value": {"2": 2, "10": 10, "a": pad}}
    ]


@pytest.mark.parametrize(
    ("name", "sorted_by_number"),
    [
        *[("0", True), ("7", True), ("4294967294", True), ("4294967295", False)],
        *[("", False), ("01", False), ("-1", False), ("1.0", False), ("²", False)],
        *[("٣", False), ("1e3", False), ("99999999999", False), (" 1", False)],
    ],
)
def test_what_looks_like_an_integer_is_what_javascript_takes_for_one(
    name: str, sorted_by_number: bool
) -> None:
    assert is_index(name) is sorted_by_number


def board(cards: int) -> dict[str, Any]:
    names = [f"Card number {number}" for number in range(cards)]
    half = cards // 2
    return {
        "deck": names[:half],
        "piles": {"keep": names[half::2], "drop": names[half + 1 :: 2]},
        "notes": "",
    }


@pytest.mark.parametrize(("cards", "percent"), [(50, 15), (500, 3)])
def test_a_moved_card_costs_tens_of_bytes(cards: int, percent: int) -> None:
    old, new = board(cards), board(cards)
    new["piles"]["keep"].insert(1, new["deck"].pop(7))
    operations = diff(old, new, "/board")
    assert operations == [
        {"op": "move", "from": "/board/deck/7", "path": "/board/piles/keep/1"}
    ]
    assert size(operations) < 100
    assert size(operations) <= size(old) * percent / 100


def test_a_hand_of_cards_moves_card_by_card() -> None:
    old, new = board(50), board(50)
    for index in (20, 9, 3):
        new["piles"]["drop"].insert(index // 2, new["deck"].pop(index))
    operations = check(old, new)
    assert [operation["op"] for operation in operations] == ["move"] * 3


def test_a_card_moves_to_another_place_in_its_list() -> None:
    old, new = board(50), board(50)
    new["deck"].insert(2, new["deck"].pop(20))
    assert diff(old, new) == [{"op": "move", "from": "/deck/20", "path": "/deck/2"}]


def test_two_cards_that_swap_cost_two_small_operations() -> None:
    old = [{"card": number, "text": "-" * 50} for number in range(50)]
    new = old.copy()
    new[10], new[40] = new[40], new[10]
    operations = check(old, new)
    assert len(operations) == 2
    assert size(operations) < 100


def test_a_renamed_key_moves_its_value() -> None:
    cards = [f"Card number {number}" for number in range(9)]
    assert diff({"x": 1, "to do": cards}, {"x": 1, "done/~": cards}, "/piles") == [
        {"op": "move", "from": "/piles/to do", "path": "/piles/done~1~0"}
    ]


def test_one_nested_change_in_a_long_list_is_one_operation() -> None:
    old: list[Any] = [{"id": number, "votes": {"alice": 1}} for number in range(500)]
    new = copy.deepcopy(old)
    new[250]["votes"]["alice"] = 2
    assert diff(old, new) == [{"op": "replace", "path": "/250/votes/alice", "value": 2}]


def test_changes_beside_a_removed_element_follow_it() -> None:
    old: list[Any] = [{"id": number, "cards": ["a", "b", "c"]} for number in range(9)]
    new = copy.deepcopy(old)
    del new[2]
    new[5]["cards"].remove("b")
    new.insert(7, {"id": 99, "cards": []})
    check(old, new)


def test_nothing_moves_between_lists_that_shift_themselves() -> None:
    card = "-" * 200
    old = [["one"], ["two", card, "x" * 90], ["three", "y" * 90], ["four", "z" * 90]]
    new = [["two", "x" * 90], ["three", "y" * 90, card], ["four", "z" * 90]]
    assert "move" not in {operation["op"] for operation in check(old, new)}


def test_what_changed_mostly_is_replaced_whole() -> None:
    old, new = {"deck": list(range(40)), "x": "-" * 500}, {"deck": [], "x": "-" * 500}
    assert diff(old, new) == [{"op": "replace", "path": "/deck", "value": []}]
    assert diff({"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "c": 6}) == [
        {"op": "replace", "path": "", "value": {"a": 4, "b": 5, "c": 6}}
    ]


def test_a_list_replaced_whole_takes_in_what_moved_there() -> None:
    old = {"from": ["x", *"abcdefgh"], "into": list(range(20)), "pad": "-" * 500}
    new = {"from": list("abcdefgh"), "into": ["x", True, 2.5], "pad": "-" * 500}
    assert check(old, new) == [
        {"op": "remove", "path": "/doc/from/0"},
        {"op": "replace", "path": "/doc/into", "value": ["x", True, 2.5]},
    ]


def test_a_list_replaced_whole_gives_away_what_it_had() -> None:
    old = {"from": ["x", *range(20)], "into": list("abcdefgh"), "pad": "-" * 500}
    new = {"from": [2.5], "into": ["x", *"abcdefgh"], "pad": "-" * 500}
    assert check(old, new) == [
        {"op": "add", "path": "/doc/into/0", "value": "x"},
        {"op": "replace", "path": "/doc/from", "value": [2.5]},
    ]


def test_a_pile_emptied_into_another_moves_card_by_card() -> None:
    cards = [f"{number} {'-' * 60}" for number in range(5)]
    operations = check({"a": cards, "b": []}, {"a": [], "b": cards})
    assert [operation["op"] for operation in operations] == ["move"] * 5


def test_a_move_that_leads_nowhere_is_left_out() -> None:
    def cards(numbers: str) -> list[str]:
        return [number + "-" * 60 for number in numbers]

    old = {"a": cards("012"), "b": cards("131322")}
    new = {"a": cards("021301"), "b": cards("3122")}
    operations = check(old, new)
    assert [operation["op"] for operation in operations] == [*["move"] * 3, "add"]
    assert all(operation.get("from") != operation["path"] for operation in operations)


def test_a_card_exchanged_for_another_is_removed_and_added() -> None:
    old, new = board(50), board(50)
    del new["deck"][3]
    new["piles"]["drop"].append("Wild card")
    assert check(old, new) == [
        {"op": "remove", "path": "/doc/deck/3"},
        {"op": "add", "path": "/doc/piles/drop/12", "value": "Wild card"},
    ]


def test_another_type_at_the_root_replaces_it() -> None:
    assert diff([1], {"a": 1}) == [{"op": "replace", "path": "", "value": {"a": 1}}]
    assert diff(1, 1.0, "/x") == [{"op": "replace", "path": "/x", "value": 1.0}]


def test_a_retyped_number_deep_in_equal_content_is_found() -> None:
    old: Any = {"a": [{"id": n, "n": [1, 2], "f": 0.0} for n in range(20)]}
    new = copy.deepcopy(old)
    new["a"][7]["n"][1] = 2.0
    new["a"][9]["f"] = -0.0
    assert [operation["path"] for operation in check(old, new)] == [
        "/doc/a/7/n/1",
        "/doc/a/9/f",
    ]


def test_64_levels_of_nesting_work() -> None:
    old: Any = [1, "-" * 200]
    new: Any = [2, "-" * 200]
    for level in range(64):
        old = {"a": old} if level % 2 else [old, "x"]
        new = {"a": new} if level % 2 else [new, "x"]
    (operation,) = check(old, new)
    assert operation["value"] == 2


LONG = list(range(10_000))
BY_KEY = {f"k{number}": [number] for number in LONG}
CARDS = [{"id": number, "done": False} for number in LONG]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LONG, [-number for number in LONG]),
        (LONG, LONG[::-1]),
        (LONG, random.Random(1).sample(LONG, len(LONG))),
        (LONG, [float(number) for number in LONG]),
        (LONG, LONG[1:] + LONG[:1]),
        (LONG[::2], LONG),
        (CARDS, [{**card, "done": True} for card in CARDS]),
        (CARDS, random.Random(1).sample(CARDS, len(CARDS))),
        ([LONG, []], [LONG[::2], LONG[1::2]]),
        ([str(n) * 30 for n in LONG], [str(n) * 30 for n in LONG[::-1]]),
        ([0] * 10_000, [0, 1] * 5_000),
        (BY_KEY, dict(reversed(BY_KEY.items()))),
        (BY_KEY, dict(random.Random(1).sample([*BY_KEY.items()], len(BY_KEY)))),
        ({"a": BY_KEY, "b": {}}, {"a": {}, "b": dict(reversed(BY_KEY.items()))}),
    ],
)
def test_long_lists_are_never_quadratic(old: list[Any], new: list[Any]) -> None:
    started = time.process_time()
    operations = diff(old, new)
    # Linear work takes a tenth of that; one quadratic step, ten times as much.
    assert time.process_time() - started < 3
    assert identical(apply(old, operations), new)
