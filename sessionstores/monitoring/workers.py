"""Workers: the processes that serve the site, by a record that each of them keeps.

A process with tabs writes its record with every heartbeat, another one a heartbeat
after it has counted something. The record holds its counts, too, so that whoever reads
all records knows those of all processes.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping

import msgspec

from .. import __version__, conf
from ..backends.base import Backend
from ..backends.shared_values import update_value
from ..backends.types import Value
from ..concurrency.threads import mutex
from ..exceptions import StoreUnavailable
from .counts import NOTHING, Counts
from .process import BEGAN, PID, resident
from .tally import ErrorKind, Tally, tally_of

logger = logging.getLogger("sessionstores.stats")

# The shared value with the ids of all records, and the seconds for which it is kept; a
# record's own value is this and its id.
NAME = "workers"
KEPT = 7 * 86_400.0
PREFIX = "worker-"
# Past its lease, a record is kept for the next sample to count.
SAMPLED_WITHIN = 90.0
# Counted in this process, and in no record yet.
UNWRITTEN = ""


class Worker(msgspec.Struct, frozen=True):
    """A process that has tabs, or has acted within the last `PRESENCE_LEASE`.

    `tabs`: connections that it serves; `since`: when it began to count; `version`: its
    release of sessionstores; `load`: its CPU time as a share of one core, between its
    last two heartbeats; `rss`: its resident memory in bytes; `seen`: its last
    heartbeat. Times are those of the backend's clock; None: not known.
    """

    host: str
    pid: int
    tabs: int
    since: float
    version: str
    load: float | None
    rss: int | None
    seen: float


class WorkerRecord(msgspec.Struct, frozen=True, array_like=True):
    """What a process tells: who it is, and its counts since `began`.

    `errors`: the time and the number of its latest ones, by kind. A record that has
    expired is never continued: the next one has another id, and counts from there.
    Fields are only ever added, at the end.
    """

    worker: Worker
    began: float
    counts: Counts = NOTHING
    errors: dict[ErrorKind, tuple[float, int]] = {}


# By id.
Records = dict[str, WorkerRecord]

_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(WorkerRecord).decode
# By id, when each was entered.
_decode_ids = msgspec.msgpack.Decoder(dict[str, float]).decode


class OwnRecord:
    """The record of this process. Part of a backend's `ProcessMemory`."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.since = BEGAN if self.pid == PID else time.monotonic()
        self.load: float | None = None
        self._lock = mutex()
        self._is_writing = False
        self._measured = time.monotonic(), time.process_time()
        # What was counted before the record began, and when it was last written.
        self._base = _Mark()
        self._written: _Mark | None = None
        self._began: float | None = None
        self.id = secrets.token_hex(4)

    @property
    def name(self) -> str:
        """The name of its value."""
        return PREFIX + self.id

    @property
    def is_written(self) -> bool:
        """Whether it has ever been written."""
        return self._written is not None

    def claim(self) -> bool:
        """Begin to write it; False: another thread does."""
        with self._lock:
            if self._is_writing:
                return False
            self._is_writing = True
        return True

    def release(self) -> None:
        """Let others write it."""
        self._is_writing = False

    def has_news(self, tally: Tally) -> bool:
        """Whether something was counted since it was written."""
        return tally.counts() != (self._written or self._base).counts

    def measure(self) -> None:
        """Measure the load since this was last done, unless that was just now.

        Over a moment, such as that in which a record is begun, a process is always
        busy: with this.
        """
        now, cpu = time.monotonic(), time.process_time()
        before, cpu_before = self._measured
        if now - before >= conf.get().heartbeat / 2:
            self.load = (cpu - cpu_before) / (now - before)
            self._measured = now, cpu

    def renew(self) -> None:
        """Begin another record, since the one that was written is gone."""
        if self._written is not None:
            self._base, self._written = self._written, None
            self._began = None
            self.id = secrets.token_hex(4)

    def compose(self, tally: Tally, at: float) -> WorkerRecord:
        """Return the record as it is to be written at time `at`."""
        if self._began is None:
            self._began = at
        return self._since(self._base, tally, at, self._began)

    def confirm(self, record: WorkerRecord) -> None:
        """Note that a record has been written."""
        counts = self._base.counts + record.counts
        errors = {
            kind: self._base.errors.get(kind, 0) + count
            for kind, (_, count) in record.errors.items()
        }
        self._written = _Mark(counts, errors)

    def unwritten(self, tally: Tally, at: float) -> WorkerRecord:
        """Return what was counted since a record was written that is gone by now.

        If there was none, since the process began.
        """
        if self._written is not None:
            return self._since(self._written, tally, at, at)
        began = at - (time.monotonic() - self.since)
        return self._since(self._base, tally, at, began)

    def _since(
        self, mark: _Mark, tally: Tally, at: float, began: float
    ) -> WorkerRecord:
        errors = {
            kind: (then, count - mark.errors.get(kind, 0))
            for kind, (then, count) in tally.latest_errors().items()
            if count > mark.errors.get(kind, 0)
        }
        worker = Worker(
            socket.gethostname(),
            self.pid,
            len(tally.tabs),
            at - (time.monotonic() - self.since),
            __version__,
            self.load,
            resident(),
            at,
        )
        return WorkerRecord(worker, began, tally.counts().since(mark.counts), errors)


