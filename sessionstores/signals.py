"""Signals for sites: what each carries, and how they are sent."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger("sessionstores")

# Each is sent once, after the fact; a crash in between can lose one.
store_created = Signal()  # key
store_changed = Signal()  # key, rev, states: names of the states that changed
participant_joined = Signal()  # session, participant
participant_left = Signal()  # session, participant
participant_removed = Signal()  # session, participant, reason, states (None: lost)
session_ended = Signal()  # session
# key, state (None: the whole record), reason, data (bytes; of a state only)
state_quarantined = Signal()
store_warning = Signal()  # warning, key, and what it concerns


async def emit(signal: Signal, *, blocking: bool, sender: Any, **named: Any) -> None:
    """Send a signal, blocking or not; Django logs what receivers raise."""
    if blocking:
        signal.send_robust(sender=sender, **named)
    else:
        await signal.asend_robust(sender=sender, **named)
