"""Codes of refusals, in every form in which an action may raise them."""

from __future__ import annotations

import enum
from functools import cache, cached_property

import pytest

from sessionstores import ActionRejected, State, action, exceptions
from sessionstores.management import refusal_codes as module
from sessionstores.management.refusal_codes import refusal_codes
from sessionstores.state.declaration import registry

NAMED = "named"
shadowed = "of_the_module"


class Codes(enum.StrEnum):
    MEMBER = "member"


class Plain:
    CODE = "of_a_class"


class Full(ActionRejected):
    def __init__(self, places: int) -> None:
        super().__init__(f"{places} places are taken.", code="full")


class Fuller(Full):
    """Its code is that of its base."""


def guard(value: int) -> None:
    if value:
        guard(value - 1)
    raise ActionRejected("No.", code="of_a_function")


@cache
def wrapped() -> None:
    raise ActionRejected("No.", code="of_what_is_cached")


class Base:
    def inherited(self) -> None:
        raise ActionRejected("No.", code="of_a_base")


def made(code: str) -> ActionRejected:
    return ActionRejected("No.", code=code)


with registry.isolated():

    class Every(Base, State):
        @action
        def plain(self) -> None:
            raise ActionRejected("No.")

        @action
        def text(self) -> None:
            raise ActionRejected("No.", code="text")

        @action
        def by_module(self) -> None:
            raise exceptions.ActionRejected("No.", code="by_module")

        @action
        def name(self) -> None:
            raise ActionRejected("No.", code=NAMED)

        @action
        def member(self) -> None:
            raise ActionRejected("No.", code=Codes.MEMBER)

        @action
        def value(self) -> None:
            raise ActionRejected("No.", code=Codes.MEMBER.value)

        @action
        def attribute(self) -> None:
            raise ActionRejected("No.", code=Plain.CODE)

        @action
        def choice(self, flag: bool) -> None:
            raise ActionRejected("No.", code="yes" if flag else NAMED)

        @action
        def subclass(self) -> None:
            raise Full(3)

        @action
        def sub_subclass(self) -> None:
            raise Fuller(3)

        @action
        def function(self) -> None:
            guard(1)

        @action
        def decorated(self) -> None:
            wrapped()

        @action
        def methods(self) -> None:
            self.private()
            self.fixed()
            _ = self.shown, self.kept

        @action
        def above(self) -> None:
            self.inherited()

        @action
        def passed_on(self) -> None:
            list(map(guard, [1]))

        @action
        def inside(self) -> None:
            def inner() -> None:
                raise ActionRejected("No.", code="inside")

            inner()

        @action
        def local(self, shadowed: str) -> None:
            raise ActionRejected("No.", code=shadowed)

        @action
        def unknown(self) -> None:
            raise made("computed")

        @action
        def caught(self) -> None:
            raise ValueError

        def private(self) -> None:
            raise ActionRejected("No.", code="of_a_method")

        @staticmethod
        def fixed() -> None:
            raise ActionRejected("No.", code="of_a_static_method")

        @property
        def shown(self) -> int:
            raise ActionRejected("No.", code="of_a_property")

        @cached_property
        def kept(self) -> int:
            raise ActionRejected("No.", code="of_a_cached_property")

    class Lower(Every):
        @action
        def above(self) -> None:
            super().above()

        def private(self) -> None:
            raise ActionRejected("No.", code="of_what_overrides")


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("plain", []),
        ("text", ["text"]),
        ("by_module", ["by_module"]),
        ("name", ["named"]),
        ("member", ["member"]),
        ("value", ["member"]),
        ("attribute", ["of_a_class"]),
        ("choice", ["named", "yes"]),
        ("subclass", ["full"]),
        ("sub_subclass", ["full"]),
        ("function", ["of_a_function"]),
        ("decorated", ["of_what_is_cached"]),
        (
            "methods",
            [
                "of_a_cached_property",
                "of_a_method",
                "of_a_property",
                "of_a_static_method",
            ],
        ),
        ("above", ["of_a_base"]),
        ("passed_on", ["of_a_function"]),
        ("inside", ["inside"]),
        ("local", []),
        ("unknown", []),
        ("caught", []),
    ],
)
def test_a_code_is_found_where_it_stands(name: str, codes: list[str]) -> None:
    assert refusal_codes(Every, vars(Every)[name]) == codes


def test_every_action_of_the_list_is_tried() -> None:
    assert len(Every.__sessionstores__.actions) == 19


def test_what_a_subclass_overrides_counts_beside_what_it_inherits() -> None:
    actions = Lower.__sessionstores__.actions
    assert refusal_codes(Lower, actions["above"].function) == ["of_a_base"]
    found = refusal_codes(Lower, actions["methods"].function)
    assert {"of_what_overrides", "of_a_method"} <= {*found}


def test_other_packages_are_not_searched() -> None:
    assert refusal_codes(Every, module.refusal_codes) == []
