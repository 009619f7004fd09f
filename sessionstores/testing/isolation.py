"""Isolation of an action: whoever runs it, nobody else's state and tabs change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from difflib import unified_diff
from typing import Any

from asgiref.sync import async_to_sync

from ..backends import get_backend
from ..backends.types import Record
from ..concurrency.async_unsafe import async_unsafe
from ..keys import StoreKey
from ..manager import stores
from ..participants.participant import DEFAULT_ROLE, Participant
from ..realtime.consumers import StoreConsumer
from ..state import codec
from ..state.declaration import State, get_state, states_in
from .arguments import by_name, participant_given, shown
from .people import aparticipant
from .tabs import PageTab, tab

# Of all that a tab gets, this is nobody's state.
_OF_EVERYBODY = {"ping", "presence"}

Records = dict[str, Any]


@async_unsafe("Inside an event loop: await aassert_isolated(…) instead.")
def assert_isolated(
    state: str | type[State],
    action: str | Callable[..., Any],
    args: Mapping[str, Any] | None = None,
    *,
    by: Participant | None = None,
    role: str = DEFAULT_ROLE,
) -> None:
    """Run an action as one of several participants, and look at all that it changes.

    Raises AssertionError, with a diff, if that is more than the record of `by` (a new
    participant with `role`, in a new session, if left out), or for a state of the
    session, its record: if the record of anybody else changed, if a tab of anybody else
    got a frame, or if newcomers would begin with other states than before, as with an
    object that states share.

    `state` is the class, or its name. `action` is one of the state, by its name or as
    the method, and runs as a tab's, with `args`; or a callable, which is given the
    state as by `Store.dispatch`. Raises what the action raises, and TypeError for what
    is none of these. In coroutines, `await aassert_isolated(…)`.
    """
    async_to_sync(aassert_isolated)(state, action, args, by=by, role=role)


async def aassert_isolated(
    state: str | type[State],
    action: str | Callable[..., Any],
    args: Mapping[str, Any] | None = None,
    *,
    by: Participant | None = None,
    role: str = DEFAULT_ROLE,
) -> None:
    """See `assert_isolated`."""
    state = get_state(state)
    if not isinstance(action, str) and not callable(action):
        raise TypeError(
            f"assert_isolated takes a state and an action, and {shown(action)} is no "
            "action: give the method, as in Board.move, or its name, or a callable."
        )
    if by is None:
        actor = await aparticipant(role=role)
    else:
        actor = participant_given(by, "by", "by=participant()")
    others = [await aparticipant(actor) for _ in range(2)]
    shared = state.__sessionstores__.scope == "session"
    own = "*" if shared else actor.id
    async with AsyncExitStack() as stack:
        # Not through the site's routing, which is no concern of a state's.
        consumer = StoreConsumer.as_asgi()
        page, *pages = [
            await stack.enter_async_context(tab(each, application=consumer))
            for each in (actor, *others)
        ]
        for each in pages:
            await each.catch_up()
        seen = [len(each.frames) for each in pages]
        before, fresh = await _records(actor.session), _defaults()
        is_random = fresh != _defaults()
        await _run(page, state, action, args)
        for each in pages:
            await each.catch_up()
        after = await _records(actor.session)
        faults = [*_changes(before, after, besides=own)]
        if not is_random:
            faults += _changes({"a newcomer": fresh}, {"a newcomer": _defaults()})
        for each, start in zip(pages, seen, strict=True):
            faults += _strays(each, each.frames[start:], "session" if shared else None)
    if faults:
        name = action if isinstance(action, str) else _name_of(action)
        told = f"{state.__name__}: {name} by {actor.key} concerns others too."
        raise AssertionError("\n\n".join([told, *faults]))


def _name_of(action: Callable[..., Any]) -> str:
    """Return what a callable is called; not all have a name."""
    return str(getattr(action, "__qualname__", None) or shown(action))


async def _run(
    page: PageTab,
    state: type[State],
    action: str | Callable[..., Any],
    args: Mapping[str, Any] | None,
) -> None:
    name = action if isinstance(action, str) else getattr(action, "__name__", "")
    declared = state.__sessionstores__.actions.get(name)
    if isinstance(action, str) or (declared and declared.function is action):
        await page.dispatch(state, name, args)
        return
    shared = state.__sessionstores__.scope == "session"
    who = page.participant
    store = stores.get(state, who.session, None if shared else who.id)
    await store.adispatch(action, **by_name(args, "args"))


async def _records(code: str) -> Records:
    """Return the revs and states of all records of a session, by the participant."""
    backend = get_backend(blocking=False)
    ids = ["*", *(each.id for each in await backend.participants(code))]
    found = {}
    for id in ids:
        record = await backend.read(StoreKey.stored(code, id), touch=False)
        if isinstance(record, Record):
            states = {name: codec.plain(data) for name, data in record.states.items()}
            found[id] = {"rev": str(record.rev), "states": states}
    return found


def _defaults() -> Records:
    classes = (*states_in("participant"), *states_in("session"))
    encoded = codec.encode_defaults(classes)
    return {name: codec.plain(data) for name, data in encoded.items()}


def _changes(before: Records, after: Records, besides: str = "") -> Iterator[str]:
    for id in sorted({*before, *after} - {besides}):
        one, other = (_lines(records.get(id)) for records in (before, after))
        if one != other:
            name = "the session" if id == "*" else id
            names = f"{name}, before", f"{name}, after"
            yield "\n".join(unified_diff(one, other, *names, lineterm=""))


def _lines(value: object) -> list[str]:
    if value is None:
        return []
    return json.dumps(value, indent=2, ensure_ascii=False).splitlines()


def _strays(
    page: PageTab, frames: list[dict[str, Any]], document: str | None
) -> Iterator[str]:
    """Yield what a tab should not have got; all of a shared `document` it should."""
    for frame in frames:
        is_answer = frame["type"] == "snapshot" and "states" not in frame
        if is_answer or frame["type"] in _OF_EVERYBODY:
            continue
        if document is None or frame.get("doc") != document:
            shown = json.dumps(frame, ensure_ascii=False)
            yield f"A tab of {page.participant.id} got {shown}"
