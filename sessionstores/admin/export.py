"""Export of a session: its people and their states as rows, read in batches.

Wide: a row a person, with a column for each field that their states declare. Long: a
row a value. Records: one JSON object, by id. Times are UTC.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args

from ..backends.base import Backend, run
from ..backends.types import ParticipantInfo, Record, SessionInfo
from ..exceptions import StateCorrupt, UnknownState
from ..keys import SESSION
from ..participants.participant import DEFAULT_ROLE
from ..sessions.presence import Attendee
from ..state import codec
from ..state.declaration import get_state, states_in
from ..state.revisions import Rev
from .people import name_of, published
from .progress import Position, PositionReader
from .redaction import MASK, join_path, redact_state

Format = Literal["csv", "json"]
ExportLayout = Literal["wide", "long", "records"]
FORMATS = get_args(Format)
# Of those, what both formats have.
LAYOUTS = ("wide", "long")

# People of a batch, and bytes of their states after which it ends.
BATCH = 100
BATCH_BYTES = 2_097_152

# Spreadsheet programs take a file without it for one in an old encoding.
BOM = "\ufeff"
# What they take for a formula begins with one of these; with an apostrophe before it,
# it is text. The last four are wide forms of the first.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")

PERSON = (
    *("session", "person", "name", "role", "joined_utc", "last_seen_utc", "online"),
    # Of "12 of 14" the two numbers, each in a column of its own.
    *("step", "progress", "progress_of"),
)
LONG = ("session", "person", "state", "path", "value")
# For what no column is declared.
OTHER = "other"


class ExportedRecord(NamedTuple):
    """A record of the session as it is exported; `info` is None for its own.

    `states` are in plain form, by name; `hidden` names those that cannot be shown.
    """

    id: str
    info: ParticipantInfo | None
    rev: Rev
    position: Position
    states: dict[str, dict[str, Any]]
    hidden: tuple[str, ...]


class SessionExport:
    """A session's people as they were listed, and their states as they are when read.

    Hidden is what the pages hide, unless `unredacted`.
    """

    def __init__(
        self,
        backend: Backend,
        info: SessionInfo,
        people: Iterable[ParticipantInfo],
        present: Mapping[str, Attendee],
        *,
        unredacted: bool = False,
    ) -> None:
        self._backend = backend
        self._reader = PositionReader(backend, texts=True)
        self._info = info
        self.people = [*people]
        self._present = present
        self._shown = _whole if unredacted else _redacted

    def chunks(self, format: Format, layout: ExportLayout) -> Iterator[str]:
        """Yield the text in parts, each of which takes one round trip at most.

        At least two; the first two have told of an outage that is there already. CSV is
        wide or long.
        """
        writers = {
            ("csv", "wide"): self._wide_csv,
            ("csv", "long"): self._long_csv,
            ("json", "wide"): self._wide_json,
            ("json", "long"): self._long_json,
            ("json", "records"): self._records_json,
        }
        return writers[format, layout]()

    def _wide_csv(self) -> Iterator[str]:
        columns = [
            (cls.__sessionstores__.name, key)
            for cls in states_in("participant")
            for key in cls.__struct_encode_fields__
        ]
        names = [f"{name}.{key}" for name, key in columns]
        yield BOM + _csv([(*PERSON, *names, OTHER)])
        for batch in self._batches():
            yield _csv(
                (*self._person(each, each.info), *_cells(each, columns))
                for each in batch
                if each.info is not None
            )

    def _person(self, record: ExportedRecord, info: ParticipantInfo) -> tuple[Any, ...]:
        step, progress = record.position
        done, of, text = progress or (None, None, None)
        return (
            self._info.code,
            info.id,
            name_of(info, self._present.get(info.id)) or None,
            info.profile.role or DEFAULT_ROLE,
            f"{_time(info.created):%Y-%m-%d %H:%M:%S}",
            f"{_time(info.seen):%Y-%m-%d %H:%M:%S}",
            info.connections > 0,
            published(self._present.get(info.id), "step") or step or None,
            done if done is not None else text,
            of,
        )

    def _long_csv(self) -> Iterator[str]:
        yield BOM + _csv([LONG])
        for batch in self._batches():
            yield _csv(row for each in batch for row in self._values(each))

    def _long_json(self) -> Iterator[str]:
        return _array(map(self._long_rows, self._batches()))

    def _long_rows(self, batch: list[ExportedRecord]) -> Iterator[dict[str, Any]]:
        for each in batch:
            for row in self._values(each):
                yield dict(zip(LONG, row, strict=True))

    def _values(self, record: ExportedRecord) -> Iterator[tuple[Any, ...]]:
        for name, state in record.states.items():
            for path, value in _leaves(state, ""):
                yield self._info.code, record.id, name, path, value
        for name in record.hidden:
            yield self._info.code, record.id, name, "", MASK

    def _wide_json(self) -> Iterator[str]:
        info = self._info
        batches = self._batches()
        first = next(batches)
        own = [each for each in first if each.info is None]
        head = {
            "session": info.code,
            "label": info.label,
            "created": _time(info.created).isoformat(),
            "exported": datetime.now(UTC).isoformat(),
            **(_at(own[0]) if own else {}),
            "states": _states(own[0]) if own else {},
        }
        yield _json(head)[:-1] + ', "people": '
        yield from _array(
            [self._entry(each, each.info) for each in batch if each.info is not None]
            for batch in chain([first], batches)
        )
        yield "}\n"

    def _entry(self, record: ExportedRecord, info: ParticipantInfo) -> dict[str, Any]:
        at = _at(record)
        step = published(self._present.get(info.id), "step") or at["step"]
        return {
            "person": info.id,
            "name": name_of(info, self._present.get(info.id)) or None,
            "role": info.profile.role or DEFAULT_ROLE,
            "joined": _time(info.created).isoformat(),
            "last_seen": _time(info.seen).isoformat(),
            "online": info.connections > 0,
            **at,
            "step": step,
            "states": _states(record),
        }

    def _records_json(self) -> Iterator[str]:
        info = self._info
        head = {
            "session": info.code,
            "label": info.label,
            "created": info.created,
            "exported": datetime.now(UTC).isoformat(),
        }
        yield _json(head)[:-1] + ', "records": {'
        separator = "\n"
        for batch in self._batches():
            text = ""
            for each in batch:
                entry = {"rev": str(each.rev), "states": each.states}
                text += f"{separator}{_json(each.id)}: {_json(entry)}"
                separator = ",\n"
            yield text
        yield "\n}}\n"

    def _batches(self) -> Iterator[list[ExportedRecord]]:
        """Yield the records, the session's own first. Who has gone is left out."""
        listed: list[tuple[str, ParticipantInfo | None]] = [(SESSION, None)]
        size = self._info.bytes
        for info in self.people:
            if len(listed) >= BATCH or size >= BATCH_BYTES:
                yield self._read(listed)
                listed, size = [], 0
            listed.append((info.id, info))
            size += info.bytes
        yield self._read(listed)

    def _read(
        self, listed: list[tuple[str, ParticipantInfo | None]]
    ) -> list[ExportedRecord]:
        ids = [id for id, _info in listed]
        found = run(self._backend.read_records(self._info.code, ids))
        records = []
        for id, info in listed:
            record = found.get(id)
            if isinstance(record, Record):
                shown = {name: self._shown(record, name) for name in record.states}
                states = {
                    name: state for name, state in shown.items() if state is not None
                }
                at = self._reader.of_record(
                    record.states, "session" if info is None else "participant"
                )
                hidden = tuple(name for name in shown if name not in states)
                records.append(ExportedRecord(id, info, record.rev, at, states, hidden))
        return records


