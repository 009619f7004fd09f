"""Summaries of all sessions; those with corrupt data are reported beside them."""

from __future__ import annotations

from typing import NamedTuple

from ..backends.base import Backend
from ..backends.types import (
    ACTIVITY_MINUTES,
    ParticipantInfo,
    SessionInfo,
    SessionSummary,
)
from ..exceptions import StateCorrupt
from ..keys import SESSION


class Summaries(NamedTuple):
    """The summaries of readable sessions, and the errors of the others, by code."""

    lines: list[SessionSummary]
    unreadable: dict[str, StateCorrupt]


async def read_summaries(backend: Backend) -> Summaries:
    """Return the summaries of all sessions. Not atomic.

    Usually in a constant number of round trips. If corrupt data of one session makes
    the backend's answer fail, sessions are read one by one, and their summaries lack
    `activity` and the number of lost records.
    """
    try:
        return Summaries(await backend.summaries(), {})
    except StateCorrupt:
        found = Summaries([], {})
    for code in await backend.sessions():
        try:
            own = await backend.session(code)
            participants = await backend.participants(code)
        except StateCorrupt as error:
            found.unreadable[code] = error
            continue
        found.lines.append(summary(code, own, participants))
    return found


def summary(
    code: str, own: SessionInfo | None, participants: list[ParticipantInfo]
) -> SessionSummary:
    """Summarise a session by its records; `own` None: its own record is lost."""
    seen = [each.seen for each in participants]
    alone = [each.seen for each in participants if not each.connections]
    connections = [each.connections for each in participants if each.connections]
    sizes = [(each.bytes, each.id) for each in participants]
    if own is not None:
        seen.append(own.seen)
        sizes.append((own.bytes, SESSION))
    largest, id = max(sizes, default=(0, SESSION))
    latest = max(seen, default=0.0)
    return SessionSummary(
        code,
        own.label if own else "",
        own.created if own else 0.0,
        own.keep if own else 0.0,
        bool(own and own.locked),
        latest,
        sum(size for size, _ in sizes),
        len(participants),
        len(connections),
        sum(connections),
        0 if own else 1,
        min(alone, default=latest),
        (id, largest),
        (0,) * ACTIVITY_MINUTES,
    )
