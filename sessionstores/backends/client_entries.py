"""Client entries: how each client's latest actions went, as far as a record knows.

Pure. An action is known to have been applied, or not to have been; of one that is
neither, nothing is said but that. So what is forgotten is never acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil
from typing import NamedTuple

from ..exceptions import ActionRejected
from .types import CLIENT_MEMORY, Attempt, ClientEntry

# In `ClientEntry.rejected`, the key of the runs. No action has this id, so releases
# that know nothing of runs never come across them.
RUNS = 0
# Each character is the length of a run of ids: those applied up to the last one, those
# not applied below them, those applied below these. The ids below all runs are unknown.
# Without runs, only the last one is known.
ONE = "\x01"
# Surrogates, which begin here, cannot be stored.
MAX_RUN = 0xD7FF
MAX_RUNS = 256
# Refusals of one client that are kept with their codes; of others it is known only that
# they were not applied. A tab has fewer open actions.
MAX_REFUSALS = 128

# Bytes of one participant's entries in the session's record: eight tabs of the longest
# ids. Those of `MAX_PARTICIPANTS` people fit into a memcached item beside states of
# `MAX_STATE_BYTES`.
SHARED_BYTES = 776
# In the participant's own record.
OWN_BYTES = 32_768
# Of all entries of a record.
RECORD_BYTES = 1_000 * SHARED_BYTES
# So many entries are measured at every commit: they may be of a release without bounds.
MANY = 4_096
# What an entry usually takes beside its name.
TYPICAL = 30

# The code that tells a client so.
OUTCOME_UNKNOWN = "outcome_unknown"

_NEW = ClientEntry(0, {}, 0.0)
# The bytes of an integer below a limit, as msgpack has it.
_WIDTHS = ((0x80, 1), (0x100, 2), (0x1_0000, 3), (0x1_0000_0000, 5))


class Merge(NamedTuple):
    """What a commit makes of a record's entries.

    `written` are those of its attempts; `shortened` others that lose something for want
    of space, and marks of what is dropped; `dropped` names those that are.
    """

    clients: dict[str, ClientEntry]
    written: dict[str, ClientEntry]
    shortened: dict[str, ClientEntry]
    dropped: tuple[str, ...]

    def stored(self, now: float) -> dict[str, ClientEntry]:
        """Return the entries as they are once they were written at `now`."""
        clients = unexpired(self.clients, now)
        for name, entry in self.written.items():
            clients[name] = entry._replace(at=now)
        return clients


def has_run(clients: Mapping[str, ClientEntry], attempt: Attempt) -> bool:
    """Return whether an attempt has taken effect.

    False: it has not, and may run. Raises `ActionRejected` if it was refused, and with
    the code `outcome_unknown` if either may be the case: it must not run then.
    """
    entry = clients.get(attempt.client)
    if entry is None:
        if attempt.resent and _is_forgotten(clients, attempt.client):
            raise _unknown(attempt.id)
        return False
    if attempt.id > entry.last:
        return False
    code = entry.rejected.get(attempt.id)
    if code is None:
        applied = _is_applied(entry, attempt.id)
        if applied:
            return True
        if applied is None:
            raise _unknown(attempt.id)
        code = ActionRejected.code
    raise ActionRejected(
        f"Action {attempt.id} was rejected when it was first sent.", code=code
    )


def advanced(
    clients: Mapping[str, ClientEntry], attempt: Attempt, now: float
) -> ClientEntry:
    """Return the entry of an attempt's client after a commit at `now` carries it.

    The ids between its last commit and this one were not applied, but for actions that
    changed nothing. `clients` count for more than the attempt: a commit without an
    answer was reported as a failure and may yet be in.
    """
    known = clients.get(attempt.client, _NEW)
    last, rejected, _ = known
    id = attempt.id
    runs = rejected.get(RUNS, ONE)
    if id == last + 1 and last:
        runs = _counted(runs)
    elif id > last:
        if not last:
            runs = ""
            if _is_forgotten(clients, attempt.client):
                last = id - 1
        runs = _joined(_between(last, id, attempt.unchanged), runs)
    last = max(last, id)
    if attempt.floor:
        runs = _cut(runs, last - attempt.floor)
    entry = ClientEntry(last, {} if runs == ONE else {RUNS: runs}, ceil(now))
    if not attempt.rejected and len(rejected) <= (RUNS in rejected):
        return entry
    refused = _still_refused(entry, rejected, attempt)
    return entry._replace(rejected={**refused, **entry.rejected})


def merge(
    clients: Mapping[str, ClientEntry], attempts: Iterable[Attempt], now: float
) -> Merge:
    """Return what a commit of `attempts`, which count in their order, makes at `now`.

    Entries past `CLIENT_MEMORY` stay.
    """
    return _merge(dict(clients), attempts, now)


def merged(
    clients: Mapping[str, ClientEntry], attempts: Iterable[Attempt], now: float
) -> dict[str, ClientEntry]:
    """Return the entries after a commit at `now`, without those past their time."""
    return _merge(unexpired(clients, now), attempts, now).clients


def unexpired(clients: Mapping[str, ClientEntry], now: float) -> dict[str, ClientEntry]:
    """Return the entries that are not past `CLIENT_MEMORY`."""
    since = now - CLIENT_MEMORY
    return {name: entry for name, entry in clients.items() if entry.at > since}


def reduced(clients: Mapping[str, ClientEntry], excess: int) -> dict[str, ClientEntry]:
    """Return the entries with at least `excess` bytes less, if there are as many.

    What goes is that of the clients whose last action is the longest ago.
    """
    kept = dict(clients)
    _reduce(kept, list(kept), excess, "")
    return kept


def _merge(
    kept: dict[str, ClientEntry], attempts: Iterable[Attempt], now: float
) -> Merge:
    """Merge attempts into `kept`, in place."""
    before: dict[str, ClientEntry] = {}
    for attempt in attempts:
        name = attempt.client
        before.setdefault(name, kept.get(name, _NEW))
        kept[name] = advanced(kept, attempt, now)
    owners = {
        _owner(name) for name, old in before.items() if _has_grown(old, kept[name])
    }
    if not owners and len(kept) <= MANY:
        return Merge(kept, {name: kept[name] for name in before}, {}, ())
    return _bounded(kept, before.keys(), owners)


def _bounded(
    kept: dict[str, ClientEntry], written: Collection[str], owners: Iterable[str]
) -> Merge:
    """Reduce `kept`, in place, to the bytes of each of `owners` and of the record."""
    before = dict(kept)
    for owner in owners:
        _reduce_owned(kept, [name for name in kept if name.startswith(owner)], owner)
    # An estimate, since measuring each takes long in a crowd.
    if sum(map(len, kept)) + TYPICAL * len(kept) > RECORD_BYTES:
        owned: dict[str, list[str]] = {}
        for name in kept:
            owned.setdefault(_owner(name), []).append(name)
        for owner, names in owned.items():
            _reduce_owned(kept, names, owner)
        excess = sum(_size(*item) for item in kept.items()) - RECORD_BYTES
        if excess > 0:
            _reduce(kept, list(kept), excess, "")
    return Merge(
        kept,
        {name: kept[name] for name in written if name in kept},
        {
            name: entry
            for name, entry in kept.items()
            if name not in written and entry is not before.get(name)
        },
        tuple(name for name in before if name not in kept),
    )


def _reduce_owned(kept: dict[str, ClientEntry], names: list[str], owner: str) -> None:
    """Reduce the entries of one participant, in place, to the bytes for one."""
    size = sum(_size(name, kept[name]) for name in names)
    excess = size - (SHARED_BYTES if owner else OWN_BYTES)
    if excess > 0:
        _reduce(kept, names, excess, owner)


def _reduce(
    kept: dict[str, ClientEntry], names: list[str], excess: int, mark: str
) -> None:
    """Take `excess` bytes off the entries of `names`, in place.

    The codes of refusals go first, then the runs, then whole entries, for which there
    is a mark then; of each, those of the clients whose last action is longest ago.
    """
    # Sorting is stable: what is written now is at the end of its second.
    names = sorted(
        (name for name in names if kept[name].last), key=lambda name: kept[name].at
    )
    for details in (_codes, _runs):
        for name in names:
            entry = kept[name]
            less = dict(entry.rejected)
            for key in details(entry):
                if excess <= 0:
                    break
                excess -= _detail(key, less.pop(key))
            if len(less) < len(entry.rejected):
                kept[name] = entry._replace(rejected=less)
    if excess <= 0:
        return
    marked = kept.get(mark)
    at = 0.0
    if marked is None:
        excess += _size(mark, _NEW)
    else:
        at = marked.at
    for name in names[:-1]:
        if excess <= 0:
            break
        entry = kept.pop(name)
        excess -= _size(name, entry)
        at = max(at, entry.at)
    kept[mark] = _NEW._replace(at=at)


def _unknown(id: int) -> ActionRejected:
    return ActionRejected(
        f"It is no longer known whether action {id} took effect.",
        code=OUTCOME_UNKNOWN,
    )


def _codes(entry: ClientEntry) -> list[int]:
    return sorted(id for id in entry.rejected if id != RUNS)


def _runs(entry: ClientEntry) -> list[int]:
    return [RUNS] if RUNS in entry.rejected else []


def _has_grown(old: ClientEntry, new: ClientEntry) -> bool:
    if not old.last or len(new.rejected) > (RUNS in new.rejected):
        return True
    return len(new.rejected.get(RUNS, "")) > len(old.rejected.get(RUNS, ""))


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


def _owner(name: str) -> str:
    """Return what the names of a participant's entries in a record begin with."""
    return name[: name.rfind("/") + 1]


