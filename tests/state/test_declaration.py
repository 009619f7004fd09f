from __future__ import annotations

import dataclasses
import inspect
import json
import math
import random
import re
import string
import typing
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.exceptions import InvalidArguments, UnknownAction, UnknownState
from sessionstores.state import actions
from sessionstores.state.actions import ByParticipant
from sessionstores.state.declaration import (
    Declaration,
    Registry,
    State,
    action,
    field,
    get_action,
    get_state,
    injected,
    register_injectable,
    registry,
    states_in,
)

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True)
class Person:
    """Stands for Participant, which is registered by a higher module."""

    id: str


class Card(msgspec.Struct):
    id: int
    title: str = ""


class Shared(msgspec.Struct):
    """A base that is no state of its own."""

    opened: int = 0

    @action
    def open(self) -> None:
        self.opened += 1


with registry.isolated():

    class Agenda(State, scope="session"):
        step: int = 1

        @action(role="facilitator")
        def advance(self) -> None:
            self.step += 1

        @action(role=("facilitator", "host"))
        def go(self, step: int) -> None:
            self.step = step

    class CardBoard(
        Shared,
        State,
        name="board",
        version=3,
        sensitive=("notes",),
        watch=("facilitator",),
    ):
        deck: list[str] = field(default_factory=list[str])
        notes: str = field(default="", name="memo")

        @action
        def move(
            self, card: str, pile: str = "keep", *, agenda: Agenda = injected
        ) -> str:
            return f"{card} on {pile} in step {agenda.step}"

        @action
        def rank(self, cards: list[Card], weight: float = 1.5) -> float:
            return weight * len(cards)

        @action
        def vote(self, *, by: Person, yes: bool) -> None: ...

        @action
        def later(self, what: Later) -> None: ...

        @action
        def anything(self, what: Any = None) -> Any:
            return what

        @action
        def pick(
            self,
            place: Annotated[int, msgspec.Meta(ge=0, le=9)],
            side: Literal["left", "right"] = "left",
            tags: tuple[str, ...] = ("a", "b"),
            extra: list[str] = ["x"],  # noqa: B006
        ) -> None: ...

        def private(self) -> None: ...

    class SmallBoard(CardBoard):
        size: int = 3

        @action
        def resize(self, size: int) -> None:
            self.size = size

        # Overridden without @action: no action any more.
        def rank(self, cards: list[Card], weight: float = 1.5) -> float:
            return 0.0


class Later(msgspec.Struct):
    """Defined after the action that names it."""

    at: int


register_injectable(Person)
BOARD = CardBoard.__sessionstores__


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with registry.isolated(CardBoard, Agenda):
        yield


def refused(cls: type[State], action: str, raw: bytes) -> str:
    with pytest.raises(InvalidArguments) as caught:
        get_action(cls, action).decode(raw)
    return str(caught.value)


# Declaration


def test_an_action_is_called_as_the_site_calls_it_or_it_has_no_label() -> None:
    with registry.isolated():

        class Named(State):
            @action(label="Next step", role="host")
            def advance(self) -> None: ...

            @action
            def back(self) -> None: ...

    actions = Named.__sessionstores__.actions
    assert (actions["advance"].label, actions["advance"].roles) == (
        "Next step",
        ("host",),
    )
    assert actions["back"].label is None


