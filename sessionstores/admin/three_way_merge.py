"""Three-way merge of states: what two people changed since the version they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..state.declared_shapes import shapes_of
from ..state.shapes import ChoiceShape, FieldsShape, Shape, ValuesShape
from .redaction import join_path

# In the place of a value: there is none, or it is not known.
ABSENT = msgspec.UNSET

Side = Literal["theirs", "mine"]

_encode = msgspec.json.Encoder(order="sorted").encode


class FieldChange(NamedTuple):
    """A place at which at least one side differs from `base`; a value may be `ABSENT`.

    `by`: who changed it; "both": to the same value; "overlap": to different ones, of
    which somebody has to choose. `guarded`: it is in an object with hidden values, so
    that only theirs can be kept.
    """

    path: str
    base: Any
    theirs: Any
    mine: Any
    by: Literal["theirs", "mine", "both", "overlap"]
    guarded: bool = False


class Merged(NamedTuple):
    """The changes of both sides, and the state with them.

    `undecided` are the paths of overlaps without a choice; there, `data` has theirs.
    """

    data: dict[str, Any]
    changes: tuple[FieldChange, ...]
    undecided: tuple[str, ...]

    @property
    def overlaps(self) -> list[FieldChange]:
        """The changes of which somebody has to choose one."""
        return [each for each in self.changes if each.by == "overlap"]


def merge_states(
    cls: type[Any],
    base: dict[str, Any] | None,
    theirs: dict[str, Any],
    mine: dict[str, Any],
    *,
    hidden: Collection[str] = (),
    choices: Mapping[str, str] | None = None,
) -> Merged:
    """Return what `theirs` and `mine` have become since `base`, and both together.

    All three are visible parts of states of `cls`. Fields and keys are merged one by
    one, at any depth; a list, and an object that has become one of another type, only
    as a whole. `choices` names a side by the path of an overlap. Without a `base`,
    every difference is an overlap. `hidden` are the paths that the three leave out.
    """
    guarded = {path.rpartition("/")[0] for path in hidden}
    for path in [*guarded]:
        while path := path.rpartition("/")[0]:
            guarded.add(path)
    merger = _Merger(guarded - {""}, choices or {}, with_base=base is not None)
    shape = shapes_of(cls).fields
    data = merger.merge("", shape, base or {}, theirs, mine, guarded=False)
    return Merged(data, tuple(merger.changes), tuple(merger.undecided))


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, in whatever order keys are."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return _encode(one) == _encode(other)


class _Merger:
    def __init__(
        self,
        guarded: Collection[str],
        choices: Mapping[str, str],
        *,
        with_base: bool,
    ) -> None:
        self.guarded = guarded
        self.choices = choices
        self.with_base = with_base
        self.changes: list[FieldChange] = []
        self.undecided: list[str] = []

    def merge(
        self,
        path: str,
        shape: Shape | None,
        base: Any,
        theirs: Any,
        mine: Any,
        *,
        guarded: bool,
    ) -> Any:
        guarded = guarded or path in self.guarded
        sides = (base, theirs, mine) if self.with_base else (theirs, mine)
        if not all(isinstance(each, dict) for each in sides) or not _are_one_kind(
            shape, sides
        ):
            return self._choose(path, base, theirs, mine, guarded=guarded)
        if isinstance(shape, ChoiceShape):
            shape = shape.pick(theirs)
        base = base if isinstance(base, dict) else {}
        merged = {}
        for key in dict.fromkeys((*base, *theirs, *mine)):
            value = self.merge(
                join_path(path, key),
                _part(shape, key),
                base.get(key, ABSENT),
                theirs.get(key, ABSENT),
                mine.get(key, ABSENT),
                guarded=guarded,
            )
            if value is not ABSENT:
                merged[key] = value
        # Whoever has moved keys has moved them for both; if both have, theirs count.
        have_moved = not _is_moved(base, theirs) and _is_moved(base, mine)
        leading, rest = (mine, theirs) if have_moved else (theirs, mine)
        order = [key for key in dict.fromkeys((*leading, *rest)) if key in merged]
        return {key: merged[key] for key in order}

    def _choose(
        self, path: str, base: Any, theirs: Any, mine: Any, *, guarded: bool
    ) -> Any:
        if is_same(theirs, mine):
            if self.with_base and not is_same(base, theirs):
                self._note(path, base, theirs, mine, "both")
            return theirs
        if self.with_base and is_same(base, mine):
            self._note(path, base, theirs, mine, "theirs")
            return theirs
        if self.with_base and is_same(base, theirs) and not guarded:
            self._note(path, base, theirs, mine, "mine")
            return mine
        self._note(path, base, theirs, mine, "overlap", guarded=guarded)
        choice = self.choices.get(path)
        if choice not in {"theirs", "mine"}:
            self.undecided.append(path)
        return mine if choice == "mine" and not guarded else theirs

    def _note(
        self,
        path: str,
        base: Any,
        theirs: Any,
        mine: Any,
        by: Literal["theirs", "mine", "both", "overlap"],
        *,
        guarded: bool = False,
    ) -> None:
        known = base if self.with_base else ABSENT
        self.changes.append(FieldChange(path, known, theirs, mine, by, guarded))


def _are_one_kind(shape: Shape | None, values: tuple[Any, ...]) -> bool:
    """Return whether objects are of one type, where a declaration allows several."""
    if not isinstance(shape, ChoiceShape):
        return True
    return len({id(shape.pick(each)) for each in values}) == 1


def _part(shape: Shape | None, key: str) -> Shape | None:
    if isinstance(shape, FieldsShape):
        return shape.parts.get(key)
    return shape.part if isinstance(shape, ValuesShape) else None


def _is_moved(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Return whether the keys that two objects share are in another order."""
    return [key for key in before if key in after] != [
        key for key in after if key in before
    ]