class _Mark(msgspec.Struct, frozen=True):
    """What a process had counted at a time."""

    counts: Counts = NOTHING
    errors: dict[ErrorKind, int] = {}


def _own(backend: Backend) -> OwnRecord:
    own = backend.memory.of(OwnRecord)
    if own.pid != os.getpid():
        # Forked: the parent's record is not ours.
        own = backend.memory.items[OwnRecord] = OwnRecord()
    return own


async def report(backend: Backend) -> None:
    """Write the record of this process; log what fails, raise nothing."""
    own = _own(backend)
    if not own.claim():
        return
    try:
        own.measure()
        await _report(backend, own)
    except StoreUnavailable as error:
        logger.info("The figures of this process were not written: %s", error)
    except Exception:
        logger.exception("The figures of this process were not written")
    finally:
        own.release()


async def report_news(backend: Backend) -> None:
    """Write the record of this process if it has counted something since it did."""
    if has_news(backend):
        await report(backend)


def has_news(backend: Backend) -> bool:
    """Return whether this process has counted something since it wrote its record."""
    return _own(backend).has_news(tally_of(backend))


async def _report(backend: Backend, own: OwnRecord) -> None:
    held = await backend.values((NAME, own.name))
    at = await backend.now()
    known = held[own.name]
    if known.data is None and own.is_written:
        own.renew()
        known = await backend.value(own.name)
    record = own.compose(tally_of(backend), at)
    seconds = conf.get().presence_lease + SAMPLED_WITHIN
    if await backend.swap_value(
        own.name, known.token, _encode(record), seconds=seconds
    ):
        own.confirm(record)
    if own.id not in decode_ids(held[NAME].data):
        await update_value(
            backend,
            NAME,
            lambda data: _encode({**decode_ids(data), own.id: at}),
            seconds=KEPT,
            held=held[NAME],
        )


def decode_ids(data: bytes | None) -> dict[str, float]:
    """Decode the shared value `NAME`: the ids of records, and when each was entered."""
    if data is None:
        return {}
    try:
        return _decode_ids(data)
    except msgspec.MsgspecError:
        # Written by another version; processes enter theirs again.
        return {}


async def read_records(backend: Backend, index: Value) -> Records:
    """Return the records of all processes, in at most one round trip."""
    ids = decode_ids(index.data)
    found = await backend.values([PREFIX + id for id in ids]) if ids else {}
    records: Records = {}
    for id in ids:
        data = found[PREFIX + id].data
        if data is None:
            continue
        try:
            records[id] = _decode_record(data)
        except msgspec.MsgspecError:
            logger.info("The figures of process %s are of another version", id)
    return records


def with_own(backend: Backend, records: Records, at: float) -> Records:
    """Return records, of which this process's is as of now.

    It is among them if the process has counted something or has tabs, and in any case
    where the figures are of this process alone.
    """
    own, tally = _own(backend), tally_of(backend)
    if own.id in records:
        return {**records, own.id: own.compose(tally, at)}
    record = own.unwritten(tally, at)
    if backend.shared and not tally.tabs and record.counts == NOTHING:
        return records
    return {**records, UNWRITTEN: record}


def listed(records: Mapping[str, WorkerRecord], at: float) -> tuple[Worker, ...]:
    """Return the processes that were seen within a lease, by host and pid."""
    since = at - conf.get().presence_lease
    seen = [each.worker for each in records.values() if each.worker.seen > since]
    return tuple(sorted(seen, key=lambda worker: (worker.host, worker.pid)))


def lost(records: Mapping[str, WorkerRecord], at: float) -> tuple[Worker, ...]:
    """Return the processes that fell silent while they had tabs, the latest first.

    One that ends in order has closed them. Those that were seen within a lease are not
    among them, and of others nothing is kept `SAMPLED_WITHIN` after that.
    """
    since = at - conf.get().presence_lease
    gone = [
        each.worker
        for each in records.values()
        if each.worker.tabs and since - SAMPLED_WITHIN < each.worker.seen <= since
    ]
    return tuple(sorted(gone, key=lambda worker: -worker.seen))


async def forget(backend: Backend, index: Value, records: Records, at: float) -> None:
    """Take the ids of records that have expired off the list."""

    def without(data: bytes | None) -> bytes | None:
        ids = decode_ids(data)
        kept = {
            id: entered
            for id, entered in ids.items()
            # One that was just entered is still to be written, or was after our look.
            if id in records or entered > at - SAMPLED_WITHIN
        }
        return None if kept == ids else _encode(kept)

    await update_value(backend, NAME, without, seconds=KEPT, held=index)