def test_declaration_holds_what_the_class_says_about_itself() -> None:
    assert (BOARD.name, BOARD.version, BOARD.scope) == ("board", 3, "participant")
    assert BOARD.watch == {"facilitator"}
    assert set(BOARD.actions) == {
        *("open", "move", "rank", "vote", "later", "anything", "pick")
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        BOARD.version = 4  # type: ignore[misc]


def test_sensitive_fields_are_kept_by_the_key_they_have_in_json() -> None:
    assert BOARD.sensitive == {"memo"}


@pytest.mark.parametrize(
    ("cls_name", "name"),
    [
        ("Board", "board"),
        ("CardBoard", "card_board"),
        ("HTTPBoard", "http_board"),
        ("Step1Board", "step1_board"),
    ],
)
def test_name_defaults_to_the_class_name_in_snake_case(
    cls_name: str, name: str
) -> None:
    assert declare(cls_name).__sessionstores__ == Declaration(
        name, 1, "participant", frozenset(), frozenset(), {}
    )


def declare(
    cls_name: str = "Bad", body: dict[str, Any] | None = None, **keywords: Any
) -> type[State]:
    namespace = {"__module__": __name__, "__qualname__": cls_name, **(body or {})}
    cls = cast("Any", type(State))(cls_name, (State,), namespace, **keywords)
    return cast("type[State]", cls)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        *(
            (
                {"name": name},
                re.escape(f"State Bad: name {name!r} must be 1 to 64 of a-z"),
            )
            for name in (
                *("", "Board", "1st", "_x", "a-b", "ä", "board\n", "a" * 65),
                *(7, "constructor", "prototype", "__proto__"),
            )
        ),
        *(
            ({"version": version}, f"State Bad: version {version!r} must be an integer")
            for version in (0, -1, True, "1", 1.0, None)
        ),
        (
            {"scope": "all"},
            'State Bad: scope \'all\' must be "participant" or "session".',
        ),
        ({"sensitive": "step"}, "State Bad: sensitive='step' must be a tuple of names"),
        ({"sensitive": (1,)}, r"State Bad: sensitive=\(1,\) must be a tuple of names"),
        ({"watch": "host"}, "State Bad: watch='host' must be a tuple of names"),
        ({"watch": None}, "State Bad: watch=None must be a tuple of names"),
        (
            {"sensitive": ("stap",)},
            r"State Bad: sensitive='stap' is not a field\. Did you mean 'step'\?",
        ),
        ({"sensitive": ("zzz",)}, r"State Bad: sensitive='zzz' is not a field\.$"),
        ({"frozen": True}, "State Bad: a state cannot have frozen"),
        ({"array_like": True}, "State Bad: a state cannot have array_like"),
        ({"omit_defaults": True}, "State Bad: a state cannot have omit_defaults"),
        (
            {"forbid_unknown_fields": True},
            "State Bad: a state cannot have forbid_unknown_fields",
        ),
        ({"tag": True}, "State Bad: a state cannot have tag"),
        ({"tag": 0}, "State Bad: a state cannot have tag"),
        (
            {"rename": {"step": "constructor"}},
            "State Bad: browsers refuse the field name 'constructor'",
        ),
    ],
)
def test_class_keywords_are_refused_with_class_and_value(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        declare(body={"__annotations__": {"step": int}, "step": 1}, **keywords)
    with pytest.raises(UnknownState):
        get_state("bad")


def test_unknown_class_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="nmae"):
        declare(nmae="board")


def test_every_field_needs_a_default() -> None:
    with pytest.raises(TypeError, match="State Bad: field 'step' needs a default"):
        declare(body={"__annotations__": {"step": int}})
    with pytest.raises(TypeError, match="State Bad: field 'b' needs a default"):
        declare(
            body={"__annotations__": {"a": int, "b": int}, "a": 1},
            kw_only=True,
        )


def test_other_class_keywords_are_those_of_msgspec() -> None:
    cls = declare(
        body={"__annotations__": {"first_name": str}, "first_name": ""},
        rename="camel",
        kw_only=True,
    )
    assert cls.__struct_encode_fields__ == ("firstName",)
    with pytest.raises(TypeError, match="positional"):
        cls("Ada")


def test_subclasses_inherit_fields_and_actions_but_not_name_and_version() -> None:
    small = SmallBoard.__sessionstores__
    assert (small.name, small.version) == ("small_board", 1)
    assert (small.sensitive, small.watch) == (frozenset(), frozenset())
    assert set(small.actions) == set(BOARD.actions) - {"rank"} | {"resize"}
    assert SmallBoard.__struct_fields__ == ("opened", "deck", "notes", "size")
    board = SmallBoard(size=2)
    small.actions["open"].function(board)
    assert board.opened == 1


def test_migrate_leaves_data_as_it_is() -> None:
    data = {"step": 1}
    assert Agenda.migrate(data, 1) is data


# Actions


def test_an_action_stays_a_plain_method() -> None:
    assert inspect.isfunction(CardBoard.move)
    assert get_action(CardBoard, "move").function is CardBoard.move
    assert CardBoard().move("ace", agenda=Agenda(step=2)) == "ace on keep in step 2"


