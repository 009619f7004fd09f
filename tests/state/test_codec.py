from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import uuid
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.exceptions import StateCorrupt
from sessionstores.state import codec, json_rules
from sessionstores.state.declaration import State, field, registry


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class NoNumber(enum.Enum):
    NAN = math.nan


class Card(msgspec.Struct):
    title: str = ""
    at: float = 0.0
    parts: list[Card] = field(default_factory=list["Card"])


class Rank(msgspec.Struct, frozen=True):
    value: int = 0


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class Outer(msgspec.Struct):
    inner: list[Inner]


@dataclass
class Point:
    x: float = 0.0


with registry.isolated():

    class Board(State, version=3):
        step: int = 1
        deck: list[str] = field(default_factory=list[str])
        piles: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
        score: float = 0.0
        best: float | None = None
        cards: list[Card] = field(default_factory=list[Card])
        colour: Colour = Colour.RED

        @classmethod
        def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
            if from_version == 1:
                data["deck"] = data.pop("stack").split(",")
            if from_version <= 2:
                data["piles"] = {"keep": data.pop("pile")}
            return data

    class Tagged(State):
        tags: set[str] = field(default_factory=set[str])
        frozen: frozenset[int] = frozenset()
        votes: dict[str, int] = field(default_factory=dict[str, int])

    class Sets(State):
        by_number: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
        rows: list[tuple[set[int], frozenset[frozenset[str]]]] = []
        mixed: set[int | str | tuple[int, str] | None] = set()
        ranks: set[Rank] = set()
        colours: set[Colour] = set()

    class Open(State):
        anything: Any = None
        point: Point = field(default_factory=Point)

    class Rich(State):
        when: datetime.datetime | None = None
        amount: decimal.Decimal = decimal.Decimal("1.10")
        key: uuid.UUID = uuid.UUID(int=1)
        blob: bytes = b""
        by_number: dict[int, str] = field(default_factory=dict[int, str])
        pair: tuple[int, str] = (1, "a")

    class Plain(State):
        step: int = 1
        done: bool = False
        note: str = ""


def stored(body: Any, version: int = 3) -> bytes:
    return b"%d:" % version + json.dumps(body).encode()


def refused(state: State) -> str:
    with pytest.raises(StateCorrupt) as caught:
        codec.encode(state)
    assert not caught.value.newer
    return str(caught.value)


# Encoding


def test_stored_form_is_the_version_and_the_json() -> None:
    assert codec.encode(Plain(note="é")) == (
        '1:{"step":1,"done":false,"note":"é"}'.encode()
    )


TEXT = st.text(max_size=12)
NUMBER = st.integers(-(2**53) + 1, 2**53 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
KEY = TEXT.filter(lambda key: key not in json_rules.REFUSED_NAMES)
CARD = st.builds(Card, TEXT, FINITE, st.lists(st.builds(Card, TEXT, FINITE)))
BOARD = st.builds(
    Board,
    NUMBER,
    st.lists(TEXT),
    st.dictionaries(KEY, st.lists(TEXT)),
    FINITE,
    st.none() | FINITE,
    st.lists(CARD, max_size=5),
    st.sampled_from(Colour),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | FINITE | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(KEY, inner),
    max_leaves=20,
)


@given(BOARD)
def test_what_was_encoded_decodes_to_an_equal_state(board: Board) -> None:
    data = codec.encode(board)
    decoded = codec.decode(Board, data)
    assert decoded == board
    assert codec.is_current(Board, data, decoded)
    assert codec.encode(decoded) == data
    assert list(decoded.piles) == list(board.piles)


@given(JSON)
def test_any_json_value_is_stored_as_it_is(value: Any) -> None:
    data = codec.encode(Open(value))
    assert codec.decode(Open, data).anything == value
    assert json.loads(data[2:])["anything"] == value


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner)
            | st.tuples(inner)
            | st.dictionaries(st.sampled_from(["a", "constructor", "\ud800"]), inner)
            | st.dictionaries(st.integers() | st.floats(), inner)
            | st.builds(Point, inner)
        ),
    )
)
def test_what_is_stored_holds_no_flaw_whatever_an_action_left(value: Any) -> None:
    try:
        data = codec.encode(Open(value))
    except StateCorrupt:
        return
    assert json_rules.flaw(codec.plain(data)) is None
    assert codec.is_current(Open, data, codec.decode(Open, data))


