"""Client entries: how each client's latest actions went, as far as a record knows.

Pure. An action is known to have been applied, or not to have been; of one that is
neither, nothing is said but that. So what is forgotten is never acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from ..exceptions import MESSAGES, ActionRejected, general_message
from .client_limits import bound, is_forgotten, is_mark, owner_of
from .types import CLIENT_MEMORY, PROFILE, RUNS, Attempt, ClientEntry

# The runs under the key `RUNS` of `ClientEntry.rejected`: each character is the length
# of one, of the ids applied up to the last one, those not applied below them, those
# applied below these. The ids below all runs are unknown. Without runs, only the last
# one is known.
ONE = "\x01"
# Surrogates, which begin here, cannot be stored.
MAX_RUN = 0xD7FF
MAX_RUNS = 256
# Refusals of one client that are kept with their codes; of others it is known only that
# they were not applied. A tab has fewer open actions.
MAX_REFUSALS = 128

# So many entries are measured at every commit: they may be of a release without bounds.
MANY = 4_096
# The code that tells a client so.
OUTCOME_UNKNOWN = "outcome_unknown"

_NOTHING: Mapping[int, str] = {}


class Merge(NamedTuple):
    """What a commit makes of a record's entries.

    `written` are those of its attempts, and marks of what is dropped: they are of the
    time of the commit. `shortened` are others that lose something for want of space;
    `dropped` names those that are dropped.
    """

    clients: Mapping[str, ClientEntry]
    written: dict[str, ClientEntry]
    shortened: dict[str, ClientEntry]
    dropped: tuple[str, ...]


NO_MERGE = Merge({}, {}, {}, ())


def has_run(clients: Mapping[str, ClientEntry], attempt: Attempt) -> bool:
    """Return whether an attempt has taken effect.

    False: it has not, and may run. Raises `ActionRejected` if it was refused, and with
    the code `outcome_unknown` if either may be the case: it must not run then.
    """
    entry = clients.get(attempt.client)
    if entry is None:
        if attempt.resent and is_forgotten(clients, attempt.client):
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
        general_message(code),
        code=code,
        hint=f"Action {attempt.id} was rejected when it was first sent.",
    )


def last_ids(clients: Mapping[str, ClientEntry], numbering: str) -> dict[str, int]:
    """Return the highest id that a commit carried of each client, without `numbering`.

    That is the prefix of the clients of one participant: others are left out. Of a
    client's ids up to this one, all have run that ever will.
    """
    start = len(numbering)
    return {
        name[start:]: entry.last
        for name, entry in clients.items()
        if name.startswith(numbering) and name != PROFILE and not is_mark(name)
    }


def advanced(
    clients: Mapping[str, ClientEntry], attempt: Attempt, now: float
) -> ClientEntry:
    """Return the entry of an attempt's client after a commit at `now` carries it.

    The ids between its last commit and this one were not applied, but for actions that
    changed nothing. `clients` count for more than the attempt: a commit without an
    answer was reported as a failure and may yet be in.
    """
    id, at = attempt.id, ceil(now)
    known = clients.get(attempt.client)
    if known is None:
        is_doubtful = is_forgotten(clients, attempt.client)
        last = id
        rejected: Mapping[int, str] = _NOTHING
        runs = _joined(_between(id - 1 if is_doubtful else 0, id, attempt.unchanged))
    else:
        last, rejected, _ = known
        runs = rejected.get(RUNS, ONE)
        if id > last:
            if id == last + 1:
                runs = _counted(runs)
            else:
                runs = _joined(_between(last, id, attempt.unchanged), runs)
            last = id
    if attempt.floor:
        runs = _cut(runs, last - attempt.floor)
    details: dict[int, str] = {} if runs == ONE else {RUNS: runs}
    entry = ClientEntry(last, details, at)
    if attempt.rejected or len(rejected) > (RUNS in rejected):
        details.update(_still_refused(entry, rejected, attempt))
    return entry


def merge(
    clients: Mapping[str, ClientEntry], attempts: Sequence[Attempt], now: float
) -> Merge:
    """Return what a commit of `attempts`, which count in their order, makes at `now`.

    That need not be exact: only the order of times counts. Entries past `CLIENT_MEMORY`
    stay.
    """
    kept = dict(clients)
    touched = _enter(kept, attempts, now)
    # In the order of the attempts.
    names = dict.fromkeys(attempt.client for attempt in attempts)
    names |= dict.fromkeys(filter(is_mark, touched))
    return Merge(
        kept,
        {name: kept[name] for name in names if name in kept},
        {name: kept[name] for name in touched if name in kept and name not in names},
        tuple(name for name in touched if name not in kept),
    )


def merged(
    clients: Mapping[str, ClientEntry], attempts: Sequence[Attempt], now: float
) -> dict[str, ClientEntry]:
    """Return the entries after a commit at `now`, without those past their time."""
    kept = unexpired(clients, now)
    _enter(kept, attempts, now)
    return kept


def unexpired(clients: Mapping[str, ClientEntry], now: float) -> dict[str, ClientEntry]:
    """Return the entries that are not past `CLIENT_MEMORY`."""
    since = now - CLIENT_MEMORY
    return {name: entry for name, entry in clients.items() if entry.at > since}


def _enter(
    kept: dict[str, ClientEntry], attempts: Sequence[Attempt], now: float
) -> Collection[str]:
    """Enter attempts in `kept`, in place; return what `bound` has touched."""
    grown: set[str] = set()
    for attempt in attempts:
        name = attempt.client
        entry = advanced(kept, attempt, now)
        # At the end, after others of the same second.
        known = kept.pop(name, None)
        kept[name] = entry
        if known is None or _has_grown(known, entry):
            grown.add(owner_of(name))
    if not attempts or not (grown or len(kept) > MANY):
        return ()
    return bound(kept, grown)


def _unknown(id: int) -> ActionRejected:
    return ActionRejected(
        MESSAGES[OUTCOME_UNKNOWN],
        code=OUTCOME_UNKNOWN,
        hint=f"It is no longer known whether action {id} took effect.",
    )


def _has_grown(old: ClientEntry, new: ClientEntry) -> bool:
    """Return whether an entry may take more bytes, but for one or two."""
    details = new.rejected
    if len(details) > 1 or (details and RUNS not in details):
        return True
    return len(details.get(RUNS, ONE)) > len(old.rejected.get(RUNS, ONE))


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


def _joined(lengths: list[int], runs: str = "") -> str:
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