def test_roles_are_kept_with_the_action() -> None:
    assert get_action(Agenda, "advance").roles == ("facilitator",)
    assert get_action(Agenda, "go").roles == ("facilitator", "host")
    assert get_action(CardBoard, "move").roles == ()


def takes_async() -> Any:
    async def act(self: Any) -> None: ...

    return act


def takes_async_generator() -> Any:
    async def act(self: Any) -> Any:
        yield

    return act


def takes_generator() -> Any:
    def act(self: Any) -> Any:
        yield

    return act


def takes_nothing() -> None: ...


def takes_only_keywords(*, card: str) -> None: ...


def takes_any(self: Any, *cards: str) -> None: ...


def takes_any_keyword(self: Any, **cards: str) -> None: ...


def takes_positional_only(self: Any, card: str, /) -> None: ...


def takes_unannotated(self, card):  # type: ignore[no-untyped-def]
    ...


def takes_constructor(self: Any, constructor: int) -> None: ...


def takes_self_alone(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (action(takes_async()), "cannot be async"),
        (action(takes_async_generator()), "cannot be async"),
        (action(takes_generator()), "cannot be a generator"),
        (action(takes_nothing), "needs a first parameter, self"),
        (action(takes_only_keywords), "needs a first parameter, self"),
        (action(takes_any), r"\*cards cannot be validated"),
        (action(takes_any_keyword), r"\*\*cards cannot be validated"),
        (action(takes_positional_only), "card must not be positional-only"),
        (action(takes_unannotated), "card needs an annotation"),
        (action(takes_constructor), "browsers refuse the name constructor"),
        (staticmethod(action(takes_self_alone)), "only plain methods"),
        (classmethod(action(takes_self_alone)), "only plain methods"),
    ],
)
def test_what_clients_could_not_call_is_refused_at_declaration(
    function: Any, reason: str
) -> None:
    with pytest.raises(TypeError, match=rf"@action Bad\.act: .*{reason}"):
        declare(body={"act": function})


def test_private_names_cannot_be_actions() -> None:
    with pytest.raises(
        TypeError, match=r'@action Bad\._act: names that begin with "_"'
    ):
        declare(body={"_act": action(takes_self_alone)})


@pytest.mark.parametrize(
    "function",
    [
        staticmethod(takes_nothing),
        classmethod(takes_self_alone),
        property(takes_self_alone),
    ],
)
def test_only_functions_can_be_decorated(function: Any) -> None:
    with pytest.raises(TypeError, match="only plain methods can be actions"):
        action(function)


@pytest.mark.parametrize("role", ["", 1, ("host", ""), ("host", 1), {"host"}])
def test_a_role_is_a_name(role: Any) -> None:
    if role == "":
        role = ("",)
    with pytest.raises(TypeError, match="a role is a non-empty name"):
        action(role=role)


NO_ACTION = " Clients may call methods with @action only, which it has not."
ACTIONS = f" Its actions are: {', '.join(CardBoard.__sessionstores__.actions)}."
DECLARE_IT = (
    " States are declared in modules named `states` of INSTALLED_APPS, or in what "
    "these import."
)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("moves", " Did you mean 'move'?"),
        ("private", NO_ACTION),
        ("migrate", NO_ACTION),
        ("__class__", ACTIONS),
        ("__init__", ACTIONS),
        ("deck", ACTIONS),
        ("__struct_fields__", ACTIONS),
        ("", ACTIONS),
    ],
)
def test_what_is_no_action_is_unknown(name: str, hint: str) -> None:
    with pytest.raises(UnknownAction) as caught:
        get_action(CardBoard, name)
    assert str(caught.value) == f"board has no action {name!r}.{hint}"


# Arguments


def test_arguments_are_converted_and_defaults_filled_in() -> None:
    rank = get_action(CardBoard, "rank")
    assert rank.decode(b'{"cards":[{"id":1}]}') == {
        "cards": [Card(1)],
        "weight": 1.5,
    }
    assert rank.decode(b' { "cards" : [], "weight": 2 } ') == {
        "cards": [],
        "weight": 2.0,
    }
    assert get_action(CardBoard, "move").decode(b'{"card":"ace"}') == {
        "card": "ace",
        "pile": "keep",
    }
    assert get_action(CardBoard, "pick").decode(b'{"place":3}') == {
        "place": 3,
        "side": "left",
        "tags": ("a", "b"),
        "extra": ["x"],
    }
    assert get_action(Agenda, "advance").decode(b"{}") == {}


