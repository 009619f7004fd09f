"""JSON rules: find the values that a browser would refuse or read differently."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

import msgspec

from ..exceptions import InvalidArguments, shown

MAX_DEPTH = 32
# JavaScript's largest safe integer; it would round a larger one.
MAX_INTEGER = 2**53 - 1
# Our client refuses patches at these names, which reach an object's prototype.
REFUSED_NAMES = frozenset({"__proto__", "constructor", "prototype"})

_SHAPE = bytes.maketrans(b"123456789[,", b"000000000::")
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_LONG_INTEGER = re.compile(rb"[:\[,]\s*-?[1-9][0-9]{15,}\s*[,\]}]")
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_PLACE = re.compile(r" - at (`key` in )?`\$\.?([^`]*)`\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode


def is_suspect(
    body: bytes,
    *,
    integers: bool = True,
    names: bool = True,
    nesting: bool = True,
) -> bool:
    """Scan JSON text quickly for anything that `flaw` might find; False is certain.

    Each keyword says whether to look for that kind at all. A name that is written
    with escapes is not seen: check for these beforehand.
    """
    if names and (b"proto" in body or b'constructor"' in body):
        return True
    # The long fractions of floats pass this without a regex, which would be slow.
    if (
        integers
        and b":0000000000000000" in body.translate(_SHAPE, b" \t\r\n-")
        and _LONG_INTEGER.search(body)
    ):
        return True
    return (
        nesting and body.count(b"[") + body.count(b"{") > MAX_DEPTH and is_deeper(body)
    )


def is_deeper(body: bytes) -> bool:
    """Return whether JSON text has more than `MAX_DEPTH` levels, or is broken."""
    brackets = _STRING.sub(b"", body).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        # Removes exactly the innermost level.
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def encode_portable(value: object, what: str) -> bytes:
    """Return the JSON of a value that is not a state, on its way to browsers.

    Raises `InvalidArguments`, naming place and reason, for what browsers would refuse
    or read differently; `what` is how the text calls the value.
    """
    try:
        body = _encode(value)
        plain = msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise _unportable(what, *(flaw(value) or explain(error))) from error
    # A number that is no part of anything is not seen by `is_suspect`; NaN is written
    # as null; and of two keys that are written alike, a reader keeps one.
    suspect = is_suspect(body) or isinstance(plain, int | float) or b"null" in body
    found = (flaw(value) or flaw(plain)) if suspect else None
    if found is None and _encode(_decode(body)) != body:
        found = next(_twins(value, ""), ("", "two keys that JSON writes alike"))
    if found:
        raise _unportable(what, *found)
    return body


def _twins(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        plain = msgspec.to_builtins(dict.fromkeys(value), str_keys=True)
        if len(plain) < len(value):
            yield path, "two keys that JSON writes alike"
    for step, part in _parts(value) or ():
        yield from _twins(part, path + step)


def _unportable(what: str, path: str, reason: str) -> InvalidArguments:
    # msgspec's paths lack the dot at their beginning.
    dot = "." if path[:1] not in ("", ".", "[") else ""
    return InvalidArguments(f"{what}{dot}{path}: {reason}.")


def portable_text(value: object) -> str:
    """Return a text for a browser, with U+FFFD in the place of lone surrogates."""
    return _SURROGATE.sub("\ufffd", str(value))


def flaw(value: object) -> tuple[str, str] | None:
    """Return path and reason of the first part of `value` that breaks a rule, or None.

    `value` is plain data or holds structs and dataclasses.
    """
    return next(_flaws(value, "", 1), None)


def _flaws(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield from _flawed_keys(value, path)
    parts = _parts(value)
    if parts is None:
        reason = _scalar_flaw(value)
        if reason:
            yield path, reason
    elif depth > MAX_DEPTH:
        yield path, f"more than {MAX_DEPTH} levels deep, or contains itself"
    else:
        for step, part in parts:
            yield from _flaws(part, path + step, depth + 1)


def _parts(value: Any) -> Iterable[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return ((_step(key), part) for key, part in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{place}]", part) for place, part in enumerate(value))
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return ((f".{name}", getattr(value, name)) for name in names)
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return ((f".{field.name}", getattr(value, field.name)) for field in fields)
    return None


def _scalar_flaw(value: Any) -> str | None:
    if isinstance(value, Enum):
        return _scalar_flaw(value.value)
    if isinstance(value, str):
        return None if _is_unicode(value) else "a lone surrogate in the text"
    if isinstance(value, int):
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return None
        return "an integer beyond ±(2**53 - 1), which browsers round"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"JSON has no {value}"
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        return f"{type(value).__name__} is not a JSON value ({error})"
    return None


def _flawed_keys(value: dict[Any, Any], path: str) -> Iterator[tuple[str, str]]:
    for key in value:
        if isinstance(key, str):
            if key in REFUSED_NAMES:
                yield f"{path}{_step(key)}", "browsers refuse this key"
            elif not _is_unicode(key):
                yield path, "a lone surrogate in a key"
        else:
            try:
                msgspec.json.encode({key: None})
            except (TypeError, ValueError) as error:
                yield path, f"{type(key).__name__} is not a JSON key ({error})"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key[:64]}"
    return f"[{shown(key)}]"


def explain(error: Exception) -> tuple[str, str]:
    """Return path and reason of an error of msgspec's, in our own words.

    The path is empty if the error has no single place.
    """
    text = str(error)
    place = _PLACE.search(text)
    reason = text[: place.start()] if place else text
    path = place[2] if place else ""
    for pattern, said in (_MISSING, "missing"), (_UNKNOWN, "unknown"):
        if named := pattern.fullmatch(reason):
            field = named[1][:64]
            return (f"{path}.{field}" if path else field), said
    reason = reason.replace("`", "").replace("Expected ", "expected ", 1)
    return path, f"key: {reason}" if place and place[1] else reason


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return the question for the nearest of `names`; empty if none is near."""
    near = difflib.get_close_matches(str(name)[:64], names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


_PYTHONS_WORDS = {"null": "None", "array": "list", "object": "dict"}


def in_python(reason: str) -> str:
    """Return a reason with Python's words for types in the place of JSON's."""
    return re.sub(
        r"\b(?:null|array|object)\b", lambda word: _PYTHONS_WORDS[word[0]], reason
    )


def types_in(hint: Any) -> tuple[tuple[msgspec.inspect.Type, ...], bool]:
    """Return every type that `hint` is made of, and whether values may nest freely.

    Raises msgspec's TypeError or NameError for hints that it cannot resolve.
    """
    found: dict[int, msgspec.inspect.Type] = {}
    free = False
    pending: list[Any] = [msgspec.inspect.type_info(hint)]
    while pending:
        node = pending.pop()
        if id(node) in found:
            # Used twice, or recursive: the latter is assumed, which is safe.
            free = True
            continue
        found[id(node)] = node
        for part in msgspec.structs.asdict(node).values():
            parts = part if isinstance(part, tuple) else (part,)
            for each in parts:
                inner = getattr(each, "type", each)
                if isinstance(inner, msgspec.inspect.Type):
                    pending.append(inner)
    nodes = tuple(found.values())
    return nodes, free or any(isinstance(node, _OPEN) for node in nodes)


_OPEN = (
    msgspec.inspect.AnyType,
    msgspec.inspect.CustomType,
    msgspec.inspect.RawType,
)
