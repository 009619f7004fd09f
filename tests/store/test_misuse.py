"""Every wrong call of a store says what is wrong, and the call that was meant."""

from __future__ import annotations

import asyncio
import copy
import datetime
import pickle
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import msgspec
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import SimpleLazyObject, lazystr

from sessionstores import Conflict, InvalidArguments, InvalidKey, UnknownState
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.participants.people import Person
from sessionstores.state.declaration import State, action, field, injected, registry

CODE = "K7Q2ZD"
ALICE = Participant(CODE, "alice")


class Marked(msgspec.Struct):
    """A base whose action several states inherit."""

    @action
    def mark(self) -> None: ...


with registry.isolated():

    class Hand(State):
        card: str = ""

        @action
        def choose(self, card: str) -> None:
            self.card = card

        @action
        def wait(self) -> None: ...

    class Deck(Marked, State):
        cards: list[str] = field(default_factory=list[str])

        @action
        def keep(self, card: str) -> None:
            self.cards.append(card)

        @action
        def shuffle(self, *, by: Participant = injected) -> str:
            return by.id

        @property
        def total(self) -> int:
            return len(self.cards)

    class SmallDeck(Deck):
        @action
        def keep(self, card: str) -> None:
            self.cards = [card]

    class Table(State, scope="session"):
        open: bool = True

        @action
        def join(self, *, by: Participant = injected) -> Any:
            return by.id

        @action
        def tell(self, *, by: Participant = injected) -> str:
            return f"{by}"

        @action
        def see(self, *, hand: Hand = injected) -> str:
            return hand.card


ANY_DECK: Any = Deck
ANY_HAND: Any = Hand


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registry.isolated(Hand, Deck, SmallDeck, Table):
        yield


def deck() -> Any:
    return stores.get(Deck, CODE, "alice")


def table() -> Any:
    return stores.get(Table, CODE)


any_stores = cast("Any", stores)

WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: deck().dispatch(Hand.choose, "ace"),
        TypeError,
        "Hand.choose is an action of Hand, and this store holds Deck: "
        "stores.get(Hand, ...).",
    ),
    (
        lambda: deck().dispatch(Hand.wait),
        TypeError,
        "Hand.wait is an action of Hand, and this store holds Deck: "
        "stores.get(Hand, ...).",
    ),
    (
        lambda: deck().dispatch(Deck().keep, "ace"),
        TypeError,
        "dispatch() would run Deck.keep on the copy that it was taken from, not on the "
        "stored Deck: pass Deck.keep.",
    ),
    (
        lambda: deck().dispatch("kep", "ace"),
        TypeError,
        "dispatch() takes a function, not a name: Deck has no action 'kep'. Did you "
        "mean Deck.keep?",
    ),
    (
        lambda: deck().dispatch("keep", "ace"),
        TypeError,
        "dispatch() takes a function, not a name: pass Deck.keep.",
    ),
    (
        lambda: deck().dispatch("total"),
        TypeError,
        "dispatch() takes a function, not a name: Deck has no action 'total'. Its "
        "actions are Deck.mark, Deck.keep, Deck.shuffle.",
    ),
    (
        lambda: deck().dispatch(5),
        TypeError,
        "dispatch() takes a function, not 5: pass an action of Deck or any other "
        "function of one. What changes nothing is read from store.state.",
    ),
    (
        lambda: deck().keep("ace"),
        AttributeError,
        "A store of Deck has no keep: store.dispatch(Deck.keep, ...) runs the action.",
    ),
    (
        lambda: deck().cards,
        AttributeError,
        "A store of Deck has no cards: store.state.cards reads it.",
    ),
    (
        lambda: deck().total,
        AttributeError,
        "A store of Deck has no total: store.state.total reads it.",
    ),
    (
        lambda: deck().cads,
        AttributeError,
        "A store of Deck has no cads, and neither has Deck.",
    ),
    *(
        (
            lambda name=name: setattr(deck(), name, []),  # type: ignore[misc]
            AttributeError,
            f"A store holds no data, so {name} cannot be set: change the Deck in an "
            "action, with store.dispatch(...), or as a whole with store.replace(...).",
        )
        for name in ("cards", "state", "snapshot", "other")
    ),
    (
        lambda: stores.get(Deck, CODE),
        InvalidKey,
        "Deck belongs to a participant: stores.get(Deck, code, participant.id).",
    ),
    (
        lambda: stores.get(Deck, CODE, cast("Any", ALICE)),
        InvalidKey,
        "Participant(session='K7Q2ZD', id='alice', role='participant', name=None) is "
        "not a participant id: 1 to 64 of a-z, A-Z, 0-9, '_' and '-'. Pass its .id.",
    ),
    (
        lambda: any_stores.kick(CODE, StoreKey(CODE, "alice")),
        InvalidKey,
        "StoreKey(session='K7Q2ZD', participant='alice') is not a participant id: 1 to "
        "64 of a-z, A-Z, 0-9, '_' and '-'. Pass its .participant.",
    ),
    (
        lambda: any_stores.kick(CODE, SimpleLazyObject(lambda: ALICE)),
        InvalidKey,
        ". Pass its .id.",
    ),
    (lambda: any_stores.people(ALICE), InvalidKey, "and 0-9. Pass its .session."),
    (
        lambda: stores.people(CODE.lower()),
        InvalidKey,
        "'k7q2zd' is not a session code: six characters of A-Z and 0-9. "
        "normalize_code() makes one of what people type.",
    ),
    (lambda: stores.people("K7Q2ZD "), InvalidKey, "makes one of what people type."),
    (
        lambda: stores.people("alice"),
        InvalidKey,
        "'alice' is not a session code: six characters of A-Z and 0-9.",
    ),
    (
        lambda: stores.get(Deck, CODE, "x" * 200),
        InvalidKey,
        f"'{'x' * 60}…' is not a participant id: it is 200 characters long. An id has "
        "1 to 64 of a-z, A-Z, 0-9, '_' and '-'.",
    ),
    (
        lambda: stores.get(Deck, CODE, "é"),
        InvalidKey,
        "'é' is not a participant id: 1 to 64 of a-z, A-Z, 0-9, '_' and '-'.",
    ),
    (
        lambda: stores.set_role(CODE, "alice", "x" * 200),
        InvalidKey,
        f"'{'x' * 60}…' is not a role: it is 200 characters long. A role has 1 to 64 "
        "printable characters.",
    ),
    (
        lambda: stores.set_name(CODE, "alice", "a\nb"),
        InvalidKey,
        "'a\\nb' is not a name: leave out '\\n', which is a line break.",
    ),
    (
        lambda: stores.set_name(CODE, "alice", "a\0b"),
        InvalidKey,
        "'a\\x00b' is not a name: leave out '\\x00', which is a control character.",
    ),
    (
        lambda: any_stores.quarantined(5),
        InvalidKey,
        "5 is not a key of data that was set aside, such as "
        "'ss:{K7Q2ZD}:q:alice:0123456789abcdef'. The log of sessionstores.backends "
        "names it.",
    ),
    (
        lambda: any_stores.get("alice", CODE, Deck),
        UnknownState,
        "A state comes first: Deck, then 'alice', 'K7Q2ZD', as in stores.get(Board, "
        "code, participant.id).",
    ),
    (
        lambda: any_stores.get(CODE, Table),
        UnknownState,
        "A state comes first: Table, then 'K7Q2ZD', as in stores.get(Board, code, "
        "participant.id).",
    ),
    (
        lambda: any_stores.peek_all(CODE, Deck),
        UnknownState,
        "A state comes first: Deck, then 'K7Q2ZD', as in stores.get(Board, code, "
        "participant.id).",
    ),
    (lambda: stores.get("dek", CODE), UnknownState, "declared. Did you mean 'deck'?"),
    (
        lambda: table().dispatch(Table.join, by="alice"),
        InvalidArguments,
        "by is 'alice'; it takes a Participant.",
    ),
    (
        lambda: table().dispatch(Table.join, by=5),
        InvalidArguments,
        "by is 5; it takes a Participant.",
    ),
    (
        lambda: table().dispatch(Table.join, by=None),
        InvalidArguments,
        "by is None; it takes a Participant.",
    ),
    (
        lambda: table().dispatch(Table.join, by=Participant("ABC123", "alice")),
        InvalidArguments,
        "by is Participant(session='ABC123', id='alice', role='participant', "
        "name=None), of another session than K7Q2ZD:*. Give one of session K7Q2ZD.",
    ),
    (
        lambda: table().dispatch(Table.see, hand="alice"),
        InvalidArguments,
        "hand is 'alice'; it takes a Hand.",
    ),
    (
        lambda: table().dispatch(Table.see, hand=stores.get(Hand, CODE, "alice")),
        AttributeError,
        "A store of Hand has no card: store.state.card reads it.",
    ),
    *(
        (
            lambda base=base: deck().replace(Deck(), base=base),  # type: ignore[misc]
            Conflict,
            f", and {base!r} is no rev. Nothing was changed; take a new snapshot, "
            "whose .rev is the base, and try again.",
        )
        for base in ("", 5, None)
    ),
    (
        lambda: deck().replace(Deck(), base="7f3a.45-9f3ac21b"),
        Conflict,
        ", no longer at 7f3a.45-9f3ac21b. Nothing was changed; take a new snapshot, "
        "whose .rev is the base, and try again.",
    ),
    *(
        (
            lambda keep=keep: any_stores.create_session(keep=keep),  # type: ignore[misc]
            TypeError,
            f"keep is {keep!r}; it takes seconds, such as 86_400.",
        )
        for keep in ("1d", None, "86400", [])
    ),
    (
        lambda: any_stores.create_session(keep=datetime.timedelta(days=1)),
        TypeError,
        "keep is datetime.timedelta(days=1); it takes seconds, such as 86_400: pass "
        "its .total_seconds().",
    ),
    (
        lambda: any_stores.extend(CODE, "1h"),
        TypeError,
        "seconds is '1h'; it takes seconds, such as 86_400.",
    ),
    *(
        (
            lambda name=name: any_stores.sweep(**{name: "5m"}),  # type: ignore[misc]
            TypeError,
            f"{name} is '5m'; it takes {wanted}.",
        )
        for name, wanted in {
            "idle_for": "seconds, such as 86_400",
            "pause": "seconds, such as 86_400",
            "max_seconds": "seconds, such as 86_400",
            "batch_size": "a whole number",
            "progress": "a function",
        }.items()
    ),
    (
        lambda: any_stores.sweep(batch_size=1.5),
        TypeError,
        "batch_size is 1.5; it takes a whole number.",
    ),
    (
        lambda: any_stores.create_session(label=5),
        InvalidArguments,
        "label: 5 is not text: pass a str.",
    ),
    (
        lambda: ALICE.link(cast("Any", 5)),
        TypeError,
        "link() takes the URL of a page, not 5.",
    ),
]