def test_dicts_keep_their_order() -> None:
    board = Board(piles={"z": [], "a": []})
    assert list(codec.plain(codec.encode(board))["piles"]) == ["z", "a"]


@given(st.lists(TEXT), st.lists(NUMBER))
def test_sets_are_stored_sorted(tags: list[str], numbers: list[int]) -> None:
    one = Tagged(set(tags), frozenset(numbers))
    tags.reverse()
    numbers.reverse()
    other = Tagged(set(tags), frozenset(numbers))
    assert codec.encode(one) == codec.encode(other)
    assert codec.decode(Tagged, codec.encode(one)) == one


def test_dicts_of_a_state_with_sets_keep_their_order() -> None:
    tagged = Tagged({"y", "x"}, frozenset({10, 9, 2}), {"b": 1, "a": 2})
    data = codec.encode(tagged)
    assert data == b'1:{"tags":["x","y"],"frozen":[2,9,10],"votes":{"b":1,"a":2}}'
    assert codec.is_current(Tagged, data, codec.decode(Tagged, data))


def test_sets_are_sorted_whatever_they_hold_and_wherever_they_are() -> None:
    state = Sets(
        by_number={2: {"b", "a"}, 1: set()},
        rows=[({3, 20}, frozenset({frozenset({"z", "y"}), frozenset({"a"})}))],
        mixed={1, "a", None, (2, "x"), (10, "x")},
        ranks={Rank(2), Rank(1)},
        colours={Colour.RED, Colour.BLUE},
    )
    data = codec.encode(state)
    assert data == (
        b'1:{"by_number":{"2":["a","b"],"1":[]},"rows":[[[3,20],[["a"],["y","z"]]]],'
        b'"mixed":["a",1,[10,"x"],[2,"x"],null],"ranks":[{"value":1},{"value":2}],'
        b'"colours":["blue","red"]}'
    )
    decoded = codec.decode(Sets, data)
    assert decoded == state
    assert codec.is_current(Sets, data, decoded)
    assert msgspec.json.encode(codec.plain_of(decoded)) == data[2:]


def test_richer_types_come_back() -> None:
    rich = Rich(
        when=datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC),
        blob=b"\xff\x00",
        by_number={2**60: "far"},
    )
    data = codec.encode(rich)
    assert codec.decode(Rich, data) == rich
    assert codec.is_current(Rich, data, rich)


def test_encoding_settles_what_a_read_would_otherwise_change() -> None:
    board = Board(score=1)
    board.piles = {1: ["a"], "1": ["b"]}  # type: ignore[dict-item]
    data = codec.encode(board)
    assert b'"score":1.0' in data
    assert data.count(b'"1":') == 1
    assert codec.is_current(Board, data, codec.decode(Board, data))


