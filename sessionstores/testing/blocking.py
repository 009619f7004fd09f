"""Tabs for tests without an event loop: each has one of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..participants.participant import Participant
from ..state.declaration import State
from .receiving import EVERYBODY
from .tabs import Condition, PageTab, tab

T = TypeVar("T")


def blocking_tab(
    participant: Participant, **options: Any
) -> AbstractContextManager[BlockingTab]:
    """Open a tab from code without an event loop, and close it after the block.

    `options` are those of `tab`. The tab, and its connection in the server, run in a
    thread: so do the conditions that are given to `wait_until`.
    """
    return _Opening(participant, options)


class _Opening(AbstractContextManager["BlockingTab"]):
    """The block in which a tab is open."""

    def __init__(self, participant: Participant, options: dict[str, Any]) -> None:
        self._opened = _opened(participant, options)

    def __enter__(self) -> BlockingTab:
        return self._opened.__enter__()

    def __exit__(self, *exc: Any) -> bool | None:
        return self._opened.__exit__(*exc)

    if not TYPE_CHECKING:  # They know that there is none.

        def __aenter__(self) -> NoReturn:
            raise TypeError(
                "blocking_tab is for code without an event loop: with blocking_tab(…) "
                "as page. In a coroutine, async with tab(…) as page."
            )

        def __aexit__(self, *exc: object) -> None: ...


@contextmanager
def _opened(participant: Participant, options: dict[str, Any]) -> Iterator[BlockingTab]:
    with _loop_in_thread() as loop:
        page = BlockingTab(tab(participant, **options), loop)
        page.run(page.page.open())
        try:
            yield page
        finally:
            page.run(page.page.close())


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    started: Future[asyncio.AbstractEventLoop] = Future()
    stopping = asyncio.Event()

    def serve() -> None:
        with asyncio.Runner() as runner:
            started.set_result(runner.get_loop())
            runner.run(stopping.wait())

    thread = threading.Thread(target=serve, name="sessionstores-tab", daemon=True)
    thread.start()
    loop = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


class BlockingTab:
    """A `PageTab` whose methods block; `page` is that tab, with all that it knows."""

    def __init__(self, page: PageTab, loop: asyncio.AbstractEventLoop) -> None:
        self.page = page
        self._loop = loop

    if not TYPE_CHECKING:  # They know what there is.

        def __getattr__(self, name: str) -> NoReturn:
            page = vars(self).get("page")
            where = f": it is at .page.{name}" if hasattr(page, name) else ""
            raise AttributeError(f"A tab of blocking_tab has no {name!r}{where}")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the tab's event loop; return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def dispatch(
        self,
        state: str | type[State],
        action: str | Callable[..., Any],
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `PageTab.dispatch`."""
        return self.run(self.page.dispatch(state, action, args))

    def state(self, state: str | type[State]) -> Any:
        """See `PageTab.state`."""
        return self.page.state(state)

    def rev(self, document: str = "me") -> str | None:
        """See `PageTab.rev`."""
        return self.page.rev(document)

    def wait_until(self, condition: Condition, what: str = "") -> None:
        """See `PageTab.wait_until`."""
        self.run(self.page.wait_until(condition, what))

    def catch_up(self) -> None:
        """See `PageTab.catch_up`."""
        self.run(self.page.catch_up())

    def set_meta(self, data: Mapping[str, Any]) -> None:
        """See `PageTab.set_meta`."""
        self.run(self.page.set_meta(data))

    def watch(self, id: str = EVERYBODY) -> None:
        """See `PageTab.watch`."""
        self.run(self.page.watch(id))

    def watched(self, id: str, state: str | type[State]) -> Any:
        """See `PageTab.watched`."""
        return self.page.watched(id, state)

    def unwatch(self, id: str = EVERYBODY) -> None:
        """See `PageTab.unwatch`."""
        self.run(self.page.unwatch(id))

    def drop(self) -> None:
        """See `PageTab.drop`."""
        self.run(self.page.drop())

    def resume(self) -> None:
        """See `PageTab.resume`."""
        self.run(self.page.resume())

    def leave(self) -> None:
        """See `PageTab.leave`."""
        self.run(self.page.leave())
