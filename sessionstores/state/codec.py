"""State codec: encode states as `<version>:<JSON>`, strictly, and decode them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ..exceptions import StateCorrupt
from .dataclass_defaults import fill_in, with_defaults
from .declaration import State
from .declared_shapes import shapes_of
from .json_rules import flaw, is_suspect, types_in
from .shapes import Shape
from .type_rules import explain_typed

S = TypeVar("S", bound=State)

_json = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Kept:
    """The plain form of a stored state, with what this release does not declare.

    Or with fields in another order than declared, which stays as well.
    """

    __slots__ = ("plain",)

    def __init__(self, plain: Any) -> None:
        self.plain = plain


class _Plan(NamedTuple):
    cls: type[State]
    name: str
    version: int
    prefix: bytes
    encoder: msgspec.json.Encoder
    decode: Callable[[bytes], Any]
    # What the fields' types allow, and so encoded bytes have to be searched for.
    integers: bool
    names: bool
    nesting: bool
    nulls: bool
    # Whether converting to and from plain data gives exactly what JSON gives.
    direct: bool
    fields: Shape
    sets: Shape | None
    # The fields, if none of them holds others: their names are all there is to know.
    names_only: tuple[str, ...] | None


@functools.cache
def _plan(cls: type[State]) -> _Plan:
    declaration = cls.__sessionstores__
    types, is_open = types_in(cls)
    shapes = shapes_of(cls)
    kinds = {type(each) for each in types}
    inspect = msgspec.inspect
    loose = inspect.AnyType in kinds or inspect.RawType in kinds
    return _Plan(
        cls,
        declaration.name,
        declaration.version,
        b"%d:" % declaration.version,
        msgspec.json.Encoder(),
        with_defaults(msgspec.json.Decoder(cls).decode, types),
        integers=loose or any(map(_has_integers, types)),
        names=loose or inspect.DictType in kinds,
        nesting=is_open,
        nulls=loose or {inspect.FloatType, inspect.NoneType} <= kinds,
        direct=all(map(_is_direct, types)),
        fields=shapes.fields,
        sets=shapes.sets,
        names_only=None if shapes.nested else cls.__struct_encode_fields__,
    )


def _has_integers(kind: msgspec.inspect.Type) -> bool:
    inspect = msgspec.inspect
    if isinstance(kind, inspect.LiteralType):
        return any(isinstance(value, int) for value in kind.values)
    return isinstance(kind, inspect.IntType | inspect.EnumType)


def _is_direct(kind: msgspec.inspect.Type) -> bool:
    # Not floats: NaN, which JSON writes as null, would get through.
    inspect = msgspec.inspect
    if isinstance(kind, inspect.StructType):
        return not kind.array_like
    if isinstance(kind, inspect.DictType):
        return isinstance(kind.key_type, inspect.StrType)
    direct = (
        inspect.StrType,
        inspect.IntType,
        inspect.BoolType,
        inspect.NoneType,
        inspect.ListType,
        inspect.UnionType,
    )
    return isinstance(kind, direct)


def encode_defaults(classes: Iterable[type[State]]) -> dict[str, bytes]:
    """Return the stored forms of fresh states, by name."""
    return {cls.__sessionstores__.name: encode(cls()) for cls in classes}


def encode(state: State, over: bytes | None = None) -> bytes:
    """Return the stored form of `state`, in which equal content has equal bytes.

    It is checked by decoding it again under the declared types. Raises
    `StateCorrupt`, naming field and reason, for values that would not survive that or
    that a browser would read differently: wrong types, NaN, lone surrogates, integers
    beyond 2**53 - 1, more than 32 levels, keys that browsers refuse. Dicts keep their
    order, sets are sorted.

    With `over`, the stored form that this one replaces, what is unknown in that is
    kept, if it can be decoded. Raises `StateCorrupt`, with `newer`, for data of a
    higher version.
    """
    before = None
    if over is not None:
        try:
            _, before = load(type(state), over)
        except StateCorrupt as error:
            if error.newer:
                raise
    return dump(state, before)[0]


def dump(state: S, before: Any = None) -> tuple[bytes, S]:
    """Return the stored form, as `encode`, and the instance that it decodes to.

    `before` is what `load` returned with the state: if it is `Kept`, what is unknown in
    it stays. It is of another release of the site.
    """
    plan = _plan(type(state))
    lossy = False
    try:
        if plan.direct:
            # 1.4 µs less than through JSON, for a state of 1 KB.
            builtins = msgspec.to_builtins(state, str_keys=True)
            decoded = msgspec.convert(builtins, plan.cls)
        else:
            body = plan.encoder.encode(state)
            decoded = plan.decode(body)
            # NaN and infinity are written as null, which never equals them.
            lossy = plan.nulls and b"null" in body and decoded != state
        # Encoded again after decoding, so that a read finds the canonical form: 1 in a
        # float field is 1.0 from now on, the key 1 is "1".
        encoder = plan.encoder
        body = encoder.encode(decoded) if plan.sets is None else _write(plan, decoded)
        if lossy or is_suspect(
            body, integers=plan.integers, names=plan.names, nesting=plan.nesting
        ):
            # As written, too: the key of an enum is its value.
            found = flaw(state) or flaw(_json(body))
            if found:
                raise _not_storable(plan, *found)
    except StateCorrupt:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        found = flaw(state) or explain_typed(plan.cls, error, python=True)
        raise _not_storable(plan, *found) from error
    if type(before) is Kept:
        body = _keep(plan, before.plain, body)
    return plan.prefix + body, cast("S", decoded)


def _write(plan: _Plan, decoded: State) -> bytes:
    body = plan.encoder.encode(decoded)
    if plan.sets is None:
        return body
    plain = _json(body)
    plan.sets.sort_sets(plain)
    return _encode(plain)


def _keep(plan: _Plan, before: Any, body: bytes) -> bytes:
    """Return `body` with what is unknown in the plain form of what it replaces."""
    known = _write(plan, plan.decode(_encode(before)))
    return _encode(plan.fields.keep(before, _json(known), _json(body)))


def _not_storable(plan: _Plan, path: str, reason: str) -> StateCorrupt:
    place = f"{plan.name}.{path.lstrip('.')}" if path else plan.name
    return StateCorrupt(f"{place}: {reason}. The state was not stored.")


def decode(cls: type[S], stored: bytes) -> S:
    """Return a new instance of `cls` from its stored form.

    Missing fields take their default, and data of a lower version goes through
    `cls.migrate`. Raises `StateCorrupt`; with `newer` for data of a higher version,
    which is valid and must stay in place.
    """
    return load(cls, stored)[0]


def load(cls: type[S], stored: bytes | None) -> tuple[S, Any]:
    """Return the decoded state, as `decode`, and its plain form, for `dump`.

    That is `Kept` if it holds more than the state, else None where it is not free. The
    two share no container. A state that is not stored (None) is a fresh one.
    """
    if stored is None:
        return fill_in(cls()), None
    plan = _plan(cls)
    if stored.startswith(plan.prefix):
        body = stored[len(plan.prefix) :]
        direct = plan.direct
    else:
        version, body = _split(plan.name, stored)
        if version > plan.version:
            raise StateCorrupt(
                f"{plan.name}: stored data has version {version}, this process "
                f"declares {plan.version}. Deploy the newer code everywhere.",
                newer=True,
            )
        body = _migrate(cls, body, version)
        direct = False
    try:
        if direct:
            builtins = _json(body)
            state = msgspec.convert(builtins, cls)
            if plan.names_only == tuple(builtins):
                return state, builtins
        else:
            builtins = None
            state = plan.decode(body)
        # To encode it takes less time than to look at each part, let alone to decode
        # it once more.
        if plan.encoder.encode(state) == body:
            return state, builtins
        found = _json(body) if builtins is None else builtins
        return state, builtins if plan.fields.is_exact(found) else Kept(found)
    except (ValueError, RecursionError) as error:
        raise _undecodable(cls, error, _split(plan.name, stored)[0]) from error


def _split(name: str, stored: bytes) -> tuple[int, bytes]:
    version, colon, body = stored.partition(b":")
    if not colon or not version.isdigit() or len(version) > 9 or version[:1] == b"0":
        raise StateCorrupt(
            f"{name}: stored data {stored[:20]!r} has no version, so sessionstores has "
            "not written it."
        )
    return int(version), body


def _migrate(cls: type[State], body: bytes, version: int) -> bytes:
    where = f"{cls.__sessionstores__.name}: {cls.__qualname__}.migrate()"
    try:
        data = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise _undecodable(cls, error, cls.__sessionstores__.version) from error
    try:
        migrated = cls.migrate(data, version)
        body = msgspec.json.encode(migrated)
    except Exception as error:
        raise StateCorrupt(
            f"{where} failed on data of version {version}: {type(error).__name__}: "
            f"{error}. Let it take what that version stored."
        ) from error
    if body[:1] != b"{":
        returned = "None" if body == b"null" else f"{type(migrated).__name__}, no dict"
        raise StateCorrupt(
            f"{where} returned {returned} for data of version {version}. Let it end "
            "with `return data`."
        )
    return body


def _undecodable(cls: type[State], error: Exception, version: int) -> StateCorrupt:
    declaration, what, way_out = cls.__sessionstores__, "stored data", ""
    path, reason = explain_typed(cls, error, python=True)
    place = f"{declaration.name}.{path}" if path else declaration.name
    if version < declaration.version:
        what = f"what {cls.__qualname__}.migrate() made of version {version}"
        way_out = " Let it return data of the types that are declared now."
    elif isinstance(error, msgspec.ValidationError):
        way_out = (
            f" If a type has changed, raise the version of {cls.__qualname__} and "
            "write migrate()."
        )
    return StateCorrupt(f"{place}: {what} cannot be decoded: {reason}.{way_out}")


def is_current(cls: type[S], stored: bytes, state: S) -> bool:
    """Return whether `stored` is what `state`, decoded from it, is stored as.

    False if decoding filled in a default or migrated. What is unknown stays.
    """
    plan = _plan(cls)
    body = _write(plan, state)
    if stored == plan.prefix + body:
        return True
    if not stored.startswith(plan.prefix):
        return False
    before = plain(stored)
    if plan.fields.is_exact(before):
        return False
    return stored == plan.prefix + _keep(plan, before, body)


def reveal(cls: type[State], stored: bytes) -> tuple[Any, frozenset[str]]:
    """Return a state's plain form, and the JSON pointers of what is unknown in it.

    As it would be committed: with defaults, and migrated. Raises what `decode` does.
    """
    plan = _plan(cls)
    state, before = load(cls, stored)
    body = _write(plan, state)
    if type(before) is Kept:
        body = _keep(plan, before.plain, body)
    found = _json(body)
    return found, frozenset(plan.fields.unknown(found, ""))


def raw(stored: bytes) -> msgspec.Raw:
    """Return the JSON of a stored form, to be embedded in other JSON unchanged."""
    return msgspec.Raw(stored[stored.index(b":") + 1 :])


def plain(stored: bytes) -> Any:
    """Return the JSON of a stored form as dicts, lists and scalars."""
    return _json(raw(stored))


def plain_of(decoded: State) -> Any:
    """Return a decoded state, such as `dump` returns, as dicts, lists and scalars."""
    plan = _plan(type(decoded))
    if plan.direct:
        return msgspec.to_builtins(decoded, str_keys=True)
    return _json(_write(plan, decoded))
