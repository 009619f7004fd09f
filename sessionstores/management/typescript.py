"""TypeScript of the declared states: data, actions, results and codes of refusals."""

from __future__ import annotations

import inspect as python
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import inspect

from ..exceptions import MESSAGES
from ..state.declaration import Action, State
from .refusal_codes import refusal_codes
from .typescript_names import names_for
from .typescript_translation import TEXTS, Translator, differing, doc_of
from .typescript_types import (
    STEP,
    Constant,
    Keyword,
    Member,
    MembersType,
    Place,
    Reference,
    TupleRow,
    TypeNode,
    UnionOf,
    doc_comment,
    property_name,
    union,
)

# The module of the client, as a site's scripts import it.
CLIENT = "sessionstores/client"

_HEAD = """\
Types of the declared states, written by `manage.py sessionstores_types`: do not edit.

They are registered with the client at the end, so that no call names a type. What tabs
show of themselves and what the server sends as messages can be registered beside them,
in a file of your own:

    declare module "{client}" {{
      interface Register {{
        meta: {{ typing?: boolean }};
        message: {{ notice: string }};
      }}
    }}"""
_JSON = """\
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };
"""
_NO_ARGUMENTS = "{ readonly [name: string]: never }"
_OTHER_CODE = Keyword("OtherCode")
_OURS = ("Json", "GeneralCode", "OtherCode", "NoArguments", "States", *TEXTS)
# Raised by none: the base of all errors.
_NO_CODE = {"error"}


def typescript(states: Iterable[type[State]], client: str = CLIENT) -> str:
    """Return a module of TypeScript that declares and registers `states`.

    It is the same for the same declarations, whatever the order of `states`. `client`
    is the module whose `Register` it augments. Raises TypeError for an annotation that
    cannot be resolved or sent.
    """
    ordered = sorted(states, key=lambda cls: cls.__sessionstores__.name)
    return _StatesFile(ordered).text(client)


