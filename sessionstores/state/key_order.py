"""Key order: the keys of an object that have to move so as to get another order."""

from __future__ import annotations

from typing import Any

Json = Any


def moved_keys(old: dict[str, Json], new: dict[str, Json]) -> set[str]:
    """Return the keys of both that have to leave ``old`` and to enter it again.

    Keys enter at the end, so those stay that ``new`` begins with, if ``old`` has them
    in that order.
    """
    places = {name: place for place, name in enumerate(old)}
    moved: set[str] = set()
    last = -1
    staying = True
    for name in new:
        if is_index(name):
            continue
        place = places.get(name, -1)
        staying = staying and place > last
        last = place
        if not staying and place >= 0:
            moved.add(name)
    return moved


def is_index(name: str) -> bool:
    """Return whether JavaScript puts a key before others, sorted by its number."""
    return (
        len(name) <= 10
        and name.isascii()
        and name.isdigit()
        and (name[0] != "0" or name == "0")
        and int(name) < 2**32 - 1
    )