def _redacted(record: Record, name: str) -> dict[str, Any] | None:
    """Return a state as staff may see it; None if it cannot be shown."""
    try:
        shown: dict[str, Any] = redact_state(record, name).data
    except (UnknownState, StateCorrupt):
        return None
    return shown


def _whole(record: Record, name: str) -> dict[str, Any] | None:
    """Return a state with all that is stored; None if it is no JSON object."""
    stored = record.states[name]
    try:
        plain, _unknown = codec.reveal(get_state(name), stored)
    except (UnknownState, StateCorrupt):
        try:
            plain = codec.plain(stored)
        except (ValueError, RecursionError):
            return None
    return plain if isinstance(plain, dict) else None


def _at(record: ExportedRecord) -> dict[str, Any]:
    """Return a step and a progress, such as `{"done": 12, "of": 14}`."""
    step, progress = record.position
    found = {} if progress is None else progress._asdict()
    given = {name: value for name, value in found.items() if value not in (None, "")}
    return {"step": step or None, "progress": given or None}


def _states(record: ExportedRecord) -> dict[str, Any]:
    return {**record.states, **dict.fromkeys(record.hidden, MASK)}


def _cells(record: ExportedRecord, columns: list[tuple[str, str]]) -> Iterator[Any]:
    """Yield the values of a record by column, and then what has no column as JSON."""
    for name, key in columns:
        yield record.states.get(name, {}).get(key)
    declared = {*columns}
    other = {
        f"{name}.{key}": value
        for name, state in record.states.items()
        for key, value in state.items()
        if (name, key) not in declared
    }
    other |= dict.fromkeys(record.hidden, MASK)
    yield other or None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the JSON pointers of the values that hold no others, and those."""
    if value and isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, join_path(path, key))
    elif value and isinstance(value, list):
        for place, each in enumerate(value):
            yield from _leaves(each, f"{path}/{place}")
    else:
        yield path, value


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as RFC 4180 has them."""
    text = StringIO()
    csv.writer(text).writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return _json(value)


def _array(groups: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Yield a JSON array of all that the groups hold, a line for each."""
    separator = "[\n"
    for group in groups:
        text = ""
        for each in group:
            text += separator + _json(each)
            separator = ",\n"
        yield text
    yield "\n]\n" if separator != "[\n" else "[]\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
