"""People of a session as rows: by name, presence, step, progress and last action."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext

from .. import conf
from ..backends.types import MAX_EVENTS, ParticipantInfo, SessionInfo
from ..participants.participant import DEFAULT_ROLE
from ..sessions.presence import Attendee
from ..state.declaration import states_in
from .components.table import Column, Filter, Layout, Table
from .progress import NOWHERE, Position, Progress, shortened, step_order, step_text
from .timeline import ACTS, TimelineEntry

PRESENCE = {
    "online": _("Online"),
    "away": _("Away"),
    "leaving": _("Leaving"),
    "offline": _("Offline"),
}
SHAPES = {"online": "●", "away": "◑", "leaving": "◌", "offline": "○"}
# Seconds without an action after which somebody who is there counts as quiet.
QUIET = 300.0
# Steps that are listed with how many people are at each.
MAX_STEPS = 12
# Names of those at the first step, so that nobody has to look for them.
MAX_NAMES = 5
AT_STEP = "step:"


class ParticipantRow(NamedTuple):
    """A participant as a row of the page.

    `name`: "" if they have none; `shares_name`: somebody else has it too. `last` is
    their last action as far as the timeline goes back, and `none_since` is when it
    begins if they have done nothing since; 0: they have done nothing yet.
    `until`: when they are removed; 0: not while they are online.
    """

    info: ParticipantInfo
    attendee: Attendee | None
    name: str
    position: Position = NOWHERE
    last: TimelineEntry | None = None
    none_since: float = 0.0
    until: float = 0.0
    is_quiet: bool = False
    shares_name: bool = False
    url: str = ""

    @property
    def id(self) -> str:
        """The participant's id."""
        return self.info.id

    @property
    def called(self) -> str:
        """Their name, or their id if they have none."""
        return self.name or self.id

    @property
    def told_apart(self) -> str:
        """The same, with their id if somebody else is called so, too."""
        both = self.name and self.shares_name
        return f"{self.name} ({self.id})" if both else self.called

    @property
    def role(self) -> str:
        """Their role."""
        return self.info.profile.role or DEFAULT_ROLE

    @property
    def role_text(self) -> str:
        """Their role as it is shown: a site's own is called what the site calls it."""
        return self.special_role or pgettext("role", "participant")

    @property
    def special_role(self) -> str:
        """Their role if it is not everybody's."""
        return self.role if self.role != DEFAULT_ROLE else ""

    @property
    def presence(self) -> str:
        """A key of `PRESENCE`; "away": connected, with no tab in the foreground."""
        if self.attendee is None:
            return "offline"
        if self.attendee.leaving:
            return "leaving"
        # Only if the site's tabs publish it.
        away = all(meta.get("away") is True for meta in self.attendee.metas)
        return "away" if away else "online"

    @property
    def presence_text(self) -> Any:
        """The same in words."""
        return PRESENCE[self.presence]

    @property
    def presence_shape(self) -> str:
        """The same as a symbol, for readers who cannot see its colour."""
        return SHAPES[self.presence]

    @property
    def tabs(self) -> int:
        """How many connections are open."""
        return self.attendee.connections if self.attendee else 0

    @property
    def step(self) -> str:
        """The step that their tab publishes, else the one in their states; or ""."""
        return published(self.attendee, "step") or self.position.step

    @property
    def progress(self) -> Progress | None:
        """How far they are, if a state of theirs says so."""
        return self.position.progress


class StepGroup(NamedTuple):
    """The people at one step; `names` are some of them, `more` counts the others."""

    step: str
    people: int
    names: Sequence[str]
    more: int
    url: str
    current: bool


LAYOUT: Layout[ParticipantRow] = Layout(
    columns=(
        Column("person", _("Participant"), lambda row: row.called.casefold()),
        Column(
            "presence", _("Presence"), lambda row: list(PRESENCE).index(row.presence)
        ),
        Column("step", _("Step"), lambda row: (not row.step, step_order(row.step))),
        Column(
            "progress",
            _("Progress"),
            lambda row: row.progress.order if row.progress else (3, 0.0, ""),
        ),
        Column(
            "last",
            _("Last action"),
            lambda row: row.last.at if row.last else row.none_since,
            "time",
        ),
    ),
    filters=(
        Filter("online", PRESENCE["online"], lambda row: row.presence == "online"),
        Filter("away", PRESENCE["away"], lambda row: row.presence == "away"),
        Filter("leaving", PRESENCE["leaving"], lambda row: row.presence == "leaving"),
        Filter("offline", PRESENCE["offline"], lambda row: row.presence == "offline"),
        Filter("quiet", _("No action for 5 min"), lambda row: row.is_quiet),
    ),
    texts=lambda row: (row.id, row.name, row.special_role),
    tie=lambda row: (row.called.casefold(), row.id),
    # Who is there comes first.
    order="presence",
    size=50,
)