def test_arguments_may_come_as_raw_json_of_a_frame() -> None:
    raw = msgspec.Raw(b'{"step":2}')
    assert get_action(Agenda, "go").decode(raw) == {"step": 2}


def test_an_annotation_may_name_what_is_defined_later() -> None:
    later = get_action(CardBoard, "later")
    assert later.decode(b'{"what":{"at":1}}') == {"what": Later(1)}


@pytest.mark.parametrize(
    ("action", "raw", "message"),
    [
        ("go", b'{"step":"1"}', "go: step: expected int, got str."),
        ("go", b'{"step":true}', "go: step: expected int, got bool."),
        ("go", b'{"step":1.0}', "go: step: expected int, got float."),
        ("go", b'{"step":null}', "go: step: expected int, got null."),
        ("go", b"{}", "go: step: missing."),
        ("go", b'{"step":1,"stp":1}', "go: stp: unknown; it takes step."),
        ("advance", b'{"by":1}', "advance: by: unknown; it takes nothing."),
        ("go", b"[1]", "go: arguments: expected object, got array."),
        ("go", b"null", "go: arguments: expected object, got null."),
        (
            "go",
            b'{"step":9007199254740992}',
            "go: step: an integer beyond ±(2**53 - 1), which browsers round.",
        ),
        (
            "go",
            b'{"step": -9007199254740992 }',
            "go: step: an integer beyond ±(2**53 - 1), which browsers round.",
        ),
    ],
)
def test_a_refusal_names_the_argument_of_a_session_action(
    action: str, raw: bytes, message: str
) -> None:
    assert refused(Agenda, action, raw) == message


@pytest.mark.parametrize(
    ("action", "raw", "message"),
    [
        (
            "rank",
            b'{"cards":[{"id":"x"}]}',
            "rank: cards[0].id: expected int, got str.",
        ),
        ("rank", b'{"cards":[{}]}', "rank: cards[0].id: missing."),
        (
            "rank",
            b'{"cards":[],"weight":"1"}',
            "rank: weight: expected float, got str.",
        ),
        ("rank", b'{"cards":[],"weight":1e400}', "rank: weight: Number out of range."),
        (
            "rank",
            b'{"cards":[],"weight":null}',
            "rank: weight: expected float, got null.",
        ),
        ("pick", b'{"place":10}', "pick: place: expected int <= 9."),
        (
            "pick",
            b'{"place":1,"side":"up"}',
            "pick: side: must be 'left' or 'right', not 'up'.",
        ),
        ("pick", b'{"place":1,"tags":"ab"}', "pick: tags: expected array, got str."),
        ("later", b'{"what":{"at":[]}}', "later: what.at: expected int, got array."),
        ("anything", b'{"what":1e999}', "anything: what: Number out of range."),
        (
            "anything",
            b'{"what":{"a":{"constructor":1}}}',
            "anything: what.a.constructor: browsers refuse this key.",
        ),
        (
            "anything",
            b'{"what":{"\\u005f_proto__":1}}',
            "anything: what.__proto__: browsers refuse this key.",
        ),
        (
            "anything",
            b'{"what":' + b"[" * 32 + b"]" * 32 + b"}",
            f"anything: what{'[0]' * 31}: "
            "more than 32 levels deep, or contains itself.",
        ),
        ("vote", b'{"yes":true,"by":{"id":"eve"}}', "vote: by: unknown; it takes yes."),
        (
            "move",
            b'{"card":"ace","agenda":{}}',
            "move: agenda: unknown; it takes card, pile.",
        ),
    ],
)
def test_a_refusal_names_the_argument(action: str, raw: bytes, message: str) -> None:
    assert refused(CardBoard, action, raw) == message


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"x", b"NaN", b'{"step":NaN}', b'{"step":Infinity}', b"{}{}"),
        *(b"\xff", b'{"step\xff":1}', b'{"step":1,"x":"\\ud800"}'),
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    assert refused(Agenda, "go", raw).startswith("go: ")


def test_endless_nesting_is_refused() -> None:
    raw = b'{"what":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    assert "not JSON: maximum recursion depth" in refused(CardBoard, "anything", raw)