WRONG: list[tuple[Any, str]] = [
    (Board(step="abc"), "board.step: expected int, got str."),  # type: ignore[arg-type]
    (Board(step=True), "board.step: expected int, got bool."),
    (Board(step=1.0), "board.step: expected int, got float."),  # type: ignore[arg-type]
    (Board(step=None), "board.step: expected int, got None."),  # type: ignore[arg-type]
    (Board(deck=[1]), "board.deck[0]: expected str, got int."),  # type: ignore[list-item]
    (
        Board(piles={"keep": None}),  # type: ignore[dict-item]
        "board.piles[...]: expected list, got None.",
    ),
    (Board(score=math.nan), "board.score: JSON has no nan."),
    (Board(best=math.inf), "board.best: JSON has no inf."),
    (Board(best=-math.inf), "board.best: JSON has no -inf."),
    (Board(cards=[Card(), Card(at=math.nan)]), "board.cards[1].at: JSON has no nan."),
    (
        Board(deck=["a", "\ud800"]),
        "board.deck[1]: a lone surrogate in the text.",
    ),
    (
        Board(piles={"\udfff": []}),
        "board.piles: a lone surrogate in a key.",
    ),
    (
        Board(step=2**53),
        "board.step: an integer beyond ±(2**53 - 1), which browsers round.",
    ),
    (
        Board(step=-(2**53)),
        "board.step: an integer beyond ±(2**53 - 1), which browsers round.",
    ),
    (
        Board(step=10**5000),
        "board.step: an integer beyond ±(2**53 - 1), which browsers round.",
    ),
    (
        Board(piles={"constructor": []}),
        "board.piles.constructor: browsers refuse this key.",
    ),
    (
        Board(piles={"__proto__": []}),
        "board.piles.__proto__: browsers refuse this key.",
    ),
    (
        Board(deck=[object()]),  # type: ignore[list-item]
        "board.deck[0]: object is not a JSON value "
        "(Encoding objects of type object is unsupported).",
    ),
    (
        Board(colour="green"),  # type: ignore[arg-type]
        "board.colour: must be 'red' or 'blue', not 'green'.",
    ),
    (
        Open({"a b": [{1: math.nan}]}),
        "open.anything['a b'][0][1]: JSON has no nan.",
    ),
    (Open({(1, 2): 3}), "open.anything: tuple is not a JSON key"),
    (Open(point=Point(math.inf)), "open.point.x: JSON has no inf."),
    (Open([{math.inf}]), "open.anything[0][0]: JSON has no inf."),
    (Open(NoNumber.NAN), "open.anything: JSON has no nan."),
    (Tagged(tags={1}), "tagged.tags[0]: expected str, got int."),  # type: ignore[arg-type]
    (
        Rich(by_number={"x": "y"}),  # type: ignore[dict-item]
        "rich.by_number: key: expected int, got str.",
    ),
]


