"""JSON Pointers (RFC 6901): split the paths of a patch and resolve their tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class PatchError(ValueError):
    """An operation does not fit the document; the message says which, and why."""


def pointer_in(operation: Mapping[str, Any], name: str) -> list[str]:
    """Return an operation's pointer, split; the first token is the document's, ""."""
    pointer = operation.get(name)
    if not isinstance(pointer, str):
        raise PatchError(f"{name!r} must be a JSON pointer, a string")
    if pointer and pointer[0] != "/":
        raise PatchError(f"the pointer {pointer!r} must be empty or begin with '/'")
    if "~" not in pointer:
        return pointer.split("/")
    if _BAD_ESCAPE.search(pointer):
        raise PatchError(f"the pointer {pointer!r} has '~' without 0 or 1 after it")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]


def member(container: Any, token: str, *, adding: bool = False) -> Any:
    """Return the key or index that ``token`` stands for in ``container``."""
    if isinstance(container, dict):
        if adding or token in container:
            return token
        raise PatchError(f"there is no member {token!r}")
    if not isinstance(container, list):
        raise PatchError(f"{token!r} leads into a value that is not a container")
    if adding and token == "-":
        return len(container)
    if not _INDEX.fullmatch(token):
        raise PatchError(f"{token!r} is not an array index")
    if int(token) >= len(container) + adding:
        raise PatchError(f"index {token} is past the end, {len(container)}")
    return int(token)
