"""What is public stays importable from where it is documented, and nothing else is."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import sessionstores
from sessionstores.exceptions import SessionStoresError
from sessionstores.manager import StoreManager

PUBLIC = [
    "ActionRejected",
    "Alert",
    "Attendee",
    "Conflict",
    "ErrorReport",
    "Health",
    "InsideTransaction",
    "InvalidArguments",
    "InvalidKey",
    "InvalidToken",
    "Kicked",
    "LastSweep",
    "LimitReached",
    "OutcomeUnknown",
    "Participant",
    "ParticipantRequiredMixin",
    "Person",
    "Process",
    "Quarantined",
    "Sample",
    "ServerInfo",
    "SessionEnded",
    "SessionLocked",
    "SessionStoresError",
    "SessionSummary",
    "Snapshot",
    "State",
    "StateCorrupt",
    "StateTooLarge",
    "Stats",
    "Store",
    "StoreKey",
    "StoreUnavailable",
    "Sweep",
    "UnknownAction",
    "UnknownSession",
    "UnknownState",
    "Worker",
    "action",
    "ajoin",
    "aleave",
    "field",
    "injected",
    "join",
    "leave",
    "normalize_code",
    "participant_required",
    "stores",
]
# Public by its module: the name that sites use there.
PATHS = {
    "sessionstores.converters": ["SessionCodeConverter"],
    "sessionstores.forms": ["JoinForm"],
    "sessionstores.fragments": ["FragmentConsumer"],
    "sessionstores.middleware": ["ParticipantMiddleware", "ParticipantRequest"],
    "sessionstores.routing": ["websocket_urlpatterns"],
    "sessionstores.signals": [
        "participant_joined",
        "participant_left",
        "participant_removed",
        "session_ended",
        "state_quarantined",
        "store_changed",
        "store_created",
        "store_warning",
    ],
    "sessionstores.admin": ["LiveSessionAdmin"],
    "sessionstores.models": ["LiveSession"],
    "sessionstores.testing": [
        "BlockingTab",
        "LossyLayer",
        "PageTab",
        "SessionStoresTestMixin",
        "TabClosed",
        "aassert_isolated",
        "advance",
        "aparticipant",
        "assert_isolated",
        "blocking_tab",
        "isolated_stores",
        "participant",
        "tab",
    ],
    "sessionstores.urls": ["urlpatterns"],
    "sessionstores.views": ["JoinView"],
    "sessionstores.templatetags.sessionstores": ["register"],
}
ROOTS = (StoreManager, sessionstores.Store, sessionstores.Participant)


def test_the_names_of_the_package_are_these() -> None:
    assert sorted(sessionstores.__all__) == PUBLIC
    for name in PUBLIC:
        assert hasattr(sessionstores, name)


@pytest.mark.parametrize("module", PATHS)
def test_public_paths_can_be_imported(module: str) -> None:
    found = import_module(module)
    for name in PATHS[module]:
        assert hasattr(found, name)


def test_the_names_for_tests_are_these() -> None:
    module = import_module("sessionstores.testing")
    assert sorted(module.__all__) == PATHS["sessionstores.testing"]
    with pytest.raises(AttributeError, match="no attribute 'tabb'"):
        module.tabb  # noqa: B018 - there is none


def own_types(hint: Any) -> Iterator[type]:
    """Yield the classes of this package that a hint is made of."""
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and origin.__module__.startswith("sessionstores"):
        yield origin
    for part in typing.get_args(hint):
        yield from own_types(part)


def hints_of(cls: type) -> Iterator[Any]:
    """Yield what the public methods and properties of a class return and take."""
    for name, member in inspect.getmembers(cls):
        if name.startswith("_"):
            continue
        function = member.fget if isinstance(member, property) else member
        if inspect.isroutine(function) and hasattr(function, "__annotations__"):
            yield from typing.get_type_hints(function).values()


def returned_types() -> set[type]:
    """Return our types that public methods return, and those of their fields."""
    found: set[type] = set()
    pending = [
        each for root in ROOTS for hint in hints_of(root) for each in own_types(hint)
    ]
    while pending:
        cls = pending.pop()
        if cls in found:
            continue
        found.add(cls)
        for name, hint in typing.get_type_hints(cls).items():
            if not name.startswith("_"):
                pending += own_types(hint)
    return found


def test_whatever_public_methods_return_can_be_imported() -> None:
    found = {cls.__name__: cls for cls in returned_types()}
    assert {"Stats", "Sweep", "Attendee", "Snapshot", "Store", "Sample"} <= set(found)
    missing = [
        name
        for name, cls in found.items()
        if getattr(sessionstores, name, None) is not cls
    ]
    assert missing == []


def test_every_error_can_be_imported() -> None:
    def below(cls: type) -> Iterator[type]:
        yield cls
        for child in cls.__subclasses__():
            yield from below(child)

    ours = [
        cls
        for cls in below(SessionStoresError)
        if cls.__module__ == SessionStoresError.__module__
    ]
    assert len(ours) > 15
    for cls in ours:
        assert getattr(sessionstores, cls.__name__) is cls