def layout_of(people: Iterable[ParticipantRow], *, whole: bool) -> Layout[Any]:
    """Return the layout of a table of people, with a filter for each of their steps.

    Not `whole`: of most of them it is not known what their states say, so they cannot
    be sorted by it.
    """
    steps = sorted({row.step for row in people} - {""}, key=step_order)
    at_step = [
        Filter(f"{AT_STEP}{step}", step, partial(_is_at, step))
        for step in steps[:MAX_STEPS]
    ]
    columns = LAYOUT.columns
    if not whole:
        columns = [
            column._replace(key=None) if column.name in ("step", "progress") else column
            for column in columns
        ]
    return LAYOUT._replace(columns=columns, filters=(*LAYOUT.filters, *at_step))


def _is_at(step: str, row: ParticipantRow) -> bool:
    return row.step == step


def steps_of(
    people: Sequence[ParticipantRow], table: Table[ParticipantRow]
) -> list[StepGroup]:
    """Return the people at each step; those at the first of several by name."""
    by_step: dict[str, list[str]] = {}
    for row in people:
        if row.step:
            by_step.setdefault(row.step, []).append(row.called)
    groups: list[StepGroup] = []
    for step in sorted(by_step, key=step_order)[:MAX_STEPS]:
        names = sorted(by_step[step], key=str.casefold)
        is_first = not groups and len(by_step) > 1
        shown = names[: MAX_NAMES if is_first else 0]
        name = f"{AT_STEP}{step}"
        current = table.show == name
        url = table.url(show=None if current else name, p=None)
        more = len(names) - len(shown) if shown else 0
        groups.append(StepGroup(step, len(names), shown, more, url, current))
    return groups


def rows_of(
    participants: Sequence[ParticipantInfo],
    present: Mapping[str, Attendee],
    timeline: Sequence[TimelineEntry],
    info: SessionInfo,
    *,
    now: float,
    positions: Mapping[str, Position],
) -> list[ParticipantRow]:
    """Return a row for each participant; `timeline` has the latest entry first."""
    last: dict[str, TimelineEntry] = {}
    for entry in timeline:
        if entry.kind in ACTS:
            last.setdefault(entry.who, entry)
    # Of what came before the oldest of them nothing is known.
    times = [float(event.get("at", 0)) for event in info.events]
    begins = min(times) if len(times) >= MAX_EVENTS else 0.0
    rows = [
        _row(
            each,
            present.get(each.id),
            last.get(each.id),
            begins,
            now,
            positions.get(each.id, NOWHERE),
        )
        for each in participants
    ]
    names = Counter(row.name for row in rows)
    return [row._replace(shares_name=names[row.name] > 1) for row in rows]


def _row(
    info: ParticipantInfo,
    attendee: Attendee | None,
    last: TimelineEntry | None,
    begins: float,
    now: float,
    position: Position,
) -> ParticipantRow:
    is_there = attendee is not None and not attendee.leaving
    # Who has come later has not been quiet for longer.
    since = max(last.at if last else begins, attendee.since if attendee else 0.0)
    removed = max(info.seen + conf.get().idle_timeout, info.kept_until)
    return ParticipantRow(
        info,
        attendee,
        name_of(info, attendee),
        position,
        last,
        0.0 if last else max(begins, info.created if begins else 0.0),
        0.0 if is_there else removed,
        is_there and now - since >= QUIET,
    )


def _last_known_name(info: ParticipantInfo) -> str:
    """Return the name that a tab of theirs showed before it was closed."""
    is_sensitive = not info.shown_name or "name" in sensitive_names()
    return "" if is_sensitive else shortened(info.shown_name)


def name_of(info: ParticipantInfo, attendee: Attendee | None) -> str:
    """Return what a participant is called; "" if nobody has said so."""
    return info.profile.name or published(attendee, "name") or _last_known_name(info)


def published(attendee: Attendee | None, name: str) -> str:
    """Return the first value that a tab of a participant publishes under a name."""
    metas = attendee.metas if attendee else ()
    return next(filter(None, (meta_text(meta, name) for meta in metas)), "")


def sensitive_names() -> frozenset[str]:
    """Return all names that participants' states declare as sensitive."""
    declared = (cls.__sessionstores__.sensitive for cls in states_in("participant"))
    return frozenset[str]().union(*declared)


def meta_text(meta: Mapping[str, Any], name: str) -> str:
    """Return what a tab publishes under a name, cut short; "" without a text there.

    Nor is anything shown that a state declares as sensitive under the same name.
    """
    text = step_text(meta.get(name))
    return "" if text and name in sensitive_names() else text