class _StatesFile:
    """The translation of all states, and the names of the classes in them."""

    def __init__(self, states: list[type[State]]) -> None:
        self.read = Translator(sent=False)
        self.sent = Translator(sent=True)
        self.states = [(cls, self._entry(cls)) for cls in states]
        self.differing = differing(self.sent.bodies)
        # One declaration for both forms of a class, where they are the same.
        self.bodies: dict[Any, dict[str, TypeNode]] = {}
        for translator in (self.read, self.sent):
            for cls, body in translator.bodies.items():
                suffix = self._suffix(cls, sent=translator.sent)
                self.bodies.setdefault(cls, {}).setdefault(suffix, body)
        self.names = names_for(self.bodies, _OURS)

    def text(self, client: str) -> str:
        """Return the whole module."""
        entries = [
            f"{doc_comment(doc_of(cls), STEP)}"
            f"{STEP}{cls.__sessionstores__.name}: {self._members(entry)};\n"
            for cls, entry in self.states
        ]
        own = [
            *(text for _, text in sorted(self._declarations())),
            "/** The states, by name. */\n"
            f"export interface States {{\n{''.join(entries)}}}\n",
        ]
        used = set(re.findall(r"\w+", "".join(own)))
        return "\n".join(
            [
                doc_comment(_HEAD.format(client=client)),
                *self._general(used),
                *own,
                f"declare module {json.dumps(client)} {{\n"
                f"{STEP}interface Register {{\n{STEP * 2}states: States;\n{STEP}}}\n"
                "}\n",
            ]
        )

    def _general(self, used: set[str]) -> Iterator[str]:
        codes = union(
            Constant(str, each) for each in sorted(MESSAGES.keys() - _NO_CODE)
        )
        yield f"{doc_comment('What JSON can hold.')}{_JSON}"
        for name, doc in TEXTS.items():
            if name in used:
                yield f"{doc_comment(doc)}export type {name} = string;\n"
        yield (
            "/** The codes that sessionstores itself refuses with. */\n"
            f"export type GeneralCode ={self._lines(codes)};\n"
        )
        yield (
            "/** Any code: an action may refuse with others than those that are known. "
            "*/\nexport type OtherCode = GeneralCode | (string & {});\n"
        )
        yield (
            "/** The arguments of an action that takes none. */\n"
            f"export type NoArguments = {_NO_ARGUMENTS};\n"
        )

    def _lines(self, node: TypeNode) -> str:
        """Return a type, after a name; a long union has a line for each option."""
        text = node.text(self._name)
        if isinstance(node, UnionOf) and len(text) > 60:
            return "".join(f"\n  | {each.text(self._name)}" for each in node.options)
        return f" {text}"

    def _declarations(self) -> Iterator[tuple[str, str]]:
        """Yield name and text of each class that states are made of."""
        for cls, bodies in self.bodies.items():
            doc = doc_comment(doc_of(cls))
            for suffix, body in bodies.items():
                name = self.names[cls] + suffix
                if isinstance(body, MembersType):
                    text = f"interface {name} {body.block(self._name)}\n"
                else:
                    text = f"type {name} ={self._lines(body)};\n"
                yield name, f"{doc}export {text}"

    def _name(self, reference: Reference) -> str:
        cls = reference.cls
        return self.names[cls] + self._suffix(cls, sent=reference.sent)

    def _suffix(self, cls: Any, *, sent: bool) -> str:
        return "Input" if sent and cls in self.differing else ""

    def _members(self, entry: dict[str, _Entry]) -> str:
        """Return an object's text, indented as what is inside an interface's member."""
        inner, deeper = STEP * 2, STEP * 3
        lines: list[str] = []
        for name, value in entry.items():
            if isinstance(value, TypeNode):
                lines.append(f"{inner}{name}: {value.text(self._name, inner)};\n")
                continue
            lines.append(f"{inner}{name}: {{\n" if value else f"{inner}{name}: {{}};\n")
            for each in value:
                text = each.type.text(self._name, deeper)
                key = property_name(each.name)
                lines.append(f"{doc_comment(each.doc, deeper)}{deeper}{key}: {text};\n")
            lines.append(f"{inner}}};\n" if value else "")
        return f"{{\n{''.join(lines)}{STEP}}}"

    def _entry(self, cls: type[State]) -> dict[str, _Entry]:
        declaration = cls.__sessionstores__
        # In the order of the class, which is also that of its text.
        actions = declaration.actions.values()

        def by_action(make: Callable[[Action], TypeNode]) -> list[Member]:
            return [Member(each.name, make(each)) for each in actions]

        return {
            "scope": Constant(str, declaration.scope),
            "watch": union(Constant(str, role) for role in sorted(declaration.watch)),
            "state": self.read.node(inspect.type_info(cls)),
            "actions": [
                Member(each.name, self._arguments(each), doc=_doc_of_action(each))
                for each in actions
            ],
            "positional": by_action(self._positional),
            "results": by_action(lambda each: self.read.result(each.result)),
            "errors": by_action(lambda each: _codes(cls, each)),
        }

    def _arguments(self, action: Action) -> TypeNode:
        members = self.sent.members(action.struct)
        return MembersType(members) if members else Keyword("NoArguments")

    def _positional(self, action: Action) -> TypeNode:
        places: list[Place] = []
        trailing = True
        for each in reversed(self.sent.members(action.struct)):
            trailing = trailing and each.optional
            # A tuple has its optional places last.
            node = (
                union([each.type, Keyword("undefined")])
                if each.optional and not trailing
                else each.type
            )
            places.insert(0, Place(each.name, node, trailing))
        return TupleRow(tuple(places))


# A type, or types by the name of the action.
_Entry = TypeNode | list[Member]


def _codes(cls: type[State], action: Action) -> TypeNode:
    known = refusal_codes(cls, action.function)
    return union([*(Constant(str, code) for code in known), _OTHER_CODE])


def _doc_of_action(action: Action) -> str:
    doc = python.cleandoc(action.function.__doc__ or "")
    roles = f"For the role {' or '.join(action.roles)}." if action.roles else ""
    return "\n\n".join(filter(None, (doc, roles)))