def _is_forgotten(clients: Mapping[str, ClientEntry], name: str) -> bool:
    """Return whether an entry of that name may have been dropped for want of space."""
    return _owner(name) in clients or "" in clients


def _is_applied(entry: ClientEntry, id: int) -> bool | None:
    """Return whether an action up to the last one was applied; None: unknown."""
    below = entry.last - id
    for place, run in enumerate(entry.rejected.get(RUNS, ONE)):
        if below < ord(run):
            return place % 2 == 0
        below -= ord(run)
    return None


def _counted(runs: str) -> str:
    """Return the runs with one more action applied, right after the last."""
    first = ord(runs[0]) + 1
    return chr(first) + runs[1:] if first <= MAX_RUN else chr(MAX_RUN)


def _between(last: int, id: int, unchanged: Collection[int]) -> list[int]:
    """Return the lengths of runs of the ids above `last`, up to `id`, an applied one.

    Those that changed nothing count as applied.
    """
    lengths = [1]
    lowest = id
    for ran in sorted({each for each in unchanged if last < each < id}, reverse=True):
        if ran == lowest - 1:
            lengths[-1] += 1
        else:
            lengths += lowest - 1 - ran, 1
        lowest = ran
    if lowest > last + 1:
        lengths.append(lowest - 1 - last)
    return lengths


