"""Removals: announce removed records to tabs and signal receivers, each once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..backends.types import Record, Removed
from ..exceptions import StateCorrupt, UnknownState
from ..keys import StoreKey
from ..state import codec
from ..state.declaration import State, get_state

# All who notice the loss of one record do so within this time, in seconds. A tab that
# missed the message of a removal notices at a heartbeat, of which one may be late.
NOTICED_WITHIN = 5.0
BEATS = 3
LOST = b"lost"
# Why records are removed whose tabs have no other way to find out.
TOLD_LATER = frozenset({"cleanup", "left"})


async def announce_removed(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> int:
    """Announce removed records; return how many of them are participants'."""
    if reason in TOLD_LATER:
        await _store_reason(backend, removals, reason)
    count = 0
    for removed in removals:
        event_bus.bus.publish(event_bus.Removal(removed.key, reason, removed.followers))
        if removed.key.is_session:
            continue
        count += 1
        if signals.participant_removed.receivers:
            await signals.emit(
                signals.participant_removed,
                blocking=backend.blocking,
                sender=Record,
                session=removed.key.session,
                participant=removed.key.participant,
                reason=reason,
                states=_final_states(removed.states),
            )
    return count


async def announce_lost(backend: Backend, lost: Sequence[Removed]) -> None:
    """Announce records that the cache has lost, unless another caller just has.

    Several may notice at once: participants who return, sweepers, and tabs that have
    been shown the record.
    """
    unannounced = [each for each in lost if await _claim(backend, each.key)]
    await announce_removed(backend, unannounced, "lost")


async def removal_reasons(
    backend: Backend, missing: Collection[StoreKey]
) -> dict[StoreKey, str]:
    """Return why records are missing, for those that have just been cleaned up.

    For tabs that the message did not reach: it was dropped, or there is no layer.
    """
    markers = {
        key: (_marker_key(key), _marker_key(StoreKey.of_session(key.session)))
        for key in missing
    }
    held = await backend.values([name for both in markers.values() for name in both])
    reasons = {
        key: held[own].data or held[session].data
        for key, (own, session) in markers.items()
    }
    return {
        key: reason.decode()
        for key, reason in reasons.items()
        # What is no word is not ours.
        if reason and reason != LOST and reason.isalpha() and reason.isascii()
    }


def _marker_key(key: StoreKey) -> str:
    return f"gone:{key}"


async def _store_reason(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> None:
    """Store why records were removed, for the tabs that follow them."""
    followed = [removed.key for removed in removals if removed.followers]
    # The session's marker counts for all its participants.
    whole = [key for key in followed if key.is_session]
    for key in whole or followed:
        await update_value(
            backend,
            _marker_key(key),
            lambda _: reason.encode(),
            seconds=max(NOTICED_WITHIN, BEATS * conf.get().heartbeat),
        )


async def _claim(backend: Backend, key: StoreKey) -> bool:
    """Store that a record is lost; False if that, or its removal, is stored already."""
    own, session = _marker_key(key), _marker_key(StoreKey.of_session(key.session))
    held = await backend.values([own, session])
    if held[session].data is not None:
        return False
    return await update_value(
        backend,
        own,
        lambda data: LOST if data is None else None,
        seconds=NOTICED_WITHIN,
        held=held[own],
    )


def _final_states(states: Mapping[str, bytes] | None) -> dict[str, State] | None:
    """Decode what can be decoded: a receiver that archives gets typed states."""
    if states is None:
        return None
    decoded = {}
    for name, stored in states.items():
        try:
            decoded[name] = codec.decode(get_state(name), stored)
        except (UnknownState, StateCorrupt):
            signals.logger.warning("The final %r of a participant is unreadable", name)
    return decoded
