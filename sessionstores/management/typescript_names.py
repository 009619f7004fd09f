"""TypeScript names: give each Python class a name that no other has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

# What TypeScript does not let a type be called.
RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        any as asserts async await bigint boolean break case catch class const continue
        debugger default delete do else enum export extends false finally for function
        if implements import in infer instanceof interface is keyof let never new null
        number object of package private protected public readonly return satisfies
        static string super switch symbol this throw true try type typeof undefined
        unique unknown var void while with yield
        """,
    )
)


def names_for(
    classes: Mapping[Any, Collection[str]], taken: Iterable[str]
) -> Mapping[Any, str]:
    """Return a name for each class, so that it is unique with each of its suffixes.

    It is the class's own, unless another class has it too, or it is in `taken`, or is
    none in TypeScript: then the module's comes first, and if need be a number last.
    """
    short = {cls: _short(cls) for cls in classes}
    counts = Counter(
        short[cls] + suffix for cls, suffixes in classes.items() for suffix in suffixes
    )
    used = RESERVED.union(taken)
    names = {
        cls: name
        for cls, name in short.items()
        if all(
            counts[name + suffix] == 1 and name + suffix not in used
            for suffix in classes[cls]
        )
    }
    used = used.union(counts)
    for cls, suffixes in classes.items():
        if cls not in names:
            names[cls] = next(
                name
                for name in _numbered(_long(cls))
                if used.isdisjoint(name + suffix for suffix in suffixes)
            )
            used = used.union(names[cls] + suffix for suffix in suffixes)
    return names


def _numbered(name: str) -> Iterable[str]:
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}{number}"


def _short(cls: Any) -> str:
    """Return the name of a class; of a generic one, with its arguments."""
    origin = getattr(cls, "__origin__", None)
    if origin is None:
        return _identifier(cls.__name__)
    arguments = (
        each.__name__
        if isinstance(each, type) and not hasattr(each, "__origin__")
        else repr(each)
        for each in cls.__args__
    )
    return _short(origin) + "".join(map(_camel, arguments))


def _long(cls: Any) -> str:
    origin = getattr(cls, "__origin__", cls)
    place = f"{origin.__module__}.{origin.__qualname__}".rpartition(".")[0]
    short = _short(cls)
    return _identifier(f"{_camel(place)}{short[0].upper()}{short[1:]}")


def _camel(text: str) -> str:
    words = re.findall(r"[^\W_]+", text)
    return "".join(f"{word[0].upper()}{word[1:]}" for word in words)


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name)
    return name if name.isidentifier() else f"_{name}"
