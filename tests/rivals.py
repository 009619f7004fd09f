"""Commits of another process: they wait for nobody's turn in this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Committed, Record
from sessionstores.state import codec
from sessionstores.state.declaration import State
from sessionstores.store.store import Store

S = TypeVar("S", bound=State)


def overtake(store: Store[S], edit: Callable[[S], Any]) -> None:
    """Change a state now, whoever is about to commit."""
    backend = get_backend(blocking=True)
    record = run(backend.read(store.key))
    assert isinstance(record, Record)
    name = store.cls.__sessionstores__.name
    state = codec.decode(store.cls, record.states[name])
    edit(state)
    states = {name: codec.encode(state)}
    answer = run(backend.commit(record, record.rev.next(), states))
    assert isinstance(answer, Committed)
