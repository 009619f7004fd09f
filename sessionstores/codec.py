"""The stored form of a state: `<version>:<JSON>`, strict about what goes in."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from .exceptions import StateCorrupt, StateTooLarge
from .portable import explain, flaw, is_suspect, types_in
from .state import State

S = TypeVar("S", bound=State)


class _Plan(NamedTuple):
    name: str
    version: int
    prefix: bytes
    encoder: msgspec.json.Encoder
    decoder: msgspec.json.Decoder[Any]
    # What the fields' types leave open, so what encoded bytes must be searched for.
    integers: bool
    names: bool
    nesting: bool
    nulls: bool


@functools.cache
def _plan(cls: type[State]) -> _Plan:
    declaration = cls.__sessionstores__
    types, is_open = types_in(cls)
    kinds = {type(each) for each in types}
    inspect = msgspec.inspect
    # Sets have no order of their own. Sorting them sorts dicts as well; without sets
    # dicts keep theirs.
    has_sets = bool(kinds & {inspect.SetType, inspect.FrozenSetType})
    loose = inspect.AnyType in kinds or inspect.RawType in kinds
    return _Plan(
        declaration.name,
        declaration.version,
        b"%d:" % declaration.version,
        msgspec.json.Encoder(order="deterministic" if has_sets else None),
        msgspec.json.Decoder(cls),
        integers=loose or bool(kinds & {inspect.IntType, inspect.EnumType}),
        names=loose or inspect.DictType in kinds,
        nesting=is_open,
        nulls=loose or {inspect.FloatType, inspect.NoneType} <= kinds,
    )


def fresh(cls: type[S]) -> S:
    """Return a new instance with every field at its default."""
    return cls()


def encode(state: State) -> bytes:
    """Return the stored form of `state`, in which equal content has equal bytes.

    It is checked by decoding it again under the declared types. Raises
    `StateCorrupt`, naming field and reason, for what would not come back or what a
    browser would read differently: wrong types, NaN, lone surrogates, integers beyond
    2**53 - 1, more than 32 levels, keys that browsers refuse. Dicts keep their order,
    except in states with set fields: these are stored sorted, dicts included.
    """
    plan = _plan(type(state))
    try:
        body = plan.encoder.encode(state)
        settled = plan.decoder.decode(body)
        # NaN and infinity are written as null: never equal to what was there.
        lossy = plan.nulls and b"null" in body and settled != state
        if lossy or is_suspect(
            body, integers=plan.integers, names=plan.names, nesting=plan.nesting
        ):
            found = flaw(state)
            if found:
                raise _unfit(plan, *found)
        # Encoding anew leaves a read nothing to settle: 1 in a float field is 1.0 from
        # now on, the key 1 is "1". Comparing instead would take as long.
        return plan.prefix + plan.encoder.encode(settled)
    except StateCorrupt:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise _unfit(plan, *(flaw(state) or explain(error))) from error


def _unfit(plan: _Plan, path: str, reason: str) -> StateCorrupt:
    place = f"{plan.name}.{path.lstrip('.')}" if path else plan.name
    return StateCorrupt(f"{place}: {reason}. The state was not stored.")


def decode(cls: type[S], stored: bytes) -> S:
    """Return a new instance of `cls` from its stored form.

    Missing fields take their default, unknown ones are dropped, and data of a lower
    version goes through `cls.migrate`. Raises `StateCorrupt`; with `newer` for data of
    a higher version, which is sound and must stay in place.
    """
    plan = _plan(cls)
    if stored.startswith(plan.prefix):
        body = stored[len(plan.prefix) :]
    else:
        version, body = _split(plan.name, stored)
        if version > plan.version:
            raise StateCorrupt(
                f"{plan.name}: stored data has version {version}, this process "
                f"declares {plan.version}. Deploy the newer code everywhere.",
                newer=True,
            )
        body = _migrate(cls, body, version)
    try:
        return cast("S", plan.decoder.decode(body))
    except (ValueError, RecursionError) as error:
        raise _undecodable(plan.name, error) from error


def _split(name: str, stored: bytes) -> tuple[int, bytes]:
    version, colon, body = stored.partition(b":")
    if not colon or not version.isdigit() or len(version) > 9 or version[:1] == b"0":
        raise StateCorrupt(f"{name}: stored data {stored[:20]!r} has no version.")
    return int(version), body


def _migrate(cls: type[State], body: bytes, version: int) -> bytes:
    name = cls.__sessionstores__.name
    try:
        data = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise _undecodable(name, error) from error
    try:
        return msgspec.json.encode(cls.migrate(data, version))
    except Exception as error:
        raise StateCorrupt(
            f"{name}: {cls.__qualname__}.migrate() failed on data of version "
            f"{version}: {type(error).__name__}: {error}."
        ) from error


def _undecodable(name: str, error: Exception) -> StateCorrupt:
    path, reason = explain(error)
    place = f"{name}.{path}" if path else name
    return StateCorrupt(f"{place}: stored data cannot be decoded: {reason}.")


def is_current(cls: type[S], stored: bytes, state: S) -> bool:
    """Say whether `state`, decoded from `stored`, is just what is stored.

    False if decoding filled in a default, dropped a field or migrated.
    """
    plan = _plan(cls)
    return stored == plan.prefix + plan.encoder.encode(state)


def raw(stored: bytes) -> msgspec.Raw:
    """Return the JSON in a stored form, to be embedded in other JSON as it is."""
    return msgspec.Raw(stored[stored.index(b":") + 1 :])


def plain(stored: bytes) -> Any:
    """Return the JSON in a stored form as dicts, lists and scalars."""
    return msgspec.json.decode(raw(stored))


def check_size(states: Mapping[str, bytes], limit: int) -> None:
    """Raise `StateTooLarge` if the stored forms together exceed `limit` bytes."""
    size = sum(map(len, states.values()))
    if size > limit:
        largest = max(states, key=lambda name: len(states[name]))
        raise StateTooLarge(
            f"The record would have {size} bytes, {limit} are allowed; most of them, "
            f"{len(states[largest])}, in {largest!r}. Store less, or raise "
            "MAX_STATE_BYTES."
        )