@pytest.mark.parametrize(("state", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_would_not_come_back_is_refused_with_its_place(
    state: State, message: str
) -> None:
    assert refused(state).startswith(message)
    assert refused(state).endswith(" The state was not stored.")


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = {"x": value, "[": "]"} if levels % 2 else [value]
    return value


@pytest.mark.parametrize("levels", [30, 31])
def test_thirty_two_levels_are_stored(levels: int) -> None:
    state = Open(nested(levels))
    assert codec.decode(Open, codec.encode(state)) == state


@pytest.mark.parametrize("levels", [32, 33, 200])
def test_more_than_thirty_two_levels_are_refused(levels: int) -> None:
    assert "more than 32 levels deep, or contains itself" in refused(
        Open(nested(levels))
    )


def test_a_recursive_type_is_held_to_the_same_depth() -> None:
    card = Card("leaf")
    for _ in range(20):
        card = Card(parts=[card])
    assert "more than 32 levels deep" in refused(Board(cards=[card]))


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert "contains itself" in refused(Open(loop))


def test_many_containers_on_few_levels_are_stored() -> None:
    state = Open([[{"[": '"{'}] for _ in range(100)])
    assert codec.decode(Open, codec.encode(state)) == state


def test_text_that_looks_like_what_is_refused_is_stored() -> None:
    texts = [
        '"constructor":',
        "prototype",
        "12345678901234567890",
        ":[9999999999999999]",
    ]
    for text in texts:
        state = Open({"key " + text: [text, 0.1234567890123456, 12345678901234567.5]})
        assert codec.decode(Open, codec.encode(state)) == state


def test_none_beside_other_values_is_stored() -> None:
    tupled = Open((None, 1))
    assert codec.plain(codec.encode(tupled))["anything"] == [None, 1]


def test_a_state_that_compares_by_identity_is_stored() -> None:
    with registry.isolated():

        class Identity(State, eq=False):
            best: float | None = None

    assert codec.encode(Identity()) == b'1:{"best":null}'
    assert "JSON has no nan" in refused(Identity(math.nan))


def test_what_post_init_refuses_is_not_stored() -> None:
    with registry.isolated():

        class Even(State):
            step: int = 0

            def __post_init__(self) -> None:
                if self.step % 2:
                    raise ValueError("odd")

    even = Even()
    even.step = 1
    assert refused(even) == "even: odd. The state was not stored."


# Decoding


def test_missing_fields_take_their_default_and_unknown_ones_are_kept() -> None:
    data = stored({"step": 2, "gone": [1]})
    board, before = codec.load(Board, data)
    assert board == Board(step=2)
    assert not codec.is_current(Board, data, board)
    filled, _ = codec.dump(board, before)
    plain = codec.plain(filled)
    assert plain == {**codec.plain(codec.encode(board)), "gone": [1]}
    assert list(plain)[:2] == ["step", "gone"]
    assert codec.is_current(Board, filled, codec.decode(Board, filled))


def test_each_decode_gives_a_copy_of_its_own() -> None:
    data = codec.encode(Board(deck=["a"]))
    codec.decode(Board, data).deck.append("b")
    assert codec.decode(Board, data).deck == ["a"]


@pytest.mark.parametrize(
    ("data", "version"),
    [({"step": 2, "stack": "a,b", "pile": ["c"]}, 1), ({"step": 2, "pile": ["c"]}, 2)],
)
def test_lower_versions_are_migrated(data: dict[str, Any], version: int) -> None:
    old = stored(data, version)
    board = codec.decode(Board, old)
    assert board.piles == {"keep": ["c"]}
    assert board.deck == (["a", "b"] if version == 1 else [])
    assert not codec.is_current(Board, old, board)
    assert codec.is_current(Board, codec.encode(board), board)


def test_a_version_without_change_of_form_is_not_current_either() -> None:
    with registry.isolated():

        class Newer(State, version=2):
            step: int = 1

    old = stored({"step": 1}, 1)
    assert codec.decode(Newer, old) == Newer()
    assert not codec.is_current(Newer, old, Newer())


def test_a_higher_version_is_corrupt_but_newer() -> None:
    with pytest.raises(
        StateCorrupt, match="board: stored data has version 4, this process declares 3"
    ) as caught:
        codec.decode(Board, stored({"step": {}}, 4))
    assert caught.value.newer


@pytest.mark.parametrize("version", [1, 2])
def test_a_migration_that_fails_is_corrupt_with_its_cause(version: int) -> None:
    with pytest.raises(
        StateCorrupt,
        match=rf"board: Board\.migrate\(\) failed on data of version {version}: KeyErr",
    ) as caught:
        codec.decode(Board, stored({"step": 1}, version))
    assert isinstance(caught.value.__cause__, KeyError)
    assert not caught.value.newer


def test_what_a_migration_returns_is_held_to_the_types() -> None:
    with pytest.raises(
        StateCorrupt,
        match=r"^board\.piles\[\.\.\.\]: what Board\.migrate\(\) made of version 2 "
        r"cannot be decoded: expected list, got str\. Let it return data of the types",
    ):
        codec.decode(Board, stored({"pile": "abc"}, 2))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "None"),
        ([1], "list, no dict"),
        ("a", "str, no dict"),
        (5, "int, no dict"),
    ],
)
def test_a_migration_that_returns_no_data_is_told_so(returned: Any, said: str) -> None:
    with registry.isolated():

        class M(State, version=2):
            @classmethod
            def migrate(cls, data: dict[str, Any], from_version: int) -> Any:
                return returned

    with pytest.raises(StateCorrupt) as caught:
        codec.decode(M, b"1:{}")
    assert str(caught.value).startswith("m: ")
    assert str(caught.value).endswith(
        f"M.migrate() returned {said} for data of version 1. Let it end with "
        "`return data`."
    )


