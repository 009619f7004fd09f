"""Stores: the identity of one participant's state, and the operations on it.

The logic is written once, in coroutines that take a backend; `Store` calls them with
the blocking or the native flavour. A store holds no data, so it can neither bleed
into another nor leak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    TypeVar,
    cast,
)

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import Record
from ..concurrency.async_unsafe import async_unsafe
from ..exceptions import (
    Conflict,
    InvalidArguments,
    InvalidKey,
    SessionStoresError,
    shown,
)
from ..keys import StoreKey, check_code, check_participant
from ..monitoring import alerts
from ..state import codec
from ..state.actions import ROLES, Injection
from ..state.declaration import State
from ..state.revisions import is_rev
from .commits import Applied, commit
from .misuse import (
    check_function,
    check_given,
    missing_attribute,
    none_given,
    unchangeable_attribute,
)
from .record_queue import holding
from .records import open_record, update_states
from .retry import CommitRetry
from .transactions import transact

S = TypeVar("S", bound=State)
P = ParamSpec("P")
R = TypeVar("R")


class Snapshot(NamedTuple, Generic[S]):
    """A state, the caller's own copy, with the rev of its record."""

    state: S
    rev: str


@alerts.warn_if_slow("snapshot")
async def _snapshot(backend: Backend, key: StoreKey, cls: type[S]) -> Snapshot[S]:
    record = await open_record(backend, key, (cls,))
    record, states = await update_states(backend, record, (cls,))
    return Snapshot(cast("S", states[cls.__sessionstores__.name]), str(record.rev))


@alerts.warn_if_slow("peek")
async def _peek(backend: Backend, key: StoreKey, cls: type[S]) -> Snapshot[S] | None:
    record = await backend.read(key, touch=False)
    if not isinstance(record, Record):
        return None
    stored = record.states.get(cls.__sessionstores__.name)
    if stored is None:
        return None
    return Snapshot(codec.decode(cls, stored), str(record.rev))


@alerts.warn_if_slow("replace")
async def _replace(
    backend: Backend, key: StoreKey, cls: type[S], state: S, base: str
) -> str:
    if type(state) is not cls:
        raise TypeError(
            f"replace() of a {cls.__name__} needs a {cls.__name__}, "
            f"not {type(state).__name__}."
        )
    name = cls.__sessionstores__.name
    codec.encode(state)  # refused without reading anything
    async with holding(backend, key, "replace()"):
        record = await open_record(backend, key, (cls,))
        if str(record.rev) == base:
            stored = record.states.get(name)
            encoded = codec.encode(state, stored)
            if stored == encoded:
                return base
            answer = await commit(
                backend, record, record.rev.next(), {name: encoded}, sender=cls
            )
            if isinstance(answer, Applied):
                return answer.change.rev
            record = answer.record or record
    at = f"no longer at {base}" if is_rev(base) else f"and {shown(base)} is no rev"
    raise Conflict(
        f"{key} is at {record.rev}, {at}. Nothing was changed; take a new snapshot, "
        "whose .rev is the base, and try again."
    )


@alerts.warn_if_slow("delete")
async def _delete(backend: Backend, key: StoreKey, cls: type[State]) -> bool:
    async with holding(backend, key, "delete()"):
        return await _delete_in_turn(backend, key, cls)


async def _delete_in_turn(backend: Backend, key: StoreKey, cls: type[State]) -> bool:
    name = cls.__sessionstores__.name
    retry = CommitRetry(backend, key)
    record = await backend.read(key)
    while isinstance(record, Record) and name in record.states:
        answer = await commit(
            backend,
            record,
            record.rev.reincarnated(),
            {name: None},
            sender=cls,
            reset=True,
        )
        if isinstance(answer, Applied):
            return True
        waited = await retry.wait()
        record = await backend.read(key) if waited else answer.record
    return False


