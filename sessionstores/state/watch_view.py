"""Watch view: the states and fields of others that a role may watch, and no more.

A state is in it if its `watch` names the role. Of its fields those are that this
release declares, without the `sensitive` ones: of a field that only another release
declares nobody here knows whether it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw

from . import codec
from .declaration import State, states_in

# Hexadecimal digits of `WatchView.digest`.
DIGEST_LENGTH = 6

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_operations = msgspec.json.Decoder(list[dict[str, Any]]).decode
_encode = msgspec.json.Encoder().encode


class WatchView:
    """What one role may watch. Immutable; false if that is nothing.

    `digest`: equal for equal views, also in other processes; "" if that is nothing.
    """

    __slots__ = ("_fields", "classes", "digest")

    def __init__(self, classes: Iterable[type[State]]) -> None:
        self.classes = tuple(classes)
        # The keys of each state's JSON that are shown.
        self._fields: dict[str, frozenset[str]] = {}
        for cls in self.classes:
            declared = cls.__sessionstores__
            shown = set(cls.__struct_encode_fields__) - declared.sensitive
            self._fields[declared.name] = frozenset(shown)
        self.digest = ""
        if self._fields:
            named = _encode([[name, sorted(self._fields[name])] for name in self.names])
            self.digest = blake2b(named, digest_size=DIGEST_LENGTH // 2).hexdigest()

    @property
    def names(self) -> list[str]:
        """The names of the states, sorted."""
        return sorted(self._fields)

    def __bool__(self) -> bool:
        return bool(self._fields)

    def states(self, stored: Mapping[str, bytes]) -> dict[str, Raw]:
        """Return the JSON of the states that are shown of a record's stored forms."""
        return {
            name: self._shown(name, codec.raw(stored[name]))
            for name in self.names
            if name in stored
        }

    def operations(self, operations: bytes, shown: Iterable[str]) -> bytes | None:
        """Return what is shown of a patch, a JSON array of RFC 6902 operations.

        `shown`: the states that whoever watches has; of others it says nothing. None if
        no patch leads on, but a snapshot: something hidden has become visible, or a
        state is new.
        """
        known = frozenset(shown)
        kept: list[dict[str, Any]] = []
        for operation in _decode_operations(operations):
            path, origin = operation["path"], operation.get("from")
            if not path:
                return None
            is_shown = self._shows(path)
            if origin is not None and is_shown and not self._shows(origin):
                return None
            if is_shown and path.split("/")[1] not in known:
                return None
            if is_shown:
                kept.append(self._without_hidden(operation))
            elif operation["op"] == "move" and origin and self._shows(origin):
                kept.append({"op": "remove", "path": origin})
        return _encode(kept)

    def _shows(self, path: str) -> bool:
        """Whether a JSON pointer leads to a state that is shown, or into its field."""
        _, name, *steps = path.split("/", 3)
        fields = self._fields.get(name)
        if fields is None:
            return False
        return not steps or steps[0].replace("~1", "/").replace("~0", "~") in fields

    def _without_hidden(self, operation: dict[str, Any]) -> dict[str, Any]:
        _, name, *steps = operation["path"].split("/", 2)
        if steps or not isinstance(value := operation.get("value"), dict):
            return operation
        fields = self._fields[name]
        whole = {key: each for key, each in value.items() if key in fields}
        return {**operation, "value": whole}

    def _shown(self, name: str, raw: Raw) -> Raw:
        found = _decode(raw)
        fields = self._fields[name]
        if found.keys() <= fields:
            return raw
        return Raw(_encode({key: found[key] for key in found if key in fields}))


def watch_view(role: str) -> WatchView:
    """Return what a role may watch of other participants, as declared now."""
    return WatchView(
        cls for cls in states_in("participant") if role in cls.__sessionstores__.watch
    )
