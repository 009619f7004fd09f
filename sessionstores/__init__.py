"""Isolated, live state for the participants of a session, on Django's caches."""

from __future__ import annotations

from .exceptions import (
    ActionRejected,
    Conflict,
    InvalidArguments,
    InvalidKey,
    InvalidToken,
    LimitReached,
    SessionEnded,
    SessionLocked,
    SessionStoresError,
    StateCorrupt,
    StateTooLarge,
    StoreUnavailable,
    UnknownAction,
    UnknownSession,
    UnknownState,
)
from .keys import StoreKey
from .manager import stores
from .participants.decorators import ParticipantRequiredMixin, participant_required
from .participants.joining import ajoin, join
from .participants.participant import Participant
from .state.declaration import State, action, field, injected
from .store.store import Snapshot, Store

__version__ = "0.1.0.dev0"

__all__ = [
    "ActionRejected",
    "Conflict",
    "InvalidArguments",
    "InvalidKey",
    "InvalidToken",
    "LimitReached",
    "Participant",
    "ParticipantRequiredMixin",
    "SessionEnded",
    "SessionLocked",
    "SessionStoresError",
    "Snapshot",
    "State",
    "StateCorrupt",
    "StateTooLarge",
    "Store",
    "StoreKey",
    "StoreUnavailable",
    "UnknownAction",
    "UnknownSession",
    "UnknownState",
    "action",
    "ajoin",
    "field",
    "injected",
    "join",
    "participant_required",
    "stores",
]