async def _dispatch(
    backend: Backend,
    key: StoreKey,
    cls: type[State],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    injected = _injected(cls, function)
    if injected and kwargs:
        check_given(key, injected, kwargs)
    try:
        outcome = await transact(
            backend, key, cls, function, args, kwargs, injected=injected
        )
    except AttributeError as error:
        reason = none_given(injected, kwargs)
        if not reason:
            raise
        raise InvalidArguments(reason) from error
    if key.is_session and outcome.base != outcome.rev:
        for name in injected:
            actor = getattr(kwargs.get(name), "key", None)
            if isinstance(actor, StoreKey):
                # Who votes is in use, and has changed something.
                with suppress(SessionStoresError):
                    await backend.touch(actor, acted=True)
    return outcome.result


def _injected(cls: type[State], function: object) -> Mapping[str, Injection]:
    """Return the parameters that the server fills in, if `function` is an action.

    Raises TypeError for what cannot be dispatched.
    """
    name = getattr(function, "__name__", "")
    action = cls.__sessionstores__.actions.get(name)
    if action and action.function is function:
        return action.injected
    if not callable(function) or hasattr(function, ROLES):
        check_function(cls, function)
    return {}


def key_of(cls: type[State], session: str, participant: str | None) -> StoreKey:
    """Return where a state is kept: of a participant, or of the session for None.

    Raises `InvalidKey`, also if the state's scope and `participant` do not fit.
    """
    if cls.__sessionstores__.scope == "session":
        if participant is not None:
            raise InvalidKey(
                f"{cls.__name__} belongs to the whole session: leave out the "
                "participant."
            )
        return StoreKey.of_session(session)
    if participant is None:
        raise InvalidKey(
            f"{cls.__name__} belongs to a participant: stores.get({cls.__name__}, "
            "code, participant.id)."
        )
    return StoreKey(check_code(session), check_participant(participant))


class Store(Generic[S]):
    """One participant's state of class `cls`, or a session's; see `stores.get`.

    Clients' arguments are validated by their annotations; what server code gives to
    `dispatch` reaches the action as it is, and the state that it leaves is validated.
    Every method that does I/O has an async twin and refuses to run inside an event
    loop. All raise `StoreUnavailable` when the cache does not answer, and those that
    create raise `SessionEnded`, `Kicked`, `SessionLocked` and `LimitReached`.
    """

    __slots__ = ("__weakref__", "cls", "key")

    cls: type[S]
    key: StoreKey

    def __init__(self, cls: type[S], key: StoreKey) -> None:
        # Not by our own __setattr__, which would take time.
        object.__setattr__(self, "cls", cls)
        object.__setattr__(self, "key", key)

    def __repr__(self) -> str:
        return f"<Store {self.cls.__sessionstores__.name} of {self.key}>"

    if not TYPE_CHECKING:  # type checkers would let anything pass

        def __getattr__(self, name: str) -> Any:
            # Not a word of what copying, pickling and the like look for.
            if name.startswith("_") or name in Store.__slots__:
                raise AttributeError(name, name=name, obj=self)
            raise AttributeError(missing_attribute(self.cls, name), name=name, obj=self)

        def __setattr__(self, name: str, value: object) -> None:
            if name not in Store.__slots__:
                reason = unchangeable_attribute(self.cls, name)
                raise AttributeError(reason, name=name, obj=self)
            super().__setattr__(name, value)

    @property
    @async_unsafe("Inside an event loop: (await store.asnapshot()).state instead.")
    def state(self) -> S:
        """A fresh copy of the state, created on first access."""
        return run(_snapshot(get_backend(blocking=True), self.key, self.cls)).state

    @async_unsafe("Inside an event loop: await asnapshot() instead.")
    def snapshot(self) -> Snapshot[S]:
        """Return a fresh copy of the state with its rev; create it on first access."""
        return run(_snapshot(get_backend(blocking=True), self.key, self.cls))

    async def asnapshot(self) -> Snapshot[S]:
        """See `snapshot`."""
        return await _snapshot(get_backend(blocking=False), self.key, self.cls)

    @async_unsafe("Inside an event loop: await apeek() instead.")
    def peek(self) -> Snapshot[S] | None:
        """Return the state as it is stored, None if absent; never create or touch.

        Raises `StateCorrupt` for what cannot be decoded, and leaves it in place.
        """
        return run(_peek(get_backend(blocking=True), self.key, self.cls))

    async def apeek(self) -> Snapshot[S] | None:
        """See `peek`."""
        return await _peek(get_backend(blocking=False), self.key, self.cls)

    @async_unsafe("Inside an event loop: await adispatch() instead.")
    def dispatch(
        self,
        action: Callable[Concatenate[S, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run `action` on a copy of the state and commit it, atomically.

        If another commits first, it runs again on the newer state, so it must have no
        side effects. Parameters that the server fills in may be given explicitly. Its
        own errors pass through, and nothing changes. Raises `Conflict` after many
        tries and two seconds, or after ten seconds of waiting for others in this
        process; `StateTooLarge`; `StateCorrupt` if it leaves the state in a shape that
        its declaration does not allow; RuntimeError inside an action of the same
        record. `OutcomeUnknown`, a `StoreUnavailable`, says that the change may be in;
        any other that it is not. Inside `atomic()` it stays if the block is rolled
        back: give it to `transaction.on_commit` if it depends on the block.
        """
        backend = get_backend(blocking=True)
        result: R = run(_dispatch(backend, self.key, self.cls, action, args, kwargs))
        return result

    async def adispatch(
        self,
        action: Callable[Concatenate[S, P], R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """See `dispatch`."""
        backend = get_backend(blocking=False)
        result: R = await _dispatch(backend, self.key, self.cls, action, args, kwargs)
        return result

    @async_unsafe("Inside an event loop: await areplace() instead.")
    def replace(self, state: S, *, base: str) -> str:
        """Store `state` if the record is still at rev `base`; return the new rev.

        Raises `Conflict` otherwise: for editors, who must see what changed meanwhile.
        Fields that another release of the site has stored stay.
        """
        backend = get_backend(blocking=True)
        return run(_replace(backend, self.key, self.cls, state, base))

    async def areplace(self, state: S, *, base: str) -> str:
        """See `replace`."""
        backend = get_backend(blocking=False)
        return await _replace(backend, self.key, self.cls, state, base)

    @async_unsafe("Inside an event loop: await atouch() instead.")
    def touch(self) -> bool:
        """Mark the participant as active now; False if there is no record."""
        return run(get_backend(blocking=True).touch(self.key))

    async def atouch(self) -> bool:
        """See `touch`."""
        return await get_backend(blocking=False).touch(self.key)

    @async_unsafe("Inside an event loop: await adelete() instead.")
    def delete(self) -> bool:
        """Remove this state; a later access starts afresh. False if there was none.

        The record's other states stay. Tabs that show it get a `reset`.
        """
        return run(_delete(get_backend(blocking=True), self.key, self.cls))

    async def adelete(self) -> bool:
        """See `delete`."""
        return await _delete(get_backend(blocking=False), self.key, self.cls)
