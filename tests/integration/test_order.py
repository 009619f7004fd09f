"""The order of a dict's keys is one in the cache, on every page and in every tab."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionstores import State, event_bus, field, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Record
from sessionstores.keys import StoreKey
from sessionstores.state import codec
from sessionstores.state.apply_patch import apply
from sessionstores.state.declaration import registry
from tests.integration.test_client_patch import NODE, SCRIPT
from tests.state.test_patch import identical

ALICE = StoreKey("K7Q2ZD", "alice")
KEYS = st.sampled_from(["ada", "bob", "cleo", "2", "10", "01"])


class Hand(msgspec.Struct):
    cards: dict[str, int] = {}
    seen: set[str] = set()


with registry.isolated():

    class Table(State):
        votes: dict[str, int] = field(default_factory=dict[str, int])
        by_number: dict[int, str] = field(default_factory=dict[int, str])
        hands: dict[str, Hand] = field(default_factory=dict[str, Hand])
        rounds: list[dict[str, int]] = field(default_factory=list[dict[str, int]])
        anything: Any = None
        tags: set[str] = field(default_factory=set[str])


def dicts_in(table: Any) -> list[dict[Any, Any]]:
    nested = [table.votes, table.by_number, table.hands, *table.rounds]
    nested += [hand.cards for hand in table.hands.values()]
    return nested + ([table.anything] if isinstance(table.anything, dict) else [])


def deal(table: Any, deeds: list[tuple[str, str, int]], draw: random.Random) -> None:
    """Sort, turn and fill the dicts of a table."""
    for deed, key, number in deeds:
        chosen = draw.choice(dicts_in(table))
        items = list(chosen.items())
        if deed == "sort":
            items.sort(key=lambda item: str(item[0]))
        elif deed == "turn":
            items.reverse()
        elif deed == "shuffle":
            draw.shuffle(items)
        elif deed == "vote":
            table.votes[key] = number
            table.by_number[number] = key
            continue
        elif deed == "hand":
            hand = table.hands.setdefault(key, Hand())
            hand.cards[draw.choice("xyz")] = number
            hand.seen.add(key)
            continue
        elif deed == "round":
            table.rounds.append({key: 1, "x": number})
            table.anything = {"b": 1, "a": {key: 1}}
            continue
        chosen.clear()
        chosen.update(items)


DEEDS = st.tuples(
    st.sampled_from(["sort", "turn", "shuffle", "vote", "hand", "round"]),
    KEYS,
    st.integers(0, 3),
)


def stored() -> bytes:
    record = run(get_backend(blocking=True).read(ALICE))
    assert isinstance(record, Record)
    return record.states["table"]


@given(st.lists(st.lists(DEEDS, max_size=6), min_size=1, max_size=6), st.randoms())
@settings(max_examples=60)
def test_a_new_rev_has_operations_and_they_lead_to_the_stored_order(
    actions: list[list[tuple[str, str, int]]], draw: random.Random
) -> None:
    check(actions, draw)


def test_the_client_shows_the_order_that_is_stored() -> None:
    kinds = ["sort", "turn", "shuffle", "vote", "hand", "round"]
    keys = ["ada", "bob", "cleo", "2", "10", "01"]
    fixed = random.Random(7)
    actions = [
        [
            (fixed.choice(kinds), fixed.choice(keys), fixed.randrange(4))
            for _ in range(fixed.randrange(1, 5))
        ]
        for _ in range(150)
    ]
    cases = check(actions, fixed)
    assert len(cases) > 75
    subprocess.run(
        [NODE, "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(cases),
        check=True,
        text=True,
        timeout=60,
    )


def check(
    actions: list[list[tuple[str, str, int]]], draw: random.Random
) -> list[dict[str, Any]]:
    """Dispatch actions; return what a tab had, got, and must show."""
    changes: list[event_bus.Change] = []
    cases = []
    with event_bus.bus.isolated(), registry.isolated(Table):
        stores.cleanup_session(ALICE.session)
        event_bus.bus.subscribe(changes.append, event_bus.Change)
        store = stores.get(Table, *ALICE)
        store.snapshot()
        shown: Any = {"table": codec.plain(stored())}
        for deeds in actions:
            before, rev = stored(), store.snapshot().rev
            seed = draw.getrandbits(32)
            store.dispatch(
                lambda table, deeds=deeds, seed=seed: deal(
                    table, deeds, random.Random(seed)
                )
            )
            after, now = stored(), store.snapshot().rev
            assert (now != rev) is (after != before) is bool(changes)
            if not changes:
                continue
            (change,) = changes
            changes.clear()
            operations = json.loads(change.operations)
            assert operations
            expected = {"table": codec.plain(after)}
            cases.append({"old": shown, "ops": operations, "expected": expected})
            shown = apply(shown, operations)
            assert identical(shown, expected)
            # Python keeps the order of numbers, too.
            shown = expected
    return cases