def test_a_long_name_is_cut_in_the_refusal() -> None:
    raw = json.dumps({"step": 1, "x" * 5000: 1}).encode()
    assert refused(Agenda, "go", raw) == f"go: {'x' * 64}: unknown; it takes step."


def test_text_with_escapes_and_names_like_refused_ones_passes() -> None:
    raw = b'{"what":{"protocol":"\\u00e9 \\"constructor\\":","constructors":1}}'
    assert get_action(CardBoard, "anything").decode(raw) == {
        "what": {"protocol": 'é "constructor":', "constructors": 1}
    }


def test_convert_validates_values_as_if_they_came_from_a_client() -> None:
    go = get_action(Agenda, "go")
    assert go.convert({"step": 2}) == {"step": 2}
    with pytest.raises(InvalidArguments, match="go: step: expected int, got str"):
        go.convert({"step": "2"})
    with pytest.raises(InvalidArguments, match="go: step: JSON has no nan"):
        go.convert({"step": math.nan})
    with pytest.raises(InvalidArguments, match="go: step: object is not a JSON value"):
        go.convert({"step": object()})
    with pytest.raises(InvalidArguments, match=r"go: step: JSON has no inf"):
        go.convert({"step": math.inf})


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["cards", "weight", "id", "title", "constructor"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def decoded_or_refused(name: str, raw: bytes) -> dict[str, Any] | None:
    try:
        return get_action(CardBoard, name).decode(raw)
    except InvalidArguments as refusal:
        message = str(refusal)
    assert message.startswith(f"{name}: ")
    return None


@given(
    st.dictionaries(st.sampled_from(["cards", "weight", "x"]), PLAIN)
    | PLAIN
    | st.fixed_dictionaries({"cards": st.lists(PLAIN, max_size=2)})
)
def test_arguments_of_any_shape_are_decoded_or_refused(arguments: Any) -> None:
    decoded = decoded_or_refused("rank", json.dumps(arguments).encode())
    if decoded is not None:
        assert all(type(card) is Card for card in decoded["cards"])
        assert math.isfinite(decoded["weight"])


@given(st.binary())
def test_random_bytes_are_decoded_or_refused(raw: bytes) -> None:
    decoded_or_refused("anything", raw)


def random_json(source: random.Random, depth: int = 0) -> Any:
    kind = source.randrange(10 if depth < 4 else 7)
    if kind < 7:
        return source.choice(
            (
                None,
                True,
                0,
                -1,
                2**53,
                10**400,
                1.5,
                1e308,
                math.nan,
                "",
                "ace",
                "\ud800",
            )
        )
    inner = [random_json(source, depth + 1) for _ in range(source.randrange(4))]
    if kind == 7:
        return inner
    names = ("cards", "weight", "id", "title", "__proto__", "", "é")
    return {source.choice(names): each for each in inner}


def test_ten_thousand_random_arguments_are_decoded_or_refused() -> None:
    source = random.Random(2)
    outcomes = [
        decoded_or_refused(
            source.choice(["rank", "anything"]),
            json.dumps(
                {source.choice(["what", "cards"]): random_json(source)}
            ).encode(),
        )
        for _ in range(10_000)
    ]
    # Neither outcome is an accident.
    assert 500 < outcomes.count(None) < 9_500


WRONG = {
    "card": st.none() | st.integers() | st.booleans() | st.lists(st.text()),
    "pile": st.none() | st.integers() | st.dictionaries(st.text(), st.text()),
}


@given(st.data(), st.sampled_from(sorted(WRONG)))
def test_every_refusal_of_a_wrong_type_names_its_argument(
    data: st.DataObject, wrong: str
) -> None:
    arguments: dict[str, Any] = {"card": "ace", "pile": "keep"}
    arguments[wrong] = data.draw(WRONG[wrong])
    raw = json.dumps(arguments).encode()
    assert refused(CardBoard, "move", raw).startswith(f"move: {wrong}: expected str")


@given(st.text(string.ascii_letters, min_size=1))
def test_every_refusal_of_an_unknown_argument_names_it(name: str) -> None:
    if name in ("card", "pile"):
        return
    raw = json.dumps({"card": "ace", name: 1}).encode()
    assert refused(CardBoard, "move", raw).startswith(f"move: {name[:64]}: unknown")


# Injection


def test_the_server_fills_in_keyword_only_states_and_registered_types() -> None:
    assert dict(get_action(CardBoard, "move").injected) == {"agenda": Agenda}
    assert dict(get_action(CardBoard, "vote").injected) == {"by": Person}
    assert get_action(CardBoard, "vote").decode(b'{"yes":true}') == {"yes": True}
    assert dict(get_action(Agenda, "go").injected) == {}
    assert repr(injected) == "injected"


def takes_everybodys(self: Any, *, boards: Mapping[str, CardBoard] = injected) -> None:
    """Name the class as the module of an action does."""


def takes_everybodys_late(
    self: Any, *, boards: typing.Mapping[str, SmallBoard] = injected
) -> None:
    """Name a class by its name, and the mapping as typing does."""


def test_a_sessions_action_may_ask_for_everybodys_states() -> None:
    members = {"act": action(takes_everybodys), "late": action(takes_everybodys_late)}
    cls = declare("Odd", members, scope="session")
    act = get_action(cls, "act")
    assert dict(act.injected) == {"boards": ByParticipant(CardBoard)}
    assert dict(get_action(cls, "late").injected) == {
        "boards": ByParticipant(SmallBoard)
    }
    assert act.decode(b"{}") == {}
    with pytest.raises(InvalidArguments, match="boards: unknown; it takes nothing"):
        act.decode(b'{"boards":{}}')
    assert registry.problems() == []


def takes_everybodys_agenda(
    self: Any, *, agendas: Mapping[str, Agenda] = injected
) -> None: ...


@pytest.mark.parametrize(
    ("function", "scope", "message"),
    [
        (
            takes_everybodys,
            "participant",
            r"takes_everybodys: boards: it asks for everybody's CardBoard, and an "
            r"action of a participant's state sees nobody else's\. Move it to a state "
            r'with scope="session"',
        ),
        (
            takes_everybodys_agenda,
            "session",
            "takes_everybodys_agenda: agendas: of Agenda a session has only one: "
            "annotate it Agenda",
        ),
        (takes_everybodys_agenda, "participant", "annotate it Agenda"),
    ],
)
def test_everybodys_states_are_refused_where_there_are_none_to_give(
    function: Any, scope: Any, message: str
) -> None:
    cls = declare("Odd", {"act": action(function)}, scope=scope)
    for use in (
        lambda: get_action(cls, "act").injected,
        get_action(cls, "act").resolve,
    ):
        with pytest.raises(TypeError, match=message):
            use()
    (problem,) = registry.problems()
    assert problem.startswith(f"{__name__}.{function.__name__}: ")


def test_an_action_that_is_inherited_is_judged_by_the_scope_of_its_heir() -> None:
    class Asking(msgspec.Struct):
        @action
        def act(self, *, boards: Mapping[str, CardBoard] = injected) -> None: ...

    class Hall(Asking, State, scope="session"): ...

    class Desk(Asking, State): ...

    assert "boards" in get_action(Hall, "act").injected
    with pytest.raises(TypeError, match="nobody else's"):
        get_action(Desk, "act").resolve()


def takes_agenda_by_place(self: Any, agenda: Agenda) -> None: ...


def takes_agenda_or_none(self: Any, *, agenda: Agenda | None = None) -> None: ...


def takes_people(self: Any, *, by: list[Person]) -> None: ...


def takes_annotated(self: Any, *, by: Annotated[Person, "x"]) -> None: ...


def takes_injected_text(self: Any, *, by: str = injected) -> None: ...


def takes_everybodys_by_place(self: Any, boards: Mapping[str, CardBoard]) -> None: ...


def takes_everybodys_to_change(
    self: Any, *, boards: dict[str, CardBoard] = injected
) -> None: ...


def takes_everybodys_by_number(
    self: Any, *, boards: Mapping[int, CardBoard] = injected
) -> None: ...


def takes_everybody(self: Any, *, people: Mapping[str, Person] = injected) -> None: ...


def takes_any_states(self: Any, *, states: Mapping[str, State] = injected) -> None: ...


def takes_everybodys_or_none(
    self: Any, *, boards: Mapping[str, CardBoard] | None = None
) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        takes_agenda_by_place,
        takes_agenda_or_none,
        takes_people,
        takes_annotated,
        takes_injected_text,
        takes_everybodys_by_place,
        takes_everybodys_to_change,
        takes_everybodys_by_number,
        takes_everybody,
        takes_any_states,
        takes_everybodys_or_none,
    ],
)
def test_what_the_server_fills_in_can_never_come_from_a_client(function: Any) -> None:
    cls = declare("Odd", {"act": action(function)}, scope="session")
    name = function.__name__
    with pytest.raises(TypeError, match=rf"{name}: \w+ is annotated .* cannot send"):
        get_action(cls, "act").decode(b"{}")