def _joined(lengths: list[int], runs: str) -> str:
    """Return the runs of those lengths, which begin with an applied one, above others.

    What does not fit is left out: it is unknown from then on.
    """
    older = list(map(ord, runs))
    if older and len(lengths) % 2:
        lengths[-1] += older.pop(0)
    text = ""
    for length in (lengths + older)[:MAX_RUNS]:
        text += chr(min(length, MAX_RUN))
        if length > MAX_RUN:
            break
    return text


def _still_refused(
    entry: ClientEntry, listed: Mapping[int, str], attempt: Attempt
) -> dict[int, str]:
    """Return the codes of refusals that are still to be told, of the newest.

    Those `listed` before are known. Of the attempt's, those that were not applied.
    """
    refused = {
        id: code
        for id, code in attempt.rejected.items()
        if id <= entry.last and _is_applied(entry, id) is False
    }
    refused |= {id: code for id, code in listed.items() if id != RUNS}
    ids = sorted(id for id in refused if id > attempt.floor)
    return {id: refused[id] for id in ids[-MAX_REFUSALS:]}


def _cut(runs: str, count: int) -> str:
    """Return the runs of the newest `count` ids."""
    for place, run in enumerate(runs):
        if ord(run) >= count:
            return runs[:place] + chr(count)
        count -= ord(run)
    return runs
