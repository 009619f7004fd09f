"""Client limits: bytes that client entries may take in a record, and what goes first.

Pure. Where entries are dropped, a mark is left: what has no entry may have run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .types import PROFILE, RUNS, ClientEntry

# Bytes of one participant's entries in the session's record: eight tabs of the longest
# ids. Those of `MAX_PARTICIPANTS` people fit into a memcached item beside states of
# `MAX_STATE_BYTES`.
SHARED_BYTES = 776
# In the participant's own record.
OWN_BYTES = 32_768
# Of all entries of a record.
RECORD_BYTES = 1_000 * SHARED_BYTES
# What an entry usually takes beside its name.
TYPICAL = 30

# The bytes of an integer below a limit, as msgpack has it.
_WIDTHS = ((0x80, 1), (0x100, 2), (0x1_0000, 3), (0x1_0000_0000, 5))


def owner_of(name: str) -> str:
    """Return what the names of a participant's entries in a record begin with.

    That is also the name of the mark of theirs that were dropped; "" is the mark of
    any.
    """
    return name[: name.rfind("/") + 1]


def is_mark(name: str) -> bool:
    """Return whether that is the name of a mark."""
    return name == owner_of(name)


def is_forgotten(clients: Mapping[str, ClientEntry], name: str) -> bool:
    """Return whether an entry of that name may have been dropped for want of space."""
    return owner_of(name) in clients or "" in clients


def bound(kept: dict[str, ClientEntry], owners: Iterable[str]) -> set[str]:
    """Reduce `kept`, in place, to the bytes of each of `owners` and of the record.

    Returns the names of the entries that have changed or are gone.
    """
    touched: set[str] = set()
    for owner in owners:
        names = [name for name in kept if name.startswith(owner)]
        touched |= _reduce_owned(kept, names, owner)
    # An estimate, since measuring each takes long in a crowd.
    if sum(map(len, kept)) + TYPICAL * len(kept) > RECORD_BYTES:
        owned: dict[str, list[str]] = {}
        for name in kept:
            owned.setdefault(owner_of(name), []).append(name)
        for owner, names in owned.items():
            touched |= _reduce_owned(kept, names, owner)
        excess = sum(map(_size, kept, kept.values())) - RECORD_BYTES
        touched |= _reduce(kept, list(kept), excess, "")
    return touched


def reduced(clients: Mapping[str, ClientEntry], excess: int) -> dict[str, ClientEntry]:
    """Return the entries with at least `excess` bytes less, if there are as many.

    What goes is that of the clients whose last action is the longest ago.
    """
    kept = dict(clients)
    _reduce(kept, list(kept), excess, "")
    return kept


def _reduce_owned(
    kept: dict[str, ClientEntry], names: list[str], owner: str
) -> set[str]:
    """Reduce the entries of one participant to the bytes for one; see `_reduce`."""
    size = sum(_size(name, kept[name]) for name in names)
    excess = size - (SHARED_BYTES if owner else OWN_BYTES)
    return _reduce(kept, names, excess, owner)


def _reduce(
    kept: dict[str, ClientEntry], names: list[str], excess: int, mark: str
) -> set[str]:
    """Take `excess` bytes off the entries of `names`, in place.

    The codes of refusals go first, then the runs, then whole entries, for which there
    is a mark then; of each, those of the clients whose last action is longest ago.
    Returns the names of the entries that have changed or are gone.
    """
    if excess <= 0:
        return set()
    # Sorting is stable.
    names = sorted(
        (name for name in names if name not in (mark, PROFILE)),
        key=lambda name: kept[name].at,
    )
    touched: set[str] = set()
    for details in (_codes, _runs):
        for name in names:
            entry = kept[name]
            less = dict(entry.rejected)
            for key in details(entry):
                if excess <= 0:
                    return touched
                excess -= _detail(key, less.pop(key))
                kept[name] = entry._replace(rejected=less)
                touched.add(name)
    return touched | _drop(kept, names, excess, mark)


def _drop(
    kept: dict[str, ClientEntry], names: list[str], excess: int, mark: str
) -> set[str]:
    """Drop entries of `names`, but for the last one; see `_reduce`."""
    marked = kept.get(mark)
    if marked is None:
        excess += _size(mark, _mark(0.0))
    at = marked.at if marked else 0.0
    touched: set[str] = set()
    for name in names[:-1]:
        if excess <= 0:
            break
        entry = kept.pop(name)
        excess -= _size(name, entry)
        at = max(at, entry.at)
        touched.add(name)
    if touched:
        kept[mark] = _mark(at)
        touched.add(mark)
    return touched


def _mark(at: float) -> ClientEntry:
    """Return what stands for dropped entries, the last of them used at `at`."""
    return ClientEntry(0, {}, at)


def _codes(entry: ClientEntry) -> list[int]:
    return sorted(id for id in entry.rejected if id != RUNS)


def _runs(entry: ClientEntry) -> list[int]:
    return [RUNS] if RUNS in entry.rejected else []


def _size(name: str, entry: ClientEntry) -> int:
    """Return the bytes that an entry takes in a record that is one value."""
    # That of the time, in whole seconds, and of two headers is 7.
    size = len(name) + (8 if len(name) < 32 else 9) + _width(entry.last)
    if entry.rejected:
        size += sum(_detail(*item) for item in entry.rejected.items())
    return size


def _detail(key: int, text: str) -> int:
    size = len(text.encode())
    return _width(key) + size + (1 if size < 32 else 2 if size < 256 else 3)


def _width(number: int) -> int:
    return next((width for limit, width in _WIDTHS if number < limit), 9)
