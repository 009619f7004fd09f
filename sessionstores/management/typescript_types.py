"""TypeScript types: a model of what JSON may hold, and its text, deeply readonly."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# Lines are broken past this.
WIDTH = 88
STEP = "  "

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
# Words that TypeScript takes for no label of a tuple's place.
_NO_LABEL = frozenset(
    re.findall(
        r"\w+",
        """
        break case catch class const continue debugger default delete do else enum
        export extends finally for if in instanceof return super switch throw try var
        while with
        """,
    )
)


class TypeNode(ABC):
    """A type of TypeScript; equal nodes are the same type."""

    __slots__ = ()

    @abstractmethod
    def text(self, named: Callable[[Reference], str], indent: str = "") -> str:
        """Return it as text; lines but the first begin with `indent`.

        `named` returns the name under which a class is declared.
        """

    def parts(self) -> Iterable[TypeNode]:
        """Return the types that it is made of."""
        return ()

    def references(self) -> Iterator[Reference]:
        """Yield the classes that it names, at any depth."""
        for part in self.parts():
            yield from part.references()


Named = Callable[["Reference"], str]


@dataclass(frozen=True)
class Keyword(TypeNode):
    """A type that has a name of its own, such as `string`."""

    word: str

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        return self.word


@dataclass(frozen=True)
class Constant(TypeNode):
    """The type of a single text, number or boolean."""

    # 1 and True are equal in Python.
    kind: type
    value: str | int | bool

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        return json.dumps(self.value)


@dataclass(frozen=True)
class Reference(TypeNode):
    """A class by its name; `sent`: as clients write it, not as they read it.

    The two forms compare as equal, since often they are.
    """

    cls: Any
    sent: bool = field(compare=False)

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        return named(self)

    def references(self) -> Iterator[Reference]:
        """See `TypeNode`."""
        yield self


@dataclass(frozen=True)
class ItemsType(TypeNode):
    """An array of any length."""

    item: TypeNode

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        return f"readonly {_grouped(self.item, named, indent)}[]"

    def parts(self) -> Iterable[TypeNode]:
        """See `TypeNode`."""
        return (self.item,)


@dataclass(frozen=True)
class Place:
    """A place of a tuple; `label` is empty if it has none."""

    label: str
    type: TypeNode
    optional: bool = False


@dataclass(frozen=True)
class TupleRow(TypeNode):
    """An array with a type for each place; with `rest`, more may follow."""

    places: tuple[Place, ...]
    rest: TypeNode | None = None

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        labels = [each.label + "_" * (each.label in _NO_LABEL) for each in self.places]
        labelled = bool(labels) and all(map(_IDENTIFIER.fullmatch, labels))
        texts = [
            f"{label}{'?' * each.optional}: {each.type.text(named, indent)}"
            if labelled
            else each.type.text(named, indent)
            for label, each in zip(labels, self.places, strict=True)
        ]
        if self.rest is not None:
            rest = f"{_grouped(self.rest, named, indent)}[]"
            texts.append(f"...more: {rest}" if labelled else f"...{rest}")
        line = f"readonly [{', '.join(texts)}]"
        if len(indent) + len(line) <= WIDTH:
            return line
        lines = "".join(f"{indent}{STEP}{each},\n" for each in texts)
        return f"readonly [\n{lines}{indent}]"

    def parts(self) -> Iterable[TypeNode]:
        """See `TypeNode`."""
        rest = () if self.rest is None else (self.rest,)
        return (*(each.type for each in self.places), *rest)


@dataclass(frozen=True)
class Member:
    """A member of an object; `doc` is for who reads the types."""

    name: str
    type: TypeNode
    optional: bool = False
    doc: str = field(default="", compare=False)


@dataclass(frozen=True)
class MembersType(TypeNode):
    """An object whose keys are known."""

    members: tuple[Member, ...]

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        if not any(each.doc for each in self.members):
            texts = [_member(each, named, indent) for each in self.members]
            line = f"{{ {'; '.join(texts)} }}"
            if len(indent) + len(line) <= WIDTH and "\n" not in line:
                return line
        return self.block(named, indent)

    def block(self, named: Named, indent: str = "") -> str:
        """Return it as text with a line for each member."""
        if not self.members:
            return "{}"
        inner = indent + STEP
        lines = [
            f"{doc_comment(each.doc, inner)}{inner}{_member(each, named, inner)};\n"
            for each in self.members
        ]
        return f"{{\n{''.join(lines)}{indent}}}"

    def parts(self) -> Iterable[TypeNode]:
        """See `TypeNode`."""
        return (each.type for each in self.members)


@dataclass(frozen=True)
class ValuesType(TypeNode):
    """An object whose keys are not known."""

    value: TypeNode

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        return f"{{ readonly [key: string]: {self.value.text(named, indent)} }}"

    def parts(self) -> Iterable[TypeNode]:
        """See `TypeNode`."""
        return (self.value,)


@dataclass(frozen=True)
class UnionOf(TypeNode):
    """One of several types; see `union`."""

    options: tuple[TypeNode, ...]

    def text(self, named: Named, indent: str = "") -> str:
        """See `TypeNode`."""
        texts = dict.fromkeys(each.text(named, indent) for each in self.options)
        return " | ".join(texts)

    def parts(self) -> Iterable[TypeNode]:
        """See `TypeNode`."""
        return self.options


STRING = Keyword("string")
NUMBER = Keyword("number")
BOOLEAN = Keyword("boolean")
NULL = Keyword("null")
NEVER = Keyword("never")


def union(types: Iterable[TypeNode]) -> TypeNode:
    """Return one of `types`, each once, `null` last."""
    options: dict[TypeNode, None] = {}
    for each in types:
        options |= dict.fromkeys(each.options if isinstance(each, UnionOf) else [each])
    both = {Constant(bool, value) for value in (True, False)}
    if both <= options.keys():
        options = {BOOLEAN if each in both else each: None for each in options}
    if NULL in options:
        del options[NULL]
        options[NULL] = None
    if len(options) == 1:
        return next(iter(options))
    return UnionOf(tuple(options)) if options else NEVER


def doc_comment(text: str, indent: str = "") -> str:
    """Return the lines of a JSDoc comment; of no text, nothing."""
    lines = text.replace("*/", "*\\/").splitlines()
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0].strip()} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"


def property_name(name: str) -> str:
    """Return the key of an object, in quotes unless it is an identifier."""
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _member(member: Member, named: Named, indent: str) -> str:
    name = f"{property_name(member.name)}{'?' * member.optional}"
    return f"readonly {name}: {member.type.text(named, indent)}"


def _grouped(node: TypeNode, named: Named, indent: str) -> str:
    text = node.text(named, indent)
    single = isinstance(node, Keyword | Constant | Reference | MembersType | ValuesType)
    return text if single else f"({text})"
