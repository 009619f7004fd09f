"""Session lifecycle: create, extend, lock, clean up and end, and announce it.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import event_bus, signals
from ..backends.base import Backend
from ..backends.errors import unknown
from ..backends.types import Record, SessionInfo
from ..exceptions import InvalidArguments, LimitReached, StateCorrupt, shown
from ..keys import StoreKey, generate_code
from ..state import codec
from ..state.declaration import State, states_in
from ..state.json_rules import encode_portable
from ..store.admissions import dismiss
from ..store.commits import Applied, commit
from ..store.records import open_document
from ..store.removals import announce_removed
from ..store.retry import CommitRetry
from .quantities import check_seconds

# Of 31**6 codes: a hundred collisions in a row mean that something else is wrong.
CODE_TRIES = 100
# A century, in seconds: caches and databases take no date too far in the future.
LONGEST_KEEP = 3_155_760_000


async def create(
    backend: Backend, *, label: str, keep: float, keep_participants: bool
) -> str:
    """Claim a random code and return it.

    Raises ValueError unless `keep` is 0 to `LONGEST_KEEP`, `InvalidArguments` for a
    label that is not text as browsers read it, and `LimitReached`.
    """
    keep = _checked_keep("keep", keep)
    _check_label(label)
    for _ in range(CODE_TRIES):
        code = generate_code()
        if await backend.create_session(
            code, label=label, keep=keep, keep_participants=keep_participants
        ):
            event_bus.bus.publish(event_bus.Creation(StoreKey.of_session(code)))
            return code
    raise LimitReached(
        f"{CODE_TRIES} random codes in a row were taken, of nearly a billion: the "
        "cache says so of any code, or this process draws the numbers of another."
    )


async def cleanup_participant(backend: Backend, key: StoreKey) -> bool:
    """Remove a participant's record; False if there was none."""
    removed = await backend.delete(key)
    if removed is None:
        return False
    await announce_removed(backend, [removed], "cleanup")
    return True


async def kick(backend: Backend, key: StoreKey) -> bool:
    """Remove a participant's record and keep them out; False if there was none.

    Raises `UnknownSession` and `LimitReached`.
    """
    removed = await backend.kick(key)
    if removed is None:
        # The cache may have lost it, and tabs of theirs are open all the same.
        followers = await backend.followers(key)
        event_bus.bus.publish(event_bus.Removal(key, "kicked", followers))
        return False
    await announce_removed(backend, [removed], "kicked")
    return True


async def readmit(backend: Backend, key: StoreKey) -> bool:
    """Let somebody in again; False if they were not kept out, or `UnknownSession`."""
    if not await backend.readmit(key):
        return False
    event_bus.bus.publish(event_bus.Note(key, "readmitted"))
    return True


async def leave(backend: Backend, key: StoreKey) -> bool:
    """Void a participant's tokens and remove their record; False if there was none."""
    # Before the record goes, so that no tab comes back by its token in between.
    followers = await backend.revoke(key)
    dismiss(backend, key)
    removed = await backend.delete(key)
    if removed is not None:
        await announce_removed(backend, [removed], "left")
    event_bus.bus.publish(event_bus.Revocation(key, followers))
    return removed is not None


async def cleanup(backend: Backend, code: str) -> int:
    """Remove a session; return how many participants it had."""
    removed = await backend.delete_session(code)
    return await announce_removed(backend, removed, "cleanup")


async def end(backend: Backend, code: str) -> int:
    """Remove a session for good; return how many participants it had."""
    removed = await backend.end_session(code)
    count = await announce_removed(backend, removed, "ended")
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
    """Send a message to tabs; `InvalidArguments` if browsers cannot read it."""
    # A copy, since it is encoded once more when its turn comes.
    data = msgspec.json.decode(encode_portable(data, "data"))
    event_bus.bus.publish(event_bus.Message(key, data, await backend.followers(key)))


async def disconnect(backend: Backend, key: StoreKey) -> None:
    """Close tabs; their tokens stay valid."""
    event_bus.bus.publish(event_bus.Disconnection(key, await backend.followers(key)))
    event_bus.bus.publish(event_bus.Note(key, "disconnected"))


async def extend(backend: Backend, code: str, seconds: float) -> bool:
    """Keep a session until `seconds` from now; False if its keep ends later anyway.

    Raises ValueError unless they are 0 to `LONGEST_KEEP`, and `UnknownSession`.
    """
    seconds = _checked_keep("seconds", seconds)
    before = await backend.session(code)
    after = await backend.update_session(code, extend=seconds)
    if before is None or after is None:
        raise unknown(code)
    if after.keep <= before.keep:
        return False
    _note(code, "extended", f"{seconds:g}")
    return True


def _checked_keep(name: str, seconds: float) -> float:
    check_seconds(name, seconds)
    if not 0 <= seconds <= LONGEST_KEEP:
        raise ValueError(
            f"A session cannot be kept for {seconds} s: give 0 or more, and at most "
            f"{LONGEST_KEEP} (a century)."
        )
    # Of other kinds of numbers, not all can be stored.
    return seconds if type(seconds) in (int, float) else float(seconds)


def _check_label(label: object) -> None:
    if not isinstance(label, str):
        raise InvalidArguments(f"label: {shown(label)} is not text: pass a str.")
    encode_portable(label, "label")


async def set_label(backend: Backend, code: str, label: str) -> None:
    """Give a session another label; raise `InvalidArguments` and `UnknownSession`."""
    _check_label(label)
    if await backend.update_session(code, label=label) is None:
        raise unknown(code)
    _note(code, "labelled", label)


async def set_locked(backend: Backend, code: str, *, locked: bool) -> None:
    """Refuse newcomers to a session, or admit them; raise `UnknownSession`."""
    if await backend.update_session(code, locked=locked) is None:
        raise unknown(code)
    _note(code, "locked" if locked else "unlocked")


async def reset(backend: Backend, key: StoreKey) -> bool:
    """Replace a participant's states by fresh ones, in a new incarnation.

    False if there is no such participant.
    """
    classes = states_in("participant")
    fresh = codec.encode_defaults(classes)
    retry = CommitRetry(backend, key)
    while True:
        try:
            record = await backend.read(key, touch=False)
        except StateCorrupt:
            # Not a record: opening the document sets it aside.
            record = await open_document(backend, key)
        if not isinstance(record, Record):
            return False
        states = {**dict.fromkeys(record.states), **fresh}
        rev = record.rev.reincarnated()
        answer = await commit(
            backend,
            record,
            rev,
            states,
            sender=State,
            reset=True,
            restarted=True,
            is_change=False,
        )
        if isinstance(answer, Applied):
            event_bus.bus.publish(event_bus.Note(key, "reset"))
            return True
        await retry.wait()


def _note(code: str, kind: str, text: str = "") -> None:
    event_bus.bus.publish(event_bus.Note(StoreKey.of_session(code), kind, text))
