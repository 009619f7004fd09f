"""Client entries: the ids of each client's actions that a record has seen.

Pure: what a commit makes of them, and what they say of an attempt.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping

from ..exceptions import ActionRejected
from .types import CLIENT_MEMORY, Attempt, ClientEntry


def has_run(clients: Mapping[str, ClientEntry], attempt: Attempt) -> bool:
    """Return whether an attempt has taken effect; raise `ActionRejected` if refused."""
    entry = clients.get(attempt.client)
    if entry is None or attempt.id > entry.last:
        return False
    code = entry.rejected.get(attempt.id)
    if code is not None:
        raise ActionRejected(
            f"Action {attempt.id} was rejected when it was first sent.", code=code
        )
    return True


def advanced(
    clients: Mapping[str, ClientEntry], attempt: Attempt, now: float
) -> ClientEntry:
    """Return the entry of an attempt's client after a commit at `now` carries it.

    A commit without an answer was reported as a failure and may yet be in: `clients`,
    on which this one builds, say which refusals did take effect.
    """
    known = clients.get(attempt.client)
    if known is None:
        return ClientEntry(attempt.id, dict(attempt.rejected), now)
    last, rejected, _ = known
    refused = {
        id: code for id, code in attempt.rejected.items() if id > last or id in rejected
    }
    return ClientEntry(max(attempt.id, last), refused, now)


def written(
    clients: Mapping[str, ClientEntry], attempts: Iterable[Attempt], now: float = 0.0
) -> dict[str, ClientEntry]:
    """Return the entries that a commit of `attempts` writes; they count in order."""
    changed: dict[str, ClientEntry] = {}
    both = ChainMap(changed, clients)  # type: ignore[arg-type]
    for attempt in attempts:
        changed[attempt.client] = advanced(both, attempt, now)
    return changed


def merged(
    clients: Mapping[str, ClientEntry], attempts: Iterable[Attempt], now: float
) -> dict[str, ClientEntry]:
    """Return a record's client entries after a commit of `attempts` at `now`.

    Entries past `CLIENT_MEMORY` are dropped.
    """
    since = now - CLIENT_MEMORY
    kept = {id: entry for id, entry in clients.items() if entry.at > since}
    return kept | written(kept, attempts, now)
