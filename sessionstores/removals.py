"""What is told of records that are gone, whatever took them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import codec, signals
from .backends.base import Backend, Record, Removed
from .exceptions import StateCorrupt, UnknownState
from .keys import StoreKey
from .state import State, get_state

# Those who notice the same loss do so within this time, in seconds.
NOTICED_WITHIN = 5.0


async def tell_removed(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> int:
    """Tell tabs and receivers of removed records; return how many participants."""
    count = 0
    for removed in removals:
        signals.outlet.publish(signals.Removal(removed.key, reason, removed.followers))
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


async def tell_lost(backend: Backend, lost: Sequence[Removed]) -> None:
    """Tell of records that the cache has lost, unless somebody just has.

    Several may notice at once: those who come back, sweepers, and tabs that know what
    they were shown. One of them tells.
    """
    told = [gone for gone in lost if await _is_first(backend, gone.key)]
    await tell_removed(backend, told, "lost")


async def _is_first(backend: Backend, key: StoreKey) -> bool:
    name = f"lost:{key}"
    held = await backend.value(name)
    return held.data is None and await backend.swap_value(
        name, held.token, b"1", seconds=NOTICED_WITHIN
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
