"""What is done to sessions and their participants as a whole, and who is told of it.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import event_bus, signals
from ..backends.base import Backend, Record, SessionInfo
from ..exceptions import LimitReached, StateCorrupt, UnknownSession
from ..keys import StoreKey, generate_code
from ..state import codec
from ..state.declaration import State, states_in
from ..store.records import Applied, commit, open_document
from ..store.removals import tell_removed
from ..store.retry import CommitRetry

# 31**6 codes: a hundred misses in a row mean that something else is wrong.
CODE_TRIES = 100
# A century, in seconds: what caches and databases take as a time to come has an end.
LONGEST_KEEP = 3_155_760_000


async def create(backend: Backend, *, label: str, keep: float) -> str:
    """Claim a random code and return it.

    Raises ValueError unless `keep` is 0 to `LONGEST_KEEP`, and `LimitReached`.
    """
    _check_keep(keep)
    for _ in range(CODE_TRIES):
        code = generate_code()
        if await backend.create_session(code, label=label, keep=keep):
            event_bus.bus.publish(event_bus.Creation(StoreKey.of_session(code)))
            return code
    raise LimitReached(f"{CODE_TRIES} random codes in a row were taken.")


async def cleanup_participant(backend: Backend, key: StoreKey) -> bool:
    """Remove a participant's record; False if there was none."""
    removed = await backend.delete(key)
    if removed is None:
        return False
    await tell_removed(backend, [removed], "cleanup")
    return True


async def cleanup(backend: Backend, code: str) -> int:
    """Remove a session; return how many participants it had."""
    return await tell_removed(backend, await backend.delete_session(code), "cleanup")


async def end(backend: Backend, code: str) -> int:
    """Remove a session for good; return how many participants it had."""
    removed = await backend.end_session(code)
    count = await tell_removed(backend, removed, "ended")
    if removed:
        await signals.emit(
            signals.session_ended,
            blocking=backend.blocking,
            sender=SessionInfo,
            session=code,
        )
    return count


async def revoke(backend: Backend, key: StoreKey) -> None:
    """Void the tokens issued until now."""
    event_bus.bus.publish(event_bus.Revocation(key, await backend.revoke(key)))


async def send(backend: Backend, key: StoreKey, data: Any) -> None:
    """Send a message to tabs; TypeError if it is not JSON."""
    # A copy, since it is encoded once more when its turn comes.
    data = msgspec.json.decode(msgspec.json.encode(data))
    event_bus.bus.publish(event_bus.Message(key, data, await backend.followers(key)))


async def disconnect(backend: Backend, key: StoreKey) -> None:
    """Close tabs; their tokens stay good."""
    event_bus.bus.publish(event_bus.Disconnection(key, await backend.followers(key)))
    event_bus.bus.publish(event_bus.Note(key, "disconnected"))


async def extend(backend: Backend, code: str, seconds: float) -> bool:
    """Keep a session for so many seconds from now; False: it is kept longer anyway.

    Raises ValueError unless that is 0 to `LONGEST_KEEP`, and `UnknownSession`.
    """
    _check_keep(seconds)
    before = await backend.session(code)
    after = await backend.update_session(code, extend=seconds)
    if before is None or after is None:
        raise unknown(code)
    if after.keep <= before.keep:
        return False
    _note(code, "extended", f"{seconds:g}")
    return True


def _check_keep(seconds: float) -> None:
    if not 0 <= seconds <= LONGEST_KEEP:
        raise ValueError(
            f"A session cannot be kept for {seconds} s: give 0 or more, and at most "
            f"{LONGEST_KEEP} (a century)."
        )


async def set_locked(backend: Backend, code: str, *, locked: bool) -> None:
    """Refuse newcomers to a session, or take them again; raise `UnknownSession`."""
    if await backend.update_session(code, locked=locked) is None:
        raise unknown(code)
    _note(code, "locked" if locked else "unlocked")


async def reset(backend: Backend, key: StoreKey) -> bool:
    """Make all of a participant's states fresh, in a new incarnation.

    False: there is no such participant.
    """
    classes = states_in("participant")
    fresh = {
        cls.__sessionstores__.name: codec.encode(codec.fresh(cls)) for cls in classes
    }
    tries = CommitRetry(backend, key)
    while True:
        try:
            record = await backend.read(key, touch=False)
        except StateCorrupt:
            # What stands there is no record at all: it is set aside.
            record = await open_document(backend, key)
        if not isinstance(record, Record):
            return False
        states = {**dict.fromkeys(record.states), **fresh}
        rev = record.rev.reincarnated()
        answer = await commit(backend, record, rev, states, sender=State, reset=True)
        if isinstance(answer, Applied):
            event_bus.bus.publish(event_bus.Note(key, "reset"))
            return True
        await tries.again()


def _note(code: str, kind: str, text: str = "") -> None:
    event_bus.bus.publish(event_bus.Note(StoreKey.of_session(code), kind, text))


def unknown(code: str) -> UnknownSession:
    """Return the error for a session that does not exist, or has ended."""
    return UnknownSession(
        f"There is no session {code}, or no longer. stores.sessions() lists those that "
        "there are."
    )
