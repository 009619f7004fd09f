"""What is told of records that are gone, whatever took them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .. import conf, event_bus, signals
from ..backends.base import Backend
from ..backends.types import Record, Removed
from ..exceptions import StateCorrupt, UnknownState
from ..keys import StoreKey
from ..state import codec
from ..state.declaration import State, get_state

# Those who notice the same loss do so within this time, in seconds; who missed the hint
# of a removal does so at a heartbeat, of which one may be late.
NOTICED_WITHIN = 5.0
BEATS = 3
LOST = b"lost"


async def tell_removed(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> int:
    """Tell tabs and receivers of removed records; return how many participants."""
    if reason == "cleanup":
        await _leave_word(backend, removals, reason)
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


async def tell_lost(backend: Backend, lost: Sequence[Removed]) -> None:
    """Tell of records that the cache has lost, unless somebody just has.

    Several may notice at once: those who come back, sweepers, and tabs that know what
    they were shown. One of them tells.
    """
    told = [gone for gone in lost if await _is_first(backend, gone.key)]
    await tell_removed(backend, told, "lost")


async def reasons(
    backend: Backend, missing: Collection[StoreKey]
) -> dict[StoreKey, str]:
    """Return why records are missing, of those that have just been cleaned up.

    A tab learns it from this if the message was lost, or no layer carries any.
    """
    names = {
        key: (_word(key), _word(StoreKey.of_session(key.session))) for key in missing
    }
    held = await backend.values([name for both in names.values() for name in both])
    words = {
        key: held[own].data or held[session].data
        for key, (own, session) in names.items()
    }
    return {
        key: word.decode() for key, word in words.items() if word not in (None, LOST)
    }


def _word(key: StoreKey) -> str:
    return f"gone:{key}"


async def _leave_word(
    backend: Backend, removals: Sequence[Removed], reason: str
) -> None:
    """Have those who miss a record whose tabs are open know why it is gone."""
    followed = [removed.key for removed in removals if removed.followers]
    # That of the session stands for all its participants.
    whole = [key for key in followed if key.is_session]
    for key in whole or followed:
        held = await backend.value(_word(key))
        await backend.swap_value(
            _word(key),
            held.token,
            reason.encode(),
            seconds=max(NOTICED_WITHIN, BEATS * conf.get().heartbeat),
        )


async def _is_first(backend: Backend, key: StoreKey) -> bool:
    word, session = _word(key), _word(StoreKey.of_session(key.session))
    held = await backend.values([word, session])
    if held[word].data is not None or held[session].data is not None:
        return False
    return await backend.swap_value(
        word, held[word].token, LOST, seconds=NOTICED_WITHIN
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