# Annotations that do not resolve


def takes_type_checking_only(self: Any, part: Fraction) -> None: ...


def takes_complex(self: Any, z: complex) -> None: ...


def takes_pairs(self: Any, pairs: dict[tuple[int, int], str]) -> None: ...


def takes_two_structs(self: Any, what: Card | Later) -> None: ...


class Reaching(msgspec.Struct):
    prototype: int


def takes_prototype(self: Any, what: Reaching) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            takes_type_checking_only,
            r"takes_type_checking_only: its annotations cannot be resolved: name "
            r"'Fraction' is not defined\. Import what they name at module level",
        ),
        (takes_complex, "takes_complex: .* z: complex has no JSON form"),
        (takes_pairs, "takes_pairs: .* pairs: a key of type tuple has no JSON form"),
        (takes_two_structs, "takes_two_structs: its arguments cannot come from JSON: "),
        (takes_prototype, "takes_prototype: .* refuse the field name prototype"),
    ],
)
def test_annotations_that_do_not_resolve_are_reported_at_first_use_and_by_problems(
    function: Any, message: str
) -> None:
    cls = declare("Odd", {"act": action(function)})
    with pytest.raises(TypeError, match=message):
        get_action(cls, "act").decode(b"{}")
    with pytest.raises(TypeError, match=message):
        _ = get_action(cls, "act").injected
    (problem,) = registry.problems()
    with pytest.raises(TypeError, match=message):
        raise TypeError(problem)
    assert __name__ in problem


