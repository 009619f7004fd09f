"""Tabs for tests without an event loop: each call runs the tab's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..participants.participant import Participant
from ..state.declaration import State
from .tabs import Condition, PageTab, tab


@contextmanager
def blocking_tab(participant: Participant, **options: Any) -> Iterator[BlockingTab]:
    """Open a tab from code without an event loop, and close it after the block.

    `options` are those of `tab`. The tab and its connection in the server live while
    one of its methods runs: call `wait_until` for what others do.
    """
    with asyncio.Runner() as runner:
        page = tab(participant, **options)
        runner.run(page.open())
        try:
            yield BlockingTab(page, runner)
        finally:
            runner.run(page.close())


class BlockingTab:
    """A `PageTab` whose methods block; `page` is that tab, with all that it knows."""

    def __init__(self, page: PageTab, runner: asyncio.Runner) -> None:
        self.page = page
        self._runner = runner

    def dispatch(
        self,
        state: str | type[State],
        action: str | Callable[..., Any],
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `PageTab.dispatch`."""
        return self._runner.run(self.page.dispatch(state, action, args))

    def state(self, state: str | type[State]) -> Any:
        """See `PageTab.state`."""
        return self.page.state(state)

    def wait_until(self, condition: Condition, what: str = "") -> None:
        """See `PageTab.wait_until`."""
        self._runner.run(self.page.wait_until(condition, what))

    def set_meta(self, data: Mapping[str, Any]) -> None:
        """See `PageTab.set_meta`."""
        self._runner.run(self.page.set_meta(data))

    def drop(self) -> None:
        """See `PageTab.drop`."""
        self._runner.run(self.page.drop())

    def resume(self) -> None:
        """See `PageTab.resume`."""
        self._runner.run(self.page.resume())

    def leave(self) -> None:
        """See `PageTab.leave`."""
        self._runner.run(self.page.leave())
