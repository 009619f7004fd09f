"""What is done to a record: open it, settle it, run an action on it, commit.

Written once, in coroutines that take a backend of either flavour.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from . import codec, conf, signals
from .backends.base import Attempt, Backend, Committed, Record, Stale, Unchanged
from .exceptions import (
    ActionRejected,
    Conflict,
    InvalidArguments,
    StateCorrupt,
    StoreUnavailable,
)
from .keys import StoreKey
from .revs import Rev
from .state import Action, State, states_in

logger = logging.getLogger("sessionstores.store")

# A dispatch gives up when both are used up.
MIN_TRIES = 16
MIN_SECONDS = 2.0
MAX_PAUSE = 0.05

S = TypeVar("S", bound=State)


class Outcome(NamedTuple):
    """What an action led to: `rev` equals `base` and `change` is None if to nothing.

    `repeated`: the client's attempt took effect before, so nothing ran this time.
    """

    base: Rev
    rev: Rev
    change: signals.Change | None = None
    result: Any = None
    repeated: bool = False


class Applied(NamedTuple):
    """A commit that went through, and the record as it is now."""

    change: signals.Change
    record: Record


class Settled(NamedTuple):
    """A record whose states were put right, so that an action can run on it."""

    record: Record


class Tries:
    """Counts the tries of one optimistic commit, and waits between them."""

    def __init__(self, backend: Backend, key: StoreKey) -> None:
        self.backend = backend
        self.key = key
        self.count = 1
        self.started = time.monotonic()

    async def again(self) -> None:
        """Wait a little, differently each time; raise `Conflict` when it is enough."""
        spent = time.monotonic() - self.started
        if self.count >= MIN_TRIES and spent >= MIN_SECONDS:
            raise Conflict(
                f"{self.key}: others committed first {self.count} times in "
                f"{spent:.1f} s. Nothing was changed; dispatch again."
            )
        # The first retry needs no pause: the winner is done by now.
        if self.count > 1:
            ceiling = min(0.0005 * 2 ** min(self.count, 10), MAX_PAUSE)
            await self.backend.pause(random.uniform(0, ceiling))  # noqa: S311
        self.count += 1


async def open_record(
    backend: Backend, key: StoreKey, classes: Iterable[type[State]]
) -> Record:
    """Return the record at `key`, created with fresh `classes` if there is none.

    What stands there and is no record at all is set aside, and a fresh one takes its
    place. Raises `SessionEnded`, `SessionLocked` and `LimitReached`.
    """
    try:
        record = await backend.read(key)
    except StateCorrupt as error:
        await _quarantine(backend, key, None, None, error)
        record = None
    if isinstance(record, Record):
        return record
    states = {
        cls.__sessionstores__.name: codec.encode(codec.fresh(cls)) for cls in classes
    }
    codec.check_size(states, conf.get().max_state_bytes)
    opened = await backend.open(key, states)
    if opened.created and signals.store_created.receivers:
        await signals.emit(
            signals.store_created, blocking=backend.blocking, sender=Record, key=key
        )
    return opened.record


async def settle(
    backend: Backend, record: Record, classes: Iterable[type[State]]
) -> Record:
    """Return the record with every one of `classes` present, current and decodable.

    What is filled in or migrated is committed before anybody sees it, so that two
    tabs at one rev see one state. Undecodable states are set aside; fresh ones take
    their place in a new incarnation. Raises `StateCorrupt` for newer data.
    """
    classes = tuple(classes)
    tries = Tries(backend, record.key)
    while True:
        changed: dict[str, bytes | None] = {}
        corrupt: dict[str, StateCorrupt] = {}
        for cls in classes:
            name = cls.__sessionstores__.name
            stored = record.states.get(name)
            if stored is None:
                changed[name] = codec.encode(codec.fresh(cls))
                continue
            try:
                state = codec.decode(cls, stored)
            except StateCorrupt as error:
                if error.newer:
                    raise
                corrupt[name] = error
                changed[name] = codec.encode(codec.fresh(cls))
                continue
            if not codec.is_current(cls, stored, state):
                changed[name] = codec.encode(state)
        if not changed:
            return record
        for name, reason in corrupt.items():
            await _quarantine(backend, record.key, name, record.states[name], reason)
        rev = record.rev.reincarnated() if corrupt else record.rev.next()
        answer = await commit(
            backend, record, rev, changed, sender=classes[0], reset=bool(corrupt)
        )
        if isinstance(answer, Applied):
            return answer.record
        await tries.again()
        record = answer.record or await open_record(backend, record.key, classes)


async def open_document(backend: Backend, key: StoreKey) -> Record:
    """Return the record at `key` as tabs see it: every declared state of its scope."""
    classes = states_in("session" if key.is_session else "participant")
    record = await open_record(backend, key, classes)
    return await settle(backend, record, classes) if classes else record


async def perform(
    backend: Backend,
    key: StoreKey,
    cls: type[State],
    action: Action,
    arguments: Mapping[str, Any],
    *,
    actor: Any,
    attempt: Attempt | None = None,
    source: str | None = None,
) -> Outcome:
    """Run a client's action and commit what it did, at most once per attempt.

    `arguments` are decoded and validated; `actor` is the participant who acts, whose
    role has been checked. Whatever is raised, nothing has changed.
    """
    return await transact(
        backend,
        key,
        cls,
        action.function,
        (),
        arguments,
        injected=action.injected,
        actor=actor,
        attempt=attempt,
        source=source,
    )


async def transact(
    backend: Backend,
    key: StoreKey,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, type[Any]],
    actor: Any = None,
    attempt: Attempt | None = None,
    source: str | None = None,
) -> Outcome:
    """Run `function` on a copy of the state until it can be committed, or need not be.

    `injected` names the parameters that the server fills in where `kwargs` does not.
    Begins with the record that this process saw last, if it has one: a commit compares
    anyway, and any other answer is given only once that record is known to be current.
    """
    recalled = backend.recall(key)
    record = recalled or await open_record(backend, key, (cls,))
    tries = Tries(backend, key)
    while True:
        try:
            answer = await _attempt(
                backend,
                record,
                cls,
                function,
                args,
                kwargs,
                injected=injected,
                actor=actor,
                attempt=attempt,
                source=source,
            )
        except StoreUnavailable:
            raise
        except Exception:
            if recalled is None:
                raise
            newer = await _newer(backend, recalled, cls)
            if newer is None:
                raise
            record, recalled = newer, None
            continue
        if isinstance(answer, Outcome):
            if recalled is None or answer.change is not None:
                return answer
            newer = await _newer(backend, recalled, cls)
            if newer is None:
                return answer
            record, recalled = newer, None
            continue
        if isinstance(answer, Stale):
            await tries.again()
        record = answer.record or await open_record(backend, key, (cls,))
        recalled = None


async def _newer(backend: Backend, recalled: Record, cls: type[State]) -> Record | None:
    """Return what has taken the place of a record that was recalled; None: nothing."""
    answer = await backend.read(recalled.key, known=recalled.rev)
    if isinstance(answer, Unchanged):
        return None
    return answer or await open_record(backend, recalled.key, (cls,))


async def _attempt(
    backend: Backend,
    record: Record,
    cls: type[S],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    injected: Mapping[str, type[Any]],
    actor: Any,
    attempt: Attempt | None,
    source: str | None,
) -> Outcome | Stale | Settled:
    """Run `function` once, on what `record` holds, and commit what it did.

    `Stale` if another committed first, `Settled` if the state had to be put right
    before it can run.
    """
    if attempt is not None and (answered := _answered(record, attempt)):
        return answered
    name = cls.__sessionstores__.name
    stored = record.states.get(name)
    try:
        state, unchanged = (
            (codec.fresh(cls), None) if stored is None else codec.load(cls, stored)
        )
    except StateCorrupt as error:
        if error.newer:
            raise
        return Settled(await settle(backend, record, (cls,)))
    filled = kwargs
    if injected:
        filled = {**await _inject(backend, record, injected, kwargs, actor), **kwargs}
    result = function(state, *args, **filled)
    encoded, settled = codec.dump(state)
    if encoded == stored:
        return Outcome(record.rev, record.rev, result=result)
    rev = record.rev.next()
    answer = await commit(
        backend,
        record,
        rev,
        {name: encoded},
        sender=cls,
        attempt=attempt,
        source=source,
        edit=None if unchanged is None else (unchanged, settled),
    )
    if isinstance(answer, Stale):
        return answer
    # Others may have committed on top by the time that a lost reply is made up for:
    # the operations lead to our own rev only.
    return Outcome(record.rev, rev, answer.change, result)


def _answered(record: Record, attempt: Attempt) -> Outcome | None:
    """Return the answer to an attempt that this record has seen, if it has."""
    entry = record.clients.get(attempt.client)
    if entry is None or attempt.id > entry.last:
        return None
    code = entry.rejected.get(attempt.id)
    if code is not None:
        raise ActionRejected(
            f"Action {attempt.id} was rejected when it was first sent.", code=code
        )
    return Outcome(record.rev, record.rev, repeated=True)


async def _inject(
    backend: Backend,
    record: Record,
    injected: Mapping[str, type[Any]],
    given: Mapping[str, Any],
    actor: Any,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, kind in injected.items():
        if name in given:
            continue
        if issubclass(kind, State):
            values[name] = await _read_beside(backend, record, kind)
        elif actor is not None:
            values[name] = actor
        elif not record.key.is_session:
            values[name] = kind(*record.key)
        else:
            raise InvalidArguments(
                f"{name}: say who acts: dispatch(..., {name}=participant). A "
                "session's state belongs to nobody in particular."
            )
    return values


async def _read_beside(backend: Backend, record: Record, cls: type[S]) -> S:
    """Return a snapshot of another state, of the same session and participant."""
    declaration = cls.__sessionstores__
    if declaration.scope == "session" and not record.key.is_session:
        key = StoreKey.of_session(record.key.session)
        record = await open_record(backend, key, (cls,))
    elif declaration.scope == "participant" and record.key.is_session:
        raise InvalidArguments(
            f"A session's action cannot be given {cls.__name__}: it is each "
            "participant's own."
        )
    record = await settle(backend, record, (cls,))
    return codec.decode(cls, record.states[declaration.name])


async def commit(
    backend: Backend,
    base: Record,
    rev: Rev,
    states: Mapping[str, bytes | None],
    *,
    sender: type[State],
    attempt: Attempt | None = None,
    source: str | None = None,
    reset: bool = False,
    edit: tuple[Any, State] | None = None,
) -> Applied | Stale:
    """Commit and tell those who follow; `Stale` if another came first.

    Raises `StateTooLarge` past `MAX_STATE_BYTES`.
    """
    codec.check_size({**base.states, **states}, conf.get().max_state_bytes)
    answer = await backend.commit(base, rev, states, attempt)
    if not isinstance(answer, Committed):
        return answer
    change = signals.Change(
        base.key,
        str(base.rev),
        str(rev),
        {name: base.states[name] for name in states if name in base.states},
        states,
        answer.followers,
        source,
        reset,
        edit,
    )
    signals.outlet.publish(change)
    if signals.store_changed.receivers:
        await signals.emit(
            signals.store_changed,
            blocking=backend.blocking,
            sender=sender,
            key=base.key,
            rev=change.rev,
            states=tuple(states),
        )
    return Applied(change, answer.record)


async def _quarantine(
    backend: Backend,
    key: StoreKey,
    name: str | None,
    data: bytes | None,
    error: StateCorrupt,
) -> None:
    await backend.set_aside(key, name, data)
    logger.error("%s: %s was set aside: %s", key, name or "the record", error)
    await signals.emit(
        signals.state_quarantined,
        blocking=backend.blocking,
        sender=Record,
        key=key,
        state=name,
        reason=str(error),
    )
