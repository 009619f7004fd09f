"""Arguments of a test's calls, checked where they are given, each with a way out."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..backends.types import MAX_META_BYTES
from ..exceptions import InvalidKey
from ..keys import is_code
from ..participants.participant import Participant
from ..state.declaration import State, get_state
from ..state.json_rules import encode_portable


def shown(value: object) -> str:
    """Return a value as an error names it, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def participant_given(value: object, call: str, way_out: str) -> Participant:
    """Return `value` if it is a participant; raise TypeError for anything else."""
    if isinstance(value, Participant):
        return value
    if inspect.iscoroutine(value):
        value.close()
        way_out = f"await it first, as in {call}(await aparticipant())"
    raise TypeError(f"{call} takes a Participant, not {shown(value)}: {way_out}.")


def session_given(value: object) -> str:
    """Return the code of what stands first in `participant`; raise `InvalidKey`."""
    if isinstance(value, Participant):
        return value.session
    if is_code(value):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise InvalidKey(
        f"participant takes a session first, and {shown(value)} is none: give its "
        "code, six characters of A-Z and 0-9, or a Participant who is in it. The id "
        "comes second, as in participant(alice, 'bob') or participant(id='alice')."
    )


def by_name(values: object, what: str) -> dict[str, Any]:
    """Return a dict of what is given by name; raise TypeError for what is not."""
    if not values:
        return {}
    try:
        given: Any = values
        if not hasattr(values, "keys"):
            given = [*given]
            # A text of two characters would be a pair.
            if any(isinstance(each, str) for each in given):
                raise TypeError
        return dict(given)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} is {shown(values)}: give a dict by name, as in {{'card': 'ace'}}."
        ) from None


def sent_by_name(values: object, what: str) -> dict[str, Any]:
    """Return values by name as a page would send them; a copy.

    Raises TypeError for what is not by name, and for what is not JSON.
    """
    named = by_name(values, what)
    try:
        copied: dict[str, Any] = json.loads(json.dumps(named))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{what} is {shown(named)}, which no page can send: {error}. Give what "
            "JSON has: texts, numbers, booleans, None, lists and dicts."
        ) from None
    return copied


def meta_given(meta: object) -> dict[str, Any]:
    """Return what a tab is to show of itself; a copy.

    Raises TypeError for what no page can send, or no other would read, and ValueError
    past the bytes that the server takes: it would drop it.
    """
    given = sent_by_name(meta, "meta")
    size = len(encode_portable(given, "meta")) if given else 0
    if size > MAX_META_BYTES:
        raise ValueError(
            f"meta has {size} bytes, and others are shown at most {MAX_META_BYTES}: "
            "the server drops what is longer. Keep it in a state, by an action."
        )
    return given


def state_name(state: str | type[State]) -> str:
    """Return the name of a state; raise `UnknownState` for what is neither."""
    if isinstance(state, str):
        return state
    declared = getattr(state, "__sessionstores__", None)
    declared = declared or get_state(state).__sessionstores__
    return str(declared.name)


def action_name(action: str | Callable[..., Any]) -> str:
    """Return the name of an action; raise TypeError for what is no method."""
    name = action if isinstance(action, str) else getattr(action, "__name__", None)
    if isinstance(name, str):
        return name
    raise TypeError(
        f"{shown(action)} is no action: give the method, as in Board.move, or its "
        "name, as in 'move'."
    )


def condition_given(condition: object) -> None:
    """Raise TypeError for what `wait_until` cannot ask again and again."""
    if callable(condition) and not inspect.iscoroutinefunction(condition):
        return
    raise TypeError(
        f"wait_until takes a function, which it calls until that returns something "
        f"true, not {shown(condition)}: give a lambda, as in "
        "wait_until(lambda: page.ended), that awaits nothing."
    )


def is_met(condition: Callable[[], object]) -> bool:
    """Return whether a condition holds; raise TypeError if it always would."""
    found = condition()
    if inspect.isawaitable(found):
        if inspect.iscoroutine(found):
            found.close()
        raise TypeError(
            f"The condition of wait_until returned {shown(found)}, which would have "
            "to be awaited: give one that looks at what is there, as in "
            "wait_until(lambda: page.ended)."
        )
    return bool(found)


def seconds_given(seconds: Any, call: str) -> float:
    """Return a number of seconds from 0 on.

    Raises TypeError for what is no number, ValueError for one that time cannot take.
    """
    number: float | None = None
    if not isinstance(seconds, str | bytes):
        with suppress(TypeError, ValueError):
            number = float(seconds)
    if number is None:
        raise TypeError(
            f"{call} takes seconds as a number, as in {call}(300), not "
            f"{shown(seconds)}; of a timedelta, its total_seconds()."
        )
    if not 0 <= number < math.inf:
        raise ValueError(
            f"Time cannot go back, stop or jump to its end by {call}({seconds!r}): "
            "give seconds from 0 on."
        )
    return number
