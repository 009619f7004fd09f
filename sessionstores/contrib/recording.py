"""Recordings of the store calls that each request makes, for a panel that shows them.

They hold names, revs, sizes and times; no argument, value of a state or text of an
error, any of which may be secret. Nothing is wrapped before `instrument` is called, and
outside of a recorded request what is wrapped asks one context variable.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..backends import get_backend
from ..backends.base import Backend
from ..backends.types import Committed, Opened, Record, Stale, StateAtRev, Unchanged
from ..exceptions import ActionRejected, SessionStoresError
from ..keys import StoreKey, is_code, is_participant
from ..manager import StoreManager
from ..participants.people import PeopleManager
from ..state.declaration import State
from ..store import store, transactions
from ..store.calls import Outcome, name_of
from ..store.peeks import EverybodysPeeks
from ..store.store import Store

# Calls that a recording lists; those beyond it are only counted.
MAX_CALLS = 500


@dataclass(eq=False)
class RecordedCall:
    """A call of a store, or of `stores`, and what it led to; times in seconds.

    `base` and `rev` are its record's before and after a commit; without one they are
    equal, or unknown. `result` is "committed", "shared" (in one commit with other
    calls), "unchanged", "absent", "rejected", "failed" or "". `code` says why it was
    rejected or failed. `bytes` is the size of the states that the cache returned, and
    `steps` counts what it was asked for, by the backend's method. A `nested` call was
    made within another, by a receiver of its signals.
    """

    method: str = ""
    session: str = ""
    participant: str = ""
    state: str = ""
    action: str = ""
    base: str = ""
    rev: str = ""
    result: str = ""
    code: str = ""
    bytes: int = 0
    seconds: float = 0.0
    nested: bool = False
    is_over: bool = False
    steps: Counter[str] = field(default_factory=Counter)

    def settle(self, outcome: Outcome) -> None:
        """Note what a dispatch has led to."""
        self.base, self.rev = str(outcome.base), str(outcome.rev)
        if self.base == self.rev:
            self.result = "unchanged"
        else:
            self.result = "committed" if outcome.change else "shared"

    def finish(self, answer: object) -> None:
        """Note what any other call has returned."""
        if answer is None or answer is False:
            self.result = self.result or ("absent" if self.state else "")
        elif not self.session and is_code(answer):
            # create_session(): nothing else returns a code.
            self.session = answer

    def fail(self, error: BaseException) -> None:
        """Note that it has raised an error, whose text may quote anything."""
        self.result = "rejected" if isinstance(error, ActionRejected) else "failed"
        self.code = type(error).__name__
        if isinstance(error, SessionStoresError):
            self.code = str(error.code)

    def note_step(self, args: tuple[Any, ...], known: object, answer: object) -> None:
        """Note what the backend has answered."""
        self.bytes += _size(answer)
        if isinstance(answer, Committed):
            base, rev = args[:2]
            if self._is_mine(base.key):
                self.base, self.rev = str(base.rev), str(rev)
                self.result = "committed"
        elif isinstance(answer, Unchanged) and args and self._is_mine(args[0]):
            self.base = self.rev = str(known)
        elif (found := _record(answer)) and self._is_mine(found.key):
            self.base = self.rev = str(found.rev)

    def _is_mine(self, key: StoreKey) -> bool:
        return key == (self.session, self.participant or "*")


def _record(answer: object) -> Record | None:
    if isinstance(answer, Opened | Stale):
        return answer.record
    return answer if isinstance(answer, Record) else None


def _size(answer: object) -> int:
    """Return the bytes of the states in what the backend has answered."""
    if isinstance(answer, Opened) and answer.created:
        return 0
    if isinstance(answer, dict):
        found = [each for each in answer.values() if isinstance(each, StateAtRev)]
        return sum(len(each.data) for each in found)
    record = _record(answer)
    return record.bytes if record else 0


class Recording:
    """The calls of one request, in the order in which they began.

    `others` has the steps that were taken outside of them. Tasks and threads that
    outlive the request, and still have its context, add nothing.
    """

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self.left_out = 0
        self.others = RecordedCall()
        self.is_open = True

    @contextmanager
    def call(self, method: str, **names: Any) -> Iterator[RecordedCall]:
        """Record a call: the block. What it raises goes on."""
        outer = _call.get()
        call = RecordedCall(method, nested=_is_under_way(outer), **names)
        if len(self.calls) < MAX_CALLS:
            self.calls.append(call)
        else:
            self.left_out += 1
        _call.set(call)
        started = time.perf_counter()
        try:
            yield call
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            call.seconds = time.perf_counter() - started
            call.is_over = True
            _call.set(outer)

    @property
    def seconds(self) -> float:
        """The time of all listed calls but those within others."""
        return sum(call.seconds for call in self.calls if not call.nested)

    @property
    def bytes(self) -> int:
        """The size of all states that the cache returned."""
        return sum(call.bytes for call in (self.others, *self.calls))


_recording: ContextVar[Recording | None] = ContextVar(
    "sessionstores_recording", default=None
)
_call: ContextVar[RecordedCall | None] = ContextVar("sessionstores_call", default=None)
# Whether a method of the backend is under way: it may call others of its own.
_in_step: ContextVar[bool] = ContextVar("sessionstores_in_step", default=False)


def begin() -> tuple[Recording, Recording | None]:
    """Record what this context, and those that begin in it, do from now on.

    Returns the recording, and the one before, for `end`.
    """
    for blocking in (True, False):
        try:
            backend = get_backend(blocking=blocking)
        except ImproperlyConfigured:
            # Whoever uses a store is told.
            continue
        _observe(backend)
    before, recording = _recording.get(), Recording()
    _recording.set(recording)
    return recording, before


def end(recording: Recording, before: Recording | None) -> None:
    """Record no more; safe to repeat."""
    recording.is_open = False
    _recording.set(before)


def instrument() -> None:
    """Wrap what sites call; once, however often it is called."""
    for owner in (Store, StoreManager, PeopleManager, EverybodysPeeks):
        for name in _methods(owner):
            _wrap(owner, name, _recorded)
    # By both names that it is called by.
    for module in (store, transactions):
        _wrap(module, "transact", _recorded_dispatch)


def _methods(owner: type) -> list[str]:
    """Return the names of what does I/O: it has an async twin, or is a property.

    Dispatches are recorded where they, and those of forms, come together.
    """
    known = vars(owner)
    twins = [name for name in known if f"a{name}" in known and name != "dispatch"]
    properties = [name for name in known if isinstance(known[name], property)]
    return [*twins, *(f"a{name}" for name in twins), *properties]


def _wrap(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    function = vars(owner)[name]
    inner = function.fget if isinstance(function, property) else function
    if hasattr(inner, "is_recorded"):
        return
    wrapped = wrap(inner)
    wrapped.is_recorded = True
    is_property = isinstance(function, property)
    setattr(owner, name, property(wrapped) if is_property else wrapped)


def _active() -> Recording | None:
    recording = _recording.get()
    return recording if recording is not None and recording.is_open else None


def _is_under_way(call: RecordedCall | None) -> bool:
    return call is not None and not call.is_over


def _recorded(function: FunctionType) -> Callable[..., Any]:
    """Return a method of `Store` or `stores` that is recorded."""
    bind, name = inspect.signature(function).bind_partial, function.__name__

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            recording = _active()
            if recording is None:
                return await function(*args, **kwargs)
            with recording.call(name, **_names(bind, args, kwargs)) as call:
                answer = await function(*args, **kwargs)
                call.finish(answer)
            return answer

        return acall

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        recording = _active()
        if recording is None:
            return function(*args, **kwargs)
        with recording.call(name, **_names(bind, args, kwargs)) as call:
            answer = function(*args, **kwargs)
            call.finish(answer)
        return answer

    return call


def _names(
    bind: Callable[..., inspect.BoundArguments],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> dict[str, str]:
    """Return whom and what a call concerns; only what has the form of it."""
    if isinstance(args[0], Store):
        return _names_of(args[0].key, args[0].cls)
    try:
        given = bind(*args, **kwargs).arguments
    except TypeError:
        return {}
    code, id, cls = map(given.get, ("session", "participant", "state"))
    names = {}
    if is_code(code):
        names["session"] = code
    if is_participant(id):
        names["participant"] = id
    if isinstance(cls, type) and issubclass(cls, State):
        names["state"] = cls.__sessionstores__.name
    return names


def _names_of(key: StoreKey, cls: type[State]) -> dict[str, str]:
    id = "" if key.is_session else key.participant
    state = cls.__sessionstores__.name
    return {"session": key.session, "participant": id, "state": state}


def _recorded_dispatch(transact: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(transact)
    async def call(
        backend: Backend,
        key: StoreKey,
        cls: type[State],
        function: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Outcome:
        recording = _active()
        if recording is None:
            outcome: Outcome = await transact(
                backend, key, cls, function, *args, **kwargs
            )
            return outcome
        action = name_of(function)
        method = "dispatch" if backend.blocking else "adispatch"
        with recording.call(method, action=action, **_names_of(key, cls)) as call:
            outcome = await transact(backend, key, cls, function, *args, **kwargs)
            call.settle(outcome)
        return outcome

    return call


def _observe(backend: Backend) -> None:
    """Have the methods of a backend noted, once."""
    for name in dir(Backend):
        if name.startswith("_") or name == "pause" or name in vars(backend):
            continue
        if inspect.iscoroutinefunction(getattr(Backend, name)):
            setattr(backend, name, _step(name, getattr(backend, name)))


def _step(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def step(*args: Any, **kwargs: Any) -> Any:
        recording = _active()
        if recording is None or _in_step.get():
            return await method(*args, **kwargs)
        call = _call.get()
        if call is None or call.is_over:
            call = recording.others
        call.steps[name] += 1
        _in_step.set(True)
        try:
            answer = await method(*args, **kwargs)
        finally:
            _in_step.set(False)
        call.note_step(args, kwargs.get("known"), answer)
        return answer

    return step
