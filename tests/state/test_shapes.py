"""What one release of a site stores, another keeps, even where it does not know it."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores import event_bus
from sessionstores.exceptions import StateCorrupt
from sessionstores.keys import StoreKey
from sessionstores.state import codec
from sessionstores.state.apply_patch import apply
from sessionstores.state.declaration import State, field, registry
from tests.state.test_patch import identical


class OldCard(msgspec.Struct, tag="card"):
    title: str = ""


class OldNote(msgspec.Struct, tag="note"):
    text: str = ""


class OldPlayer(msgspec.Struct, rename="camel"):
    full_name: str = ""
    hand: list[OldCard] = []
    top: OldCard | OldNote | None = None
    partner: OldPlayer | None = None


class NewCard(msgspec.Struct, tag="card"):
    colour: str = "red"
    title: str = ""


class NewNote(msgspec.Struct, tag="note"):
    text: str = ""
    by: dict[str, int] = {}


class NewPlayer(msgspec.Struct, rename="camel"):
    hand: list[NewCard] = []
    full_name: str = ""
    score: float = 0.0
    top: NewCard | NewNote | None = None
    partner: NewPlayer | None = None


with registry.isolated():

    class Old(State, name="game"):
        step: int = 1
        players: dict[str, OldPlayer] = field(default_factory=dict[str, OldPlayer])
        first: OldPlayer = field(default_factory=OldPlayer)
        heap: list[OldCard] = []
        gone: str = ""


with registry.isolated():

    class New(State, name="game"):
        players: dict[str, NewPlayer] = field(default_factory=dict[str, NewPlayer])
        text: str = ""
        heap: list[NewCard] = []
        step: int = 1
        first: NewPlayer = field(default_factory=NewPlayer)


WORDS = st.text(max_size=3)
IDS = st.sampled_from(["ada", "bob", "1", "0", "~/"])
CARDS = st.builds(NewCard, WORDS, WORDS)
TOPS = st.none() | CARDS | st.builds(NewNote, WORDS, st.dictionaries(WORDS, st.just(1)))
PLAYERS = st.recursive(
    st.builds(NewPlayer, st.lists(CARDS, max_size=3), WORDS, st.floats(0, 9), TOPS),
    lambda inner: st.builds(NewPlayer, partner=inner),
    max_leaves=3,
)
NEW = st.builds(
    New,
    st.dictionaries(IDS, PLAYERS),
    WORDS,
    st.lists(CARDS, max_size=3),
    st.integers(0, 9),
    PLAYERS,
)


def change_a_little(state: Old, draw: random.Random) -> None:
    """Do what an action of the old release does."""
    players = [*state.players.values(), state.first]
    players += [each.partner for each in players if each.partner]
    player = draw.choice(players)
    match draw.randrange(9):
        case 0:
            state.step += 1
        case 1:
            player.full_name = "changed"
        case 2:
            player.hand = [*player.hand, OldCard("new")]
        case 3:
            player.top = draw.choice([None, OldCard("new"), OldNote("new")])
        case 4:
            state.players = dict(sorted(state.players.items()))
        case 5:
            state.players.pop(draw.choice(["ada", "bob"]), None)
        case 6:
            state.players[draw.choice(["ada", "dan"])] = OldPlayer("again")
        case 7:
            player.partner = None
        case 8:
            draw.shuffle(state.heap)


def check_player(was: NewPlayer, old: OldPlayer, now: NewPlayer) -> None:
    """Verify that a player is as the old release left it, the rest as it was."""
    assert now.score == was.score
    assert now.full_name == old.full_name
    check_cards(was.hand, old.hand, now.hand)
    if old.top is None:
        assert now.top is None
    elif type(old.top) is OldCard:
        assert isinstance(now.top, NewCard)
        assert now.top.title == old.top.title
        kept = was.top.colour if isinstance(was.top, NewCard) else "red"
        assert now.top.colour == kept
    else:
        assert isinstance(now.top, NewNote)
        assert now.top.text == old.top.text
        assert now.top.by == (was.top.by if isinstance(was.top, NewNote) else {})
    assert (now.partner is None) is (old.partner is None)
    if old.partner and now.partner:
        check_player(was.partner or NewPlayer(), old.partner, now.partner)


def check_cards(was: list[NewCard], old: list[OldCard], now: list[NewCard]) -> None:
    titles = [card.title for card in old]
    assert [card.title for card in now] == titles
    if [card.title for card in was] == titles:
        assert now == was


@given(NEW, st.integers(0, 4), st.randoms())
def test_an_action_of_the_old_release_keeps_what_the_new_one_wrote(
    new: New, changes: int, draw: random.Random
) -> None:
    stored = codec.encode(new)
    old, before = codec.load(Old, stored)
    for _ in range(changes):
        change_a_little(old, draw)
    expected = copy.deepcopy(old)
    data, decoded = codec.dump(old, before)
    assert decoded == expected
    assert codec.decode(Old, data) == expected
    assert list(codec.decode(Old, data).players) == list(expected.players)

    now = codec.decode(New, data)
    assert (now.text, now.step) == (new.text, expected.step)
    check_cards(new.heap, expected.heap, now.heap)
    assert list(now.players) == list(expected.players)
    for id, player in expected.players.items():
        check_player(new.players.get(id) or NewPlayer(), player, now.players[id])
    check_player(new.first, expected.first, now.first)

    # Tabs get exactly what is stored.
    change = event_bus.Change(
        StoreKey("K7Q2ZD", "alice"),
        *("7f3a.1-00000000", "7f3a.2-00000000"),
        {"game": stored},
        {"game": data},
        edit=None if before is None else (before, decoded),
    )
    shown = apply({"game": codec.plain(stored)}, msgspec.json.decode(change.operations))
    assert identical(shown["game"], codec.plain(data))
    assert bool(change.operations != b"[]") is (stored != data)


@given(NEW)
def test_a_read_of_either_release_is_committed_once_and_undone_by_none(
    new: New,
) -> None:
    stored = codec.encode(new)
    for cls in (Old, New, Old, New):
        state, before = codec.load(cls, stored)
        filled, _ = codec.dump(state, before)
        # The old release has a field that the new one does not know.
        assert codec.is_current(cls, stored, state) is (filled == stored)
        assert (filled == stored) is (cls is New or "gone" in codec.plain(stored))
        stored = filled
    assert codec.decode(New, stored) == new
    assert codec.decode(Old, stored).step == new.step


@given(NEW)
def test_an_action_that_changes_nothing_leaves_the_very_bytes(new: New) -> None:
    stored = codec.encode(codec.decode(Old, codec.encode(new)), codec.encode(new))
    state, before = codec.load(Old, stored)
    assert codec.dump(state, before)[0] == stored


def test_a_rename_at_one_version_loses_neither_name() -> None:
    with registry.isolated():

        class Before(State, name="page"):
            title: str = ""

        class After(State, name="page"):
            heading: str = ""

    stored = codec.encode(Before("kept"))
    after, plain = codec.load(After, stored)
    after.heading = "new"
    stored, _ = codec.dump(after, plain)
    assert codec.plain(stored) == {"title": "kept", "heading": "new"}
    assert codec.decode(Before, stored) == Before("kept")
    assert codec.decode(After, stored) == After("new")


@dataclass
class OldPoint:
    x: int = 0


@dataclass
class NewPoint:
    y: int = 0
    x: int = 0


class OldRow(msgspec.Struct, array_like=True):
    a: int = 0


class NewRow(msgspec.Struct, array_like=True):
    a: int = 0
    b: list[int] = []


class OldOptions(TypedDict):
    sound: bool


class NewOptions(TypedDict):
    colour: str
    sound: bool


class OldPair(NamedTuple):
    left: OldPoint
    right: int = 0


class NewPair(NamedTuple):
    left: NewPoint
    right: int = 0


class OldPin(msgspec.Struct, frozen=True, omit_defaults=True):
    at: int = 0


class NewPin(msgspec.Struct, frozen=True, omit_defaults=True):
    at: int = 0
    label: str = ""


with registry.isolated():

    class OldKinds(State, name="kinds"):
        point: OldPoint = field(default_factory=OldPoint)
        row: OldRow = field(default_factory=OldRow)
        options: OldOptions = field(default_factory=lambda: OldOptions(sound=True))
        pair: OldPair = field(default_factory=lambda: OldPair(OldPoint()))
        both: tuple[OldPoint, int] = field(default_factory=lambda: (OldPoint(), 0))
        pins: frozenset[OldPin] = frozenset()
        maybe: OldRow | dict[str, OldPoint] | None = None
        unset: OldPoint | msgspec.UnsetType = msgspec.UNSET

    class NewKinds(State, name="kinds"):
        point: NewPoint = field(default_factory=NewPoint)
        row: NewRow = field(default_factory=NewRow)
        options: NewOptions = field(
            default_factory=lambda: NewOptions(colour="red", sound=True)
        )
        pair: NewPair = field(default_factory=lambda: NewPair(NewPoint()))
        both: tuple[NewPoint, int] = field(default_factory=lambda: (NewPoint(), 0))
        pins: frozenset[NewPin] = frozenset()
        maybe: NewRow | dict[str, NewPoint] | None = None
        unset: NewPoint | msgspec.UnsetType = msgspec.UNSET


def test_everything_with_declared_fields_keeps_what_is_unknown() -> None:
    new = NewKinds(
        NewPoint(1, 2),
        NewRow(1, [2]),
        NewOptions(colour="blue", sound=True),
        NewPair(NewPoint(3, 4), 5),
        (NewPoint(6, 7), 8),
        frozenset({NewPin(1, "a"), NewPin(2, "b")}),
        {"a": NewPoint(9, 9)},
        NewPoint(5, 5),
    )
    stored = codec.encode(new)
    old, before = codec.load(OldKinds, stored)
    assert codec.dump(old, before)[0] == stored
    old.point.x = old.row.a = 100
    old.options["sound"] = False
    old.pair = old.pair._replace(right=100)
    assert isinstance(old.maybe, dict)
    old.maybe["a"].x = 100
    assert isinstance(old.unset, OldPoint)
    old.unset.x = 100
    now = codec.decode(NewKinds, codec.dump(old, before)[0])
    assert now == NewKinds(
        NewPoint(1, 100),
        NewRow(100, [2]),
        NewOptions(colour="blue", sound=False),
        NewPair(NewPoint(3, 4), 100),
        (NewPoint(6, 7), 8),
        new.pins,
        {"a": NewPoint(9, 100)},
        NewPoint(5, 100),
    )


def test_items_of_what_has_changed_lose_what_is_unknown() -> None:
    new = NewKinds(
        both=(NewPoint(6, 7), 8),
        pins=frozenset({NewPin(1, "a")}),
        maybe=NewRow(1, [2]),
    )
    old, before = codec.load(OldKinds, codec.encode(new))
    old.both = (old.both[0], 9)
    old.pins |= {OldPin(2)}
    old.maybe = {"a": OldPoint()}
    now = codec.decode(NewKinds, codec.dump(old, before)[0])
    assert now.both == (NewPoint(0, 7), 9)
    assert now.pins == {NewPin(1), NewPin(2)}
    assert now.maybe == {"a": NewPoint()}


def test_what_a_migration_returns_is_complete() -> None:
    with registry.isolated():

        class Before(State, name="page"):
            title: str = ""
            junk: str = ""
            other: int = 0

        class After(State, name="page", version=2):
            heading: str = ""

            @classmethod
            def migrate(cls, data: dict[str, Any], from_version: int) -> dict[str, Any]:
                del data["junk"]
                data["heading"] = data.pop("title")
                return data

    stored = codec.encode(Before("kept", "dropped", 7))
    after, plain = codec.load(After, stored)
    assert not codec.is_current(After, stored, after)
    migrated, decoded = codec.dump(after, plain)
    assert migrated.startswith(b"2:")
    assert codec.plain(migrated) == {"other": 7, "heading": "kept"}
    assert codec.is_current(After, migrated, decoded)
    change = event_bus.Change(
        StoreKey("K7Q2ZD", "alice"),
        *("7f3a.1-00000000", "7f3a.2-00000000"),
        {"page": stored},
        {"page": migrated},
        edit=None if plain is None else (plain, decoded),
    )
    shown = {"page": codec.plain(stored)}
    assert apply(shown, msgspec.json.decode(change.operations)) == {
        "page": codec.plain(migrated)
    }


def test_a_replaced_state_keeps_what_is_unknown_and_newer_data() -> None:
    stored = codec.encode(New(text="kept", players={"ada": NewPlayer(score=3.5)}))
    old = Old(step=5, players={"ada": OldPlayer("Ada"), "bob": OldPlayer()})
    now = codec.decode(New, codec.encode(old, stored))
    assert (now.text, now.step) == ("kept", 5)
    assert now.players == {
        "ada": NewPlayer(full_name="Ada", score=3.5),
        "bob": NewPlayer(),
    }
    assert codec.encode(old, b"1:junk") == codec.encode(old)
    with pytest.raises(StateCorrupt) as caught:
        codec.encode(old, b"2:{}")
    assert caught.value.newer


def test_what_is_unknown_is_named_for_staff() -> None:
    new = New(text="a", heap=[NewCard()], players={"a/b": NewPlayer()})
    data, paths = codec.reveal(Old, codec.encode(new))
    assert data["text"] == "a"
    assert data["gone"] == ""
    assert paths == {
        "/text",
        "/heap/0/colour",
        "/players/a~1b/score",
        "/first/score",
    }
    assert codec.reveal(New, codec.encode(new)) == (
        codec.plain(codec.encode(new)),
        set(),
    )
