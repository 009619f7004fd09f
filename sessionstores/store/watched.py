"""Watched records: read another participant's states, which they do not notice.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import msgspec

from ..backends.base import Backend
from ..backends.types import Record
from ..exceptions import StateCorrupt, StateTooLarge
from ..keys import StoreKey
from ..monitoring.log_limiter import log_limiter
from ..state import codec
from ..state.declaration import State
from .commits import Applied, commit
from .record_queue import holding
from .retry import CommitRetry

logger = logging.getLogger("sessionstores.store")


async def read_watched(
    backend: Backend, key: StoreKey, classes: Collection[type[State]]
) -> Record | None:
    """Return a participant's record with these states only, None if there is none.

    It creates no record and no state, touches nothing and sets nothing aside. What
    `migrate` or a default of a new field makes of a state is committed first, as for
    the participant's own tabs: whoever watches gets the patches of the same record. A
    state that cannot be read is left out, with a line in the log, until its
    participant's next use sets it aside.
    """
    record = await backend.read(key, touch=False)
    if not isinstance(record, Record):
        return None
    states, outdated = _read_states(backend, record, classes)
    if not outdated:
        return msgspec.structs.replace(record, states=states)
    async with holding(backend, key):
        return await _commit_outdated(backend, record, classes)


async def _commit_outdated(
    backend: Backend, record: Record, classes: Collection[type[State]]
) -> Record | None:
    retry: CommitRetry | None = None
    while True:
        states, outdated = _read_states(backend, record, classes)
        if not outdated:
            return msgspec.structs.replace(record, states=states)
        sender = next(iter(classes))
        rev = record.rev.next()
        try:
            answer = await commit(
                backend, record, rev, outdated, sender=sender, is_change=False
            )
        except StateTooLarge as error:
            _log_left_out(backend, record.key, error)
            return msgspec.structs.replace(record, states=states)
        if isinstance(answer, Applied):
            states |= outdated
            return msgspec.structs.replace(answer.record, states=states)
        retry = retry or CommitRetry(backend, record.key)
        newest = None if await retry.wait() else answer.record
        found = newest or await backend.read(record.key, touch=False)
        if not isinstance(found, Record):
            return None
        record = found


def _read_states(
    backend: Backend, record: Record, classes: Collection[type[State]]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the stored forms that are current, and new ones for those that are not."""
    current: dict[str, bytes] = {}
    outdated: dict[str, bytes] = {}
    for cls in classes:
        name = cls.__sessionstores__.name
        stored = record.states.get(name)
        if stored is None:
            continue
        try:
            state, before = codec.load(cls, stored)
            if codec.is_current(cls, stored, state):
                current[name] = stored
            else:
                outdated[name], _ = codec.dump(state, before)
        except StateCorrupt as error:
            _log_left_out(backend, record.key, error)
    return current, outdated


def _log_left_out(backend: Backend, key: StoreKey, error: Exception) -> None:
    text = "%s: left out of what others watch: %s"
    log_limiter(backend).log(logger, logging.WARNING, text, key, error)
