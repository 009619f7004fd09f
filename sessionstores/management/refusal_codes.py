"""Refusal codes: read from the source with which codes an action may be refused."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from enum import Enum, EnumMeta
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ..exceptions import ActionRejected
from ..state.declaration import State


def refusal_codes(cls: type[State], function: Any) -> list[str]:
    """Return the codes of the `ActionRejected` that a method may raise, sorted.

    Its own, and those of the methods, properties and functions that it uses, so far as
    these are in the same packages as the state and its bases, and the codes stand there
    as texts or constants. So there may be more.
    """
    search = _CodeSearch(cls)
    search.enter(function)
    return sorted(search.codes)


class _CodeSearch:
    def __init__(self, cls: type[State]) -> None:
        self.cls = cls
        # A state may inherit from another package of the site.
        self.packages = {_package(base) for base in cls.__mro__} - {"sessionstores"}
        self.codes: set[str] = set()
        self.seen: set[CodeType] = set()

    def enter(self, value: Any) -> None:
        """Search a function of the site's own; anything else has no codes."""
        # Such as what functools.cache makes of a function.
        wrapped = inspect.getattr_static(value, "__wrapped__", value)
        if not isinstance(wrapped, FunctionType):
            return
        function = inspect.unwrap(wrapped)
        if function.__code__ in self.seen or _package(function) not in self.packages:
            return
        self.seen.add(function.__code__)
        body = _FunctionNames(self.cls, function)
        for node in ast.walk(_parsed(function)):
            if isinstance(node, ast.Call):
                self._call(body, node)
            elif isinstance(node, ast.Name | ast.Attribute):
                for value in body.values(node):
                    self._use(value)

    def _use(self, value: Any) -> None:
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, cached_property):
            value = value.func
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
        elif isinstance(value, type):
            # A refusal of the site's own sets its code when it is made.
            if not _is_refusal(value):
                return
            value = inspect.getattr_static(value, "__init__")
        self.enter(value)

    def _call(self, body: _FunctionNames, node: ast.Call) -> None:
        if not any(map(_is_refusal, body.values(node.func))):
            return
        for keyword in node.keywords:
            if keyword.arg == "code":
                self.codes.update(body.texts(keyword.value))


class _FunctionNames:
    """A function's names, and what they stand for."""

    def __init__(self, cls: type[State], function: FunctionType) -> None:
        self.cls = cls
        self.function = function
        closure = inspect.getclosurevars(function).nonlocals
        self.names: dict[str, Any] = {**function.__globals__, **closure}
        code = function.__code__
        self.own = code.co_varnames[0] if code.co_argcount else ""
        for local in (*code.co_varnames, *code.co_cellvars):
            self.names.pop(local, None)

    def values(self, node: ast.expr) -> Iterator[Any]:
        """Yield what an expression may stand for, so far as it can be known."""
        if isinstance(node, ast.Name):
            if node.id in self.names:
                yield self.names[node.id]
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(node)

    def texts(self, node: ast.expr) -> Iterator[str]:
        """Yield the texts that an expression may be."""
        if isinstance(node, ast.IfExp):
            yield from self.texts(node.body)
            yield from self.texts(node.orelse)
            return
        found = [node.value] if isinstance(node, ast.Constant) else self.values(node)
        for each in found:
            text = each.value if isinstance(each, Enum) else each
            if isinstance(text, str):
                yield text

    def _attribute(self, node: ast.Attribute) -> Iterator[Any]:
        if _is_super(node.value):
            if node.attr == self.function.__name__ == "__init__":
                # Of a refusal's class: no other is entered.
                yield ActionRejected
            yield from self._inherited(node.attr)
        elif isinstance(node.value, ast.Name) and node.value.id == self.own:
            yield from self._inherited(node.attr)
        else:
            for value in self.values(node.value):
                if isinstance(value, ModuleType | EnumMeta):
                    yield getattr(value, node.attr, None)
                elif isinstance(value, type):
                    yield inspect.getattr_static(value, node.attr, None)
                elif isinstance(value, Enum) and node.attr == "value":
                    yield value.value

    def _inherited(self, name: str) -> Iterator[Any]:
        # What overrides another may call it.
        for base in self.cls.__mro__:
            if name in vars(base):
                yield vars(base)[name]


def _parsed(function: FunctionType) -> ast.AST:
    try:
        source = inspect.getsource(function)
        # A method's lines are indented, those of a text in it need not be.
        return ast.parse(f"if True:\n{source}" if source[:1].isspace() else source)
    except (OSError, SyntaxError):
        return ast.Module([], [])


def _is_refusal(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, ActionRejected)


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "super"
    )


def _package(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]