@pytest.mark.parametrize("hint", ["Fraction", "list[Nowhere]", "1 +"])
def test_fields_that_do_not_resolve_are_problems_with_their_names(hint: Any) -> None:
    annotations = {"good": int, "part": hint}
    declare("Odd", {"__annotations__": annotations, "good": 1, "part": None})
    (problem,) = registry.problems()
    assert problem.startswith(f"{__name__}.Odd.part: ")
    assert "does not resolve: " in problem
    assert "Import what it names at module level" in problem


@dataclass
class Loose:
    a: int = 0


class Frozen(msgspec.Struct, frozen=True):
    a: int = 0
    cards: list[str] = []


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    a: int = 0


class TaggedOddly(msgspec.Struct, tag_field="constructor", tag="x"):
    a: int = 0


class Holder(msgspec.Struct):
    seats: list[dict[tuple[int, int], str]] = []


@pytest.mark.parametrize(
    ("hint", "place", "reason"),
    [
        ("complex", "part", "complex has no JSON form. Use a type of msgspec's"),
        (deque[int], "part", "deque has no JSON form"),
        (object, "part", "object has no JSON form"),
        (msgspec.msgpack.Ext, "part", "msgspec.msgpack.Ext has no JSON form"),
        (dict[str, list[complex]], "part[...][...]", "complex has no JSON form"),
        (Reaching, "part", "browsers refuse the field name prototype. Rename it"),
        (TaggedOddly | None, "part", "browsers refuse the field name constructor"),
        (dict[tuple[int, int], str], "part", "a key of type tuple has no JSON form"),
        (dict[bool, str], "part", "a key of type bool has no JSON form"),
        (dict[None, str], "part", "a key of type None has no JSON form"),
        (dict[str | None, str], "part", "a key of type None has no JSON form"),
        (dict[frozenset[int], str], "part", "a key of type frozenset has no JSON"),
        (dict[Frozen, str], "part", "a key of type Frozen has no JSON form"),
        (dict[str | int, str], "part", "of keys that are text or int, all come back"),
        (Holder, "part.seats[...]", "a key of type tuple has no JSON form"),
        (Holder | None, "part.seats[...]", "a key of type tuple has no JSON form"),
        (set[list[int]], "part", "a set cannot hold list, which is not hashable"),
        (frozenset[dict[str, int]], "part", "a set cannot hold dict"),
        (set[Card], "part", "a set cannot hold Card, which is not hashable"),
        (set[Loose], "part", "a set cannot hold Loose"),
        (set[Frozen], "part", "a set cannot hold list"),
        (set[tuple[int, set[int]]], "part", "a set cannot hold set"),
        (tuple[int, set[bytearray]], "part[1]", "a set cannot hold bytearray"),
        (list[Strict], "part[...]", "Strict forbids unknown fields, so what another"),
    ],
)
def test_types_that_cannot_work_are_problems_with_place_and_way_out(
    hint: Any, place: str, reason: str
) -> None:
    annotations = {"good": int, "part": hint}
    declare("Odd", {"__annotations__": annotations, "good": 1, "part": None})
    (problem,) = registry.problems()
    assert problem.startswith(f"{__name__}.Odd.{place}: {reason}")
    # The way out.
    assert ". " in problem
    assert problem.endswith(".")


