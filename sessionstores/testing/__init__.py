"""Tests of a site: fresh stores in memory, participants, and tabs over the protocol."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .people import aparticipant, participant
from .stores import SessionStoresTestMixin, advance, isolated_stores

if TYPE_CHECKING:
    from .blocking import BlockingTab, blocking_tab
    from .isolation import aassert_isolated, assert_isolated
    from .layers import LossyLayer
    from .tabs import PageTab, TabClosed, tab

__all__ = [
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
]

# Those that need Channels are imported when they are used.
_LATER = {
    "BlockingTab": "blocking",
    "LossyLayer": "layers",
    "PageTab": "tabs",
    "TabClosed": "tabs",
    "aassert_isolated": "isolation",
    "assert_isolated": "isolation",
    "blocking_tab": "blocking",
    "tab": "tabs",
}


if not TYPE_CHECKING:  # It would have type checkers accept any name.

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
