"""Targets of operations: sessions and participants, and who of them is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import ParticipantInfo, SessionSummary
from ..humanize import number_text
from ..keys import StoreKey
from ..monitoring.summaries import read_summaries, summary
from ..participants.participant import DEFAULT_ROLE
from ..realtime.publisher import publisher
from ..sessions.presence import Attendee, attendees
from .people import name_of

# Names that a sentence has; the others are counted.
MAX_NAMES = 5


class OperationTarget(NamedTuple):
    """A session or participant that an operation is for.

    `label` is the session's, or the participant's name; `role` only a participant's.
    `away` names those without an open tab, as far as that was looked up. `until`: how
    long a session is kept, in seconds since the epoch, 0 if it is not.
    """

    key: StoreKey
    label: str = ""
    role: str = DEFAULT_ROLE
    participants: int = 1
    online: int = 0
    tabs: int = 0
    away: tuple[str, ...] = ()
    locked: bool = False
    until: float = 0.0

    @property
    def name(self) -> str:
        """What staff call it: “Team day” (K7Q2ZD), K7Q2ZD, Ada, or alice."""
        if not self.key.is_session:
            return self.label or self.key.participant
        code = self.key.session
        if not self.label:
            return code
        return _("“%(label)s” (%(code)s)") % {"label": self.label, "code": code}

    @property
    def id(self) -> str:
        """The code or id by which a form names it."""
        return self.key.session if self.key.is_session else self.key.participant


def session_targets(keys: Sequence[StoreKey]) -> list[OperationTarget]:
    """Return those sessions of `keys` that exist; of a single one, who is away too."""
    backend = get_backend(blocking=True)
    if len(keys) == 1:
        return _session(backend, keys[0])
    wanted = {key.session: key for key in keys}
    return [
        _of_session(wanted[each.code], each)
        for each in run(read_summaries(backend)).lines
        if each.code in wanted
    ]


def _session(backend: Backend, key: StoreKey) -> list[OperationTarget]:
    info = run(backend.session(key.session))
    if info is None:
        return []
    people = run(backend.participants(key.session))
    away = tuple(
        name_of(each, None) or each.id for each in people if not each.connections
    )
    target = _of_session(key, summary(key.session, info, people))
    return [target._replace(away=away)]


def _of_session(key: StoreKey, line: SessionSummary) -> OperationTarget:
    return OperationTarget(
        key,
        line.label,
        participants=line.participants,
        online=line.online,
        tabs=line.connections,
        locked=line.locked,
        until=line.created + line.keep if line.keep else 0.0,
    )


def participant_targets(
    code: str, ids: Sequence[str] | None = None
) -> list[OperationTarget]:
    """Return the participants of a session with these ids; None: all of them."""
    backend = get_backend(blocking=True)
    wanted = None if ids is None else frozenset(ids)
    people = [
        each
        for each in run(backend.participants(code))
        if wanted is None or each.id in wanted
    ]
    shown: Mapping[str, Attendee] = {}
    if any(each.connections and not each.profile.name for each in people):
        # Their tabs may show a name that their record does not have.
        shown = attendees(run(backend.connections_of([code]))[code])
    session = StoreKey.of_session(code)
    return [
        _of_participant(session, each, name_of(each, shown.get(each.id)))
        for each in people
    ]


def _of_participant(
    session: StoreKey, info: ParticipantInfo, name: str
) -> OperationTarget:
    return OperationTarget(
        StoreKey.stored(session.session, info.id),
        name,
        info.profile.role or DEFAULT_ROLE,
        online=int(info.connections > 0),
        tabs=info.connections,
        away=() if info.connections else (name or info.id,),
    )


def kicked_targets(code: str, ids: Sequence[str]) -> list[OperationTarget]:
    """Return those of `ids` whom their session keeps out."""
    kicked: Mapping[str, Any] = run(get_backend(blocking=True).kicked(code))
    return [OperationTarget(StoreKey.stored(code, id)) for id in ids if id in kicked]


def names_text(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are: "Ada, Ben and 7 more"."""
    shown = ", ".join(names[:MAX_NAMES])
    more = len(names) - MAX_NAMES
    if more <= 0:
        return shown
    text = ngettext(
        "%(names)s and %(count)s more", "%(names)s and %(count)s more", more
    )
    return text % {"names": shown, "count": number_text(more)}


def people_text(count: int) -> str:
    """Return a number of people in words."""
    text = ngettext("%(count)s person", "%(count)s people", count)
    return text % {"count": number_text(count)}


def tabs_text(count: int) -> str:
    """Return a number of open tabs in words."""
    text = ngettext("%(count)s tab", "%(count)s tabs", count)
    return text % {"count": number_text(count)}


def reached_text(targets: Sequence[OperationTarget]) -> str:
    """Return who has open tabs: "9 people, 11 tabs"."""
    online = sum(each.online for each in targets)
    tabs = sum(each.tabs for each in targets)
    return _("%(people)s, %(tabs)s") % {
        "people": people_text(online),
        "tabs": tabs_text(tabs),
    }


def reached_log(targets: Sequence[OperationTarget]) -> str:
    """Return the same in English, for the log."""
    online = sum(each.online for each in targets)
    tabs = sum(each.tabs for each in targets)
    return (
        f"{online} {'person' if online == 1 else 'people'}, "
        f"{tabs} {'tab' if tabs == 1 else 'tabs'}"
    )


def away_names(targets: Sequence[OperationTarget]) -> list[str]:
    """Return the names of those who have no open tab, as far as they are known."""
    return [name for each in targets for name in each.away]


def missed_text() -> str:
    """Return who may not have been reached; "" if the channel layer works."""
    if not publisher.is_cut_off:
        return ""
    return _(
        "The channel layer takes no messages now. Whoever is connected to another "
        "process than this one may not have been reached. Try again later."
    )


def missed_log() -> str:
    """Return the same in English, for the log."""
    if not publisher.is_cut_off:
        return ""
    return " The channel layer took no messages: other processes may not be reached."
