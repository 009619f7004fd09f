"""Group commit: run calls on a record one after the other, and commit them at once.

Written once, in coroutines that take a backend of either flavour. A group is often of
one call; `record_queue` says when there are more.
"""

from __future__ import annotations

import logging
import time
from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from .. import conf, event_bus, signals
from ..backends import client_entries
from ..backends.base import Backend
from ..backends.types import Attempt, ClientEntry, Record, Stale
from ..exceptions import StateCorrupt, StoreUnavailable
from ..monitoring.counters import counters
from ..state import codec
from ..state.actions import Injection
from ..state.declaration import State
from ..state.revisions import Rev
from .calls import Call, Outcome, answer, fail, refuse_unrun
from .commits import after_failed_commit, announce, change_by, check_size, is_final
from .records import (
    NONE_INJECTED,
    InjectedStates,
    fill_in,
    open_record,
    read_if_changed,
    read_injected,
    states_among,
    update_states,
)
from .retry import CommitRetry
from .turns import Turn, current_turn

logger = logging.getLogger("sessionstores.store")

# Seconds for which a group's calls run; those that are left make the next group.
RUN_SECONDS = 0.010


class Run(msgspec.Struct, eq=False):
    """One run of calls on a record, one after the other, which commits nothing.

    Each call finds `states` and client entries as the one before left them. `changed`
    are the calls that have changed something, `size` is that of all states in bytes.
    With `corrupt`, a class whose stored state cannot be decoded, the run is void.
    """

    record: Record
    states: Mapping[str, bytes]
    changed: list[Call] = msgspec.field(default_factory=list[Call])
    size: int = 0
    # The client entries, with those that the first so many of `changed` make.
    clients: ChainMap[str, ClientEntry] | None = None
    numbered: int = 0
    corrupt: type[State] | None = None

    def run(
        self, backend: Backend, calls: list[Call], injected: InjectedStates, turn: Turn
    ) -> list[Call]:
        """Run calls for `RUN_SECONDS`; return those that are left."""
        until = time.monotonic() + RUN_SECONDS
        turn.running = True
        for place, call in enumerate(calls):
            if place and time.monotonic() > until:
                turn.running = False
                return calls[place:]
            counters.tries += 1
            call.outcome = call.error = None
            call.changed = call.repeated = False
            try:
                self._run(backend, call, injected, turn)
            except BaseException as error:  # noqa: BLE001 - its caller raises it
                call.error = error
                if self._is_corrupt(call):
                    break
        turn.running = False
        return []

    def _is_corrupt(self, call: Call) -> bool:
        """Note and return whether what a call failed on is the stored state."""
        error = call.error
        if not isinstance(error, StateCorrupt) or error.newer:
            return False
        try:
            codec.load(call.cls, self.states.get(call.cls.__sessionstores__.name))
        except StateCorrupt:
            self.corrupt = call.cls
        return self.corrupt is not None

    def _run(
        self, backend: Backend, call: Call, injected: InjectedStates, turn: Turn
    ) -> None:
        attempt, kwargs = call.attempt, call.kwargs
        if attempt is not None and self._has_run(attempt, backend):
            call.result, call.repeated = None, True
            return
        if call.injected:
            key, states = self.record.key, self.states
            kwargs = fill_in(call.injected, kwargs, injected, states, key, call.actor)
        name = call.cls.__sessionstores__.name
        stored = self.states.get(name)
        state, call.before = codec.load(call.cls, stored)
        if call.context is None:
            call.result = call.function(state, *call.args, **kwargs)
        else:
            call.result = call.context.run(_enter_and_call, turn, call, state, kwargs)
        refuse_unrun(call.function, call.result)
        encoded, call.after = codec.dump(state, call.before)
        if encoded != stored:
            states = {**self.states, name: encoded}
            size, limit = sum(map(len, states.values())), conf.get().max_state_bytes
            if size > limit:
                check_size(states, limit)
            self.states, self.size = states, size
            call.changed = True
            self.changed.append(call)

    def _has_run(self, attempt: Attempt, backend: Backend) -> bool:
        """See `client_entries.has_run`; attempts of this run count, too."""
        clients: Any = self.record.clients
        if self.changed:
            both = self.clients or ChainMap({}, clients)
            for call in self.changed[self.numbered :]:
                if (new := call.attempt) is not None:
                    entry = client_entries.advanced(both, new, backend.clock())
                    both[new.client] = entry
            self.numbered = len(self.changed)
            clients = self.clients = both
        return client_entries.has_run(clients, attempt)


def _enter_and_call(turn: Turn, call: Call, state: State, kwargs: Any) -> Any:
    current_turn.set(turn)
    return call.function(state, *call.args, **kwargs)


async def commit_group(
    backend: Backend, calls: list[Call], turn: Turn, recalled: Record | None
) -> None:
    """Run calls one after the other and commit at once what they change.

    Leaves in each its outcome or its error; those that are not run in time go back to
    the queue, and out of `calls`. What may have been committed does not run again. The
    record may be `recalled`, and out of date.
    """
    group = _Group(backend, turn, calls, [*calls], time.monotonic())
    try:
        newer = await group.attempt(
            recalled or await group.open(), is_recalled=recalled is not None
        )
        while newer is not None:
            newer = await group.attempt(newer)
    except Exception as error:  # noqa: BLE001 - their callers raise it
        fail(group.pending, error)