def test_each_field_that_cannot_work_is_a_problem() -> None:
    class Odd(State):
        a: dict[bool, int] = {}
        b: set[Card] = set()
        c: set[Card] = set()

    assert [problem.split(":")[0] for problem in registry.problems()] == [
        f"{Odd.__module__}.{Odd.__qualname__}.{name}" for name in "abc"
    ]


def test_good_states_have_no_problems() -> None:
    assert registry.problems() == []
    assert registry.duplicates() == {}


# Registry


def test_states_are_found_by_name_and_by_class() -> None:
    assert get_state("board") is CardBoard
    assert get_state(CardBoard) is CardBoard


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bord", " Did you mean 'board'?"),
        ("xyz", DECLARE_IT),
        ("State", DECLARE_IT),
        ("", DECLARE_IT),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UnknownState) as caught:
        get_state(name)
    assert str(caught.value) == f"No state {name!r} is declared.{hint}"
    with pytest.raises(UnknownState, match="'sessionstores' is not in INSTALLED_APPS"):
        Registry().get(name)


@pytest.mark.parametrize("wrong", [State, int, None, 7, Card, CardBoard()])
def test_what_is_no_declared_class_is_unknown(wrong: Any) -> None:
    with pytest.raises(UnknownState):
        get_state(wrong)


def test_states_of_a_scope_are_sorted_by_name() -> None:
    assert states_in("participant") == (CardBoard,)
    assert states_in("session") == (Agenda,)
    first = declare("Another")
    assert states_in("participant") == (first, CardBoard)
    assert states_in("participant") is states_in("participant")


def test_a_duplicate_name_is_kept_and_reported_and_cannot_be_looked_up() -> None:
    other = declare("Other", name="board")
    assert registry.duplicates() == {"board": (CardBoard, other)}
    message = rf"'board' is declared by {__name__}\.CardBoard and by {__name__}\.Other"
    for look_up in (
        lambda: get_state("board"),
        lambda: get_state(other),
        lambda: states_in("session"),
    ):
        with pytest.raises(UnknownState, match=message):
            look_up()


def test_a_class_that_is_executed_again_replaces_itself() -> None:
    first = declare("Again")
    second = declare("Again")
    assert registry.duplicates() == {}
    assert get_state("again") is second
    with pytest.raises(UnknownState, match="Again has since been declared again"):
        get_state(first)


def test_states_declared_in_isolation_are_forgotten_afterwards() -> None:
    with registry.isolated():
        with pytest.raises(UnknownState):
            get_state("board")
        declare("Inner")
        assert [cls.__name__ for cls in states_in("participant")] == ["Inner"]
    assert states_in("participant") == (CardBoard,)
    with pytest.raises(UnknownState):
        get_state("inner")


def test_a_state_that_fails_to_declare_is_not_registered() -> None:
    with pytest.raises(ValueError, match="version"):
        declare("Failing", version=0)
    with pytest.raises(UnknownState):
        get_state("failing")


def test_actions_of_a_plain_class_need_no_state() -> None:
    assert set(actions.actions_of(Shared)) == {"open"}
