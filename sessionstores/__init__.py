"""Isolated, live state for the participants of a session, on Django's caches."""

from __future__ import annotations

# First, so that our modules can import it.
__version__ = "0.1.0.dev0"

from .backends.types import Quarantined, ServerInfo, SessionSummary
from .exceptions import (
    ActionRejected,
    Conflict,
    InsideTransaction,
    InvalidArguments,
    InvalidKey,
    InvalidToken,
    Kicked,
    LimitReached,
    OutcomeUnknown,
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
from .keys import StoreKey, normalize_code
from .manager import stores
from .monitoring.alerts import Alert
from .monitoring.health import ErrorReport, Health
from .monitoring.process import Process
from .monitoring.samples import Sample
from .monitoring.stats import Stats
from .monitoring.sweeps import LastSweep, Sweep
from .monitoring.workers import Worker
from .participants.decorators import ParticipantRequiredMixin, participant_required
from .participants.joining import ajoin, join
from .participants.leaving import aleave, leave
from .participants.participant import Participant
from .participants.people import Person
from .sessions.presence import Attendee
from .state.declaration import State, action, field, injected
from .store.store import Snapshot, Store

__all__ = [
    "ActionRejected",
    "Alert",
    "Attendee",
    "Conflict",
    "ErrorReport",
    "Health",
    "InsideTransaction",
    "InvalidArguments",
    "InvalidKey",
    "InvalidToken",
    "Kicked",
    "LastSweep",
    "LimitReached",
    "OutcomeUnknown",
    "Participant",
    "ParticipantRequiredMixin",
    "Person",
    "Process",
    "Quarantined",
    "Sample",
    "ServerInfo",
    "SessionEnded",
    "SessionLocked",
    "SessionStoresError",
    "SessionSummary",
    "Snapshot",
    "State",
    "StateCorrupt",
    "StateTooLarge",
    "Stats",
    "Store",
    "StoreKey",
    "StoreUnavailable",
    "Sweep",
    "UnknownAction",
    "UnknownSession",
    "UnknownState",
    "Worker",
    "action",
    "ajoin",
    "aleave",
    "field",
    "injected",
    "join",
    "leave",
    "normalize_code",
    "participant_required",
    "stores",
]
