"""What staff are not shown of a state: declared fields, and names that sound secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from django.utils.crypto import salted_hmac

from ..backends.types import Record
from ..keys import StoreKey
from ..state import codec
from ..state.declaration import get_state

MASK = "••••••"

# As parts of names, in any case; "key" alone names too much that is harmless.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|cookie|signature|authorization"
    r"|(api|private|access|session|encryption)[_-]?key",
    re.IGNORECASE,
)
# A mask, where the value was, and what it was, if that is sealed.
_PLACEHOLDER = re.compile(rf"{MASK}{MASK[0]}*(/.*?)(?: #([0-9a-f]{{16}}))?", re.DOTALL)
_NOTHING = object()


class Redacted(NamedTuple):
    """Plain data in which placeholders stand for `hidden`, by placeholder.

    Each value has a placeholder of its own, which says where the value was and which
    no text in the data equals. `own` are those texts in it that look like one. With a
    `key`, a placeholder says in a way that nobody can guess what the value was, too.
    """

    data: Any
    hidden: Mapping[str, Any]
    own: frozenset[str]
    names: frozenset[str]
    key: bytes

    def value_of(self, placeholder: str, default: Any) -> Any:
        """Return the value that a placeholder stands for, `default` if there is none.

        One from before the data changed counts as long as the same value is hidden
        somewhere in it, wherever that is by now.
        """
        if placeholder in self.hidden:
            return self.hidden[placeholder]
        parts = _PLACEHOLDER.fullmatch(placeholder)
        if parts is not None and parts[2] and self.key:
            for value in self.hidden.values():
                if _seal(self.key, parts[1], value) == parts[2]:
                    return value
        return default


class Restored(NamedTuple):
    """Data with the hidden values back in their places, and placeholders that are not.

    These stand for nothing, or stand where the value would be shown.
    """

    data: Any
    strays: tuple[str, ...]


def disclose(record: Record, name: str, *, sealed: bool = False) -> Redacted:
    """Return what staff may see of a state, as its declaration has it now.

    Only of what has gone through the declaration is it known what is sensitive: data
    of another version may have it under other names. `sealed` is for editing. Raises
    `UnknownState` if it is not declared, `StateCorrupt` for data that the declaration
    cannot read, or is not yet to.
    """
    cls = get_state(name)
    plain = codec.plain_of(codec.decode(cls, record.states[name]))
    key = _key(record.key, name) if sealed else b""
    return redact(plain, cls.__sessionstores__.sensitive, key=key)


def redact(data: Any, sensitive: Iterable[str] = (), *, key: bytes = b"") -> Redacted:
    """Hide the keys `sensitive` of the object `data`, and secret names at any depth.

    `data` is a state's plain form and stays as it is. The same data give the same
    placeholders under the same `key`.
    """
    mask = MASK
    while any(text.startswith(mask) for text in _texts(data)):
        mask += MASK[0]
    names = frozenset(sensitive)
    hidden: dict[str, Any] = {}
    shown = _Hiding(mask, key, hidden).hide(data, names, "")
    own = frozenset(filter(_PLACEHOLDER.fullmatch, _texts(shown))) - hidden.keys()
    return Redacted(shown, hidden, own, names, key)


def restore(data: Any, shown: Redacted) -> Restored:
    """Put hidden values back in the places of their placeholders.

    They may have been moved, though only to where they are hidden as well: what an
    editor may not see does not become visible by being moved.
    """
    strays: list[str] = []

    def put_back(data: Any, names: frozenset[str], *, unseen: bool) -> Any:
        if isinstance(data, dict):
            return {
                key: put_back(
                    value, frozenset(), unseen=unseen or _is_secret(key, names)
                )
                for key, value in data.items()
            }
        if isinstance(data, list):
            return [put_back(value, frozenset(), unseen=unseen) for value in data]
        if not isinstance(data, str) or data in shown.own:
            return data
        if not _PLACEHOLDER.fullmatch(data):
            return data
        found = shown.value_of(data, _NOTHING) if unseen else _NOTHING
        if found is _NOTHING:
            strays.append(data)
            return data
        return found

    return Restored(put_back(data, shown.names, unseen=False), tuple(strays))


class _Hiding(NamedTuple):
    mask: str
    key: bytes
    hidden: dict[str, Any]

    def hide(self, data: Any, names: frozenset[str], path: str) -> Any:
        """Return a copy in which what is secret is replaced, and note it down."""
        if isinstance(data, dict):
            return {
                key: self.conceal(value, f"{path}/{_escape(key)}")
                if _is_secret(key, names)
                else self.hide(value, frozenset(), f"{path}/{_escape(key)}")
                for key, value in data.items()
            }
        if isinstance(data, list):
            return [
                self.hide(value, frozenset(), f"{path}/{number}")
                for number, value in enumerate(data)
            ]
        return data

    def conceal(self, value: Any, path: str) -> str:
        """Note a value down; return its placeholder."""
        seal = f" #{_seal(self.key, path, value)}" if self.key else ""
        placeholder = f"{self.mask}{path}{seal}"
        self.hidden[placeholder] = value
        return placeholder


def _is_secret(key: str, names: frozenset[str]) -> bool:
    return key in names or _SECRET.search(key) is not None


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _key(key: StoreKey, name: str) -> bytes:
    # Of each record its own: the same value of two participants looks different, so
    # nobody can find out by writing guesses into a record of their own.
    salt = "sessionstores.redaction"
    return salted_hmac(salt, f"{key}/{name}", algorithm="sha256").digest()


def _seal(key: bytes, path: str, value: Any) -> str:
    body = msgspec.json.encode([path, value], order="deterministic")
    return blake2b(body, key=key, digest_size=8).hexdigest()


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for value in data.values():
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
    elif isinstance(data, str):
        yield data