class _Group(msgspec.Struct, eq=False):
    """Calls that run together until they are committed, or need not be.

    `pending` are those that have no outcome yet.
    """

    backend: Backend
    turn: Turn
    calls: list[Call]
    pending: list[Call]
    started: float
    retry: CommitRetry | None = None

    async def attempt(
        self, record: Record, *, is_recalled: bool = False
    ) -> Record | None:
        """Run and commit the calls; return the record on which to try again, if any.

        `is_recalled`: the record may be out of date.
        """
        injected = NONE_INJECTED
        if kinds := self._injected_kinds():
            known = record
            record, injected = await read_injected(self.backend, record, kinds)
            is_recalled = is_recalled and record is known
        run = Run(record, record.states)
        left = run.run(self.backend, self.pending, injected, self.turn)
        if run.corrupt is not None:
            return (await update_states(self.backend, record, (run.corrupt,)))[0]
        if left:
            self._put_back(left)
        if not run.changed:
            errors = [call.error for call in self.pending]
            newer = None
            if is_recalled and not all(map(is_final, errors)):
                newer = await read_if_changed(self.backend, record, self._first)
            if newer is None:
                _conclude(self.pending, record.rev, record.rev)
            return newer
        # From here on, a call that has changed something runs again only if its commit
        # is known not to be in.
        rev = record.rev.next()
        try:
            committed = await self._write(run, rev)
        except (StoreUnavailable, StateCorrupt) as error:
            fail(run.changed, error)
            self.pending = [call for call in self.pending if not call.changed]
            return await self.open() if self.pending else None
        if isinstance(committed, event_bus.Change):
            await self._publish(run, committed, rev)
            return None
        self.retry = self.retry or CommitRetry(self.backend, record.key, self.started)
        # What was read before a pause is likely to be out of date.
        newest = None if await self.retry.wait() else committed.record
        return newest or await self.open()

    async def open(self) -> Record:
        """Read the record, or create it."""
        return await open_record(self.backend, self.turn.key, (self._first,))

    @property
    def _first(self) -> type[State]:
        return self.pending[0].cls

    def _injected_kinds(self) -> dict[Injection, None]:
        """Return which states calls are given, in order."""
        return {
            kind: None
            for call in self.pending
            for kind in states_among(call.injected, call.kwargs)
        }

    def _put_back(self, left: list[Call]) -> None:
        del self.pending[-len(left) :]
        self.turn.put_back(left)
        gone = {*left}
        self.calls[:] = [call for call in self.calls if call not in gone]

    async def _write(self, run: Run, rev: Rev) -> event_bus.Change | Stale:
        """Commit a run; raise `OutcomeUnknown` if that may be in."""
        changed = run.changed
        first, last = changed[0], changed[-1]
        # The state of the last action comes first; see `event_bus.Change`.
        names = [call.cls.__sessionstores__.name for call in reversed(changed)]
        states = {name: run.states[name] for name in names}
        edit = None
        if len(states) == 1 and first.before is not None and last.after is not None:
            edit = first.before, last.after
        attempts = [call.attempt for call in changed if call.attempt is not None]
        try:
            committed = await self.backend.commit(run.record, rev, states, attempts)
        except (StoreUnavailable, StateCorrupt) as error:
            return await after_failed_commit(self.backend, run.record, error)
        if isinstance(committed, Stale):
            return committed
        return change_by(
            run.record,
            rev,
            states,
            committed,
            source=last.source if first is last else None,
            function=last.function,
            edit=edit,
            count=len(changed),
            parts=_parts(changed),
        )

    async def _publish(self, run: Run, change: event_bus.Change, rev: Rev) -> None:
        """Answer the calls of a run that is committed, then tell the others."""
        shown = change if len(run.changed) == 1 else None
        _conclude(self.pending, run.record.rev, rev, shown)
        for call in self.pending:
            answer(call)
        senders = tuple({call.cls: None for call in run.changed})
        if not signals.store_changed.receivers:
            # Woken now, callers go on before the tasks that tell the others.
            for call in self.pending:
                call.settle()
        event_bus.bus.publish(change)
        # Receivers may be slow, and may dispatch themselves.
        self.turn.release()
        await announce(self.backend, change, run.size, senders)


def _parts(changed: Sequence[Call]) -> Mapping[tuple[str, str], int] | None:
    """Return how many there are of each action, if they are unlike."""
    if all(call.function is changed[0].function for call in changed):
        return None
    return Counter(
        (call.cls.__sessionstores__.name, getattr(call.function, "__qualname__", ""))
        for call in changed
    )


def _conclude(
    calls: list[Call], base: Rev, rev: Rev, change: event_bus.Change | None = None
) -> None:
    """Give their outcome to the calls that raised nothing."""
    for call in calls:
        if call.changed:
            call.outcome = Outcome(base, rev, change, call.result)
        elif call.error is None:
            call.outcome = Outcome(rev, rev, None, call.result, call.repeated)