@pytest.mark.parametrize(("call", "kind", "text"), WRONG, ids=[t for *_, t in WRONG])
def test_a_wrong_call_says_what_is_wrong_and_what_was_meant(
    call: Callable[[], Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).endswith(text)


async def test_reading_a_state_in_a_coroutine_says_what_reads_it_there() -> None:
    store = deck()
    with pytest.raises(SynchronousOnlyOperation) as caught:
        store.state  # noqa: B018
    text = str(caught.value)
    assert text == "Inside an event loop: (await store.asnapshot()).state instead."
    assert (await store.asnapshot()).state == Deck()
    with pytest.raises(TypeError, match=r"Hand\.wait is an action of Hand"):
        await store.adispatch(Hand.wait)


def loose_apply(state: Any) -> str:
    return type(state).__name__


RIGHT: list[tuple[Callable[[], Any], object]] = [
    (lambda: deck().dispatch(Deck.mark), None),
    (lambda: deck().dispatch(Marked.mark), None),
    (lambda: deck().dispatch(loose_apply), "Deck"),
    (lambda: deck().dispatch(action(lambda state: 5)), 5),
    (lambda: deck().dispatch(Deck.shuffle), "alice"),
    (lambda: deck().dispatch(Deck.shuffle, by=Participant(CODE, "bob")), "bob"),
    (lambda: deck().dispatch(mock.Mock(return_value=7)), 7),
    # What the subclass overrides may be called all the same.
    (
        lambda: any_stores.get(SmallDeck, CODE, "alice").dispatch(Deck.keep, "ace"),
        None,
    ),
    (lambda: table().dispatch(Table.join, by=SimpleNamespace(id="bob")), "bob"),
    (lambda: table().dispatch(Table.tell, by=None), "None"),
    (
        lambda: table().dispatch(
            Table.join, by=Person("bob", None, "x", False, 0, 0.0, 0, None)
        ),
        "bob",
    ),
    (lambda: table().dispatch(Table.see, hand=Hand("ace")), "ace"),
    (lambda: table().dispatch(Table.see, hand=SimpleNamespace(card="2")), "2"),
    (lambda: any_stores.sweep(idle_for=Decimal(5), pause=None).dry_run, False),
    (lambda: len(any_stores.create_session(keep=Decimal(5))), 6),
    (lambda: len(any_stores.create_session(keep=Fraction(5))), 6),
    (lambda: ALICE.link(lazystr("/page/#top"))[-4:], "#top"),
]


@pytest.mark.parametrize(("call", "result"), RIGHT)
def test_what_works_goes_on_working(call: Callable[[], Any], result: object) -> None:
    assert call() == result


def test_a_store_is_copied_compared_and_mocked_as_before() -> None:
    store = deck()
    for twin in (copy.copy(store), copy.deepcopy(store)):
        assert (twin.cls, twin.key) == (store.cls, store.key)
    assert not hasattr(store, "cards")
    assert getattr(store, "cards", 5) == 5
    assert not hasattr(store, "__deepcopy__")
    assert not hasattr(store, "_repr_html_")
    blank = object.__new__(type(store))
    assert not hasattr(blank, "key")
    mocked = mock.create_autospec(store, instance=True)
    mocked.dispatch.return_value = 5
    assert mocked.dispatch(lambda s: s) == 5
    assert pickle.loads(pickle.dumps(store.key)) == store.key
    assert asyncio.run(store.asnapshot()).state == store.state