def test_a_type_that_has_changed_is_told_with_the_way_out() -> None:
    with pytest.raises(StateCorrupt) as caught:
        codec.decode(Board, b'3:{"deck":5}')
    assert str(caught.value) == (
        "board.deck: stored data cannot be decoded: expected list, got int. If a type "
        "has changed, raise the version of Board and write migrate()."
    )
    # What is not JSON is nothing of a type.
    with pytest.raises(StateCorrupt) as caught:
        codec.decode(Board, b"3:{")
    assert "migrate" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b":{}", b"x:{}", b"-1:{}", b"03:{}", b"0:{}", b"1"),
        *(b"9999999999:{}", b"3:", b"3:{", b"3:[]", b"3:null", b"3:{} {}", b"2:[]"),
        *(b"2:{", b'3:{"step":"1"}', b'3:{"deck":["\xff"]}', b"\xff\xfe", b"\x80:{}"),
        *(b'2:{"pile":' + b"[" * 20_000, b'3:{"piles":1}', "²:{}".encode()),
    ],
)
def test_what_cannot_be_decoded_is_corrupt(data: bytes) -> None:
    with pytest.raises(StateCorrupt, match=r"^board") as caught:
        codec.decode(Board, data)
    assert not caught.value.newer


def test_endless_nesting_in_stored_data_is_corrupt() -> None:
    data = b'1:{"anything":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    with pytest.raises(StateCorrupt, match="recursion"):
        codec.decode(Open, data)


@given(st.binary())
def test_random_bytes_decode_or_are_corrupt(data: bytes) -> None:
    for body in data, b"3:" + data:
        try:
            codec.decode(Board, body)
        except StateCorrupt as error:
            message = str(error)
        else:
            continue
        assert message.startswith("board")


# The rest


def test_a_state_that_is_not_stored_has_new_defaults_each_time() -> None:
    first, second = codec.load(Board, None)[0], codec.load(Board, None)[0]
    assert first == second == Board()
    assert first.deck is not second.deck


def test_raw_is_embedded_as_it_is_and_plain_is_its_content() -> None:
    data = codec.encode(Plain(note=":"))
    frame = msgspec.json.encode({"states": {"plain": codec.raw(data)}})
    assert frame == b'{"states":{"plain":{"step":1,"done":false,"note":":"}}}'
    assert codec.plain(data) == {"step": 1, "done": False, "note": ":"}


def test_msgspec_errors_are_told_with_their_place() -> None:
    for body, told in (
        ({"inner": [{}]}, ("inner[0].a", "missing")),
        ({"inner": [{"a": 1, "b": 2}]}, ("inner[0].b", "unknown")),
        (
            {"inner": [{"a": 1, "x` - at `$.y": 2}]},
            ("inner[0].x` - at `$.y", "unknown"),
        ),
        ({}, ("inner", "missing")),
        ([], ("", "expected object, got array")),
    ):
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.convert(body, Outer)
        assert json_rules.explain(caught.value) == told


class Name(enum.Enum):
    ODD = "__proto__"
    EVEN = "even"


class Size(enum.Enum):
    VAST = 2**53


with registry.isolated():

    class Shelf(State):
        by_name: dict[Name, int] = field(default_factory=dict[Name, int])
        loose: Any = None
        size: Size | None = None
        weight: Literal[1, 9007199254740992] = 1


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Shelf(by_name={Name.ODD: 1}), "shelf.by_name.__proto__: browsers refuse"),
        (Shelf(loose=[{Name.ODD: 1}]), "shelf.loose[0].__proto__: browsers refuse"),
        (Shelf(size=Size.VAST), "shelf.size: an integer beyond"),
        (Shelf(weight=9007199254740992), "shelf.weight: an integer beyond"),
    ],
    ids=["key", "loose key", "enum", "literal"],
)
def test_enums_and_literals_are_held_to_the_rules_of_what_they_stand_for(
    state: State, told: str
) -> None:
    with pytest.raises(StateCorrupt) as caught:
        codec.encode(state)
    assert str(caught.value).startswith(told)


def test_enums_that_keep_to_the_rules_are_stored() -> None:
    shelf = Shelf(by_name={Name.EVEN: 1}, loose={"name": Name.ODD})
    decoded, _ = codec.load(Shelf, codec.encode(shelf))
    assert decoded.by_name == {Name.EVEN: 1}
    assert decoded.loose == {"name": "__proto__"}
