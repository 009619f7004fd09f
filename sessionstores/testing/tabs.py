"""Tabs of tests: they speak the protocol as client.js does, without a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..exceptions import ActionRejected
from ..participants.participant import Participant
from ..state.declaration import State
from .arguments import (
    action_name,
    condition_given,
    is_met,
    meta_given,
    participant_given,
    sent_by_name,
    state_name,
)
from .documents import TabDocument
from .receiving import EVERYBODY, NOT_OPEN, OWN, WATCHED, TabReceiver
from .receiving import TabClosed as TabClosed
from .transports import GOING_AWAY, LOST, TabSocket, frame_text, open_socket

PATIENCE = 10.0
# Seconds between two looks at a condition, besides those at each frame.
POLL = 0.05
# Documents whose revs a hello may name.
MAX_KNOWN = 256
Condition = Callable[[], object]


def tab(
    participant: Participant,
    *,
    application: Any = None,
    url: str | None = None,
    path: str | None = None,
    origin: str | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    token: str | None = None,
    meta: Mapping[str, Any] | None = None,
    language: str | None = None,
    patience: float = PATIENCE,
) -> PageTab:
    """Return a tab of a participant's browser: `async with tab(alice) as page: …`.

    It talks to the site's ASGI_APPLICATION in this process and event loop (without that
    setting to our consumer alone), or to `application`; with a `url` such as
    `http://127.0.0.1:8000`, to a server that listens there, by the package websockets.
    `path` is that of our route, if the site has another; `origin` that of its pages,
    `http://testserver` by default. `token`: one that a page was given, in place of a
    new one. `meta`: what the tab shows of itself. `patience`: seconds for what the
    server has to answer. Raises TypeError and ValueError for what no page has.
    """
    participant_given(participant, "tab", "tab(participant())")
    socket = lambda: open_socket(  # noqa: E731 - each connection has its own
        application, url, path=path, origin=origin, headers=headers
    )
    return PageTab(
        participant,
        socket,
        token=token,
        meta=meta_given(meta),
        language=language,
        patience=patience,
    )


class PageTab(TabReceiver):
    """One tab, from `tab`; belongs to one event loop.

    `status`: "new", "live", "dropped" (it may `resume`) or "ended", for the reason
    `ended`. `closed`: the code with which the server has closed, if it has. `role` and
    `name` are what the server last said, `name` and `people` only if it knows them.
    `presence`: the metas of each participant who is present, by id; `people`: what else
    is shown of them. `messages`: what the site has sent. `frames`: all that the server
    has sent, in order. `resets`: the documents whose state the server had lost, once
    for each time. `watching`: the ids of those whom it watches, and "*" for everybody,
    of whom `participants` then holds name and role by id; `gone`: why there is nothing
    to be seen of somebody, by id.
    """

    def __init__(
        self,
        participant: Participant,
        socket: Callable[[], TabSocket],
        *,
        token: str | None = None,
        meta: dict[str, Any] | None = None,
        language: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(participant, token)
        self.patience = patience
        self.closed: int | None = None
        self._make_socket = socket
        self._socket: TabSocket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._meta = meta or {}
        self._language = language
        # Of the application, or of this tab.
        self._failure: Exception | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._pace: asyncio.TimerHandle | None = None

    # Connecting

    async def __aenter__(self) -> PageTab:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, and return when the first snapshots are here.

        Raises `TabClosed` if the server turns the tab away, and ConnectionError if it
        has no such socket.
        """
        if self.status != "new":
            raise RuntimeError(f"This tab is {self.status}; a tab opens once.")
        await self._connect()

    async def drop(self) -> None:
        """Lose the connection, as in a tunnel: what is on its way is lost too.

        Actions that are not answered, and those that are dispatched meanwhile, go out
        again when the tab resumes.
        """
        if self.status == "live":
            self.status = "dropped"
            await self._disconnect(LOST)

    async def resume(self) -> None:
        """Connect again, with what the tab has; return when it has caught up.

        Raises what `open` raises; after the end of a tab, RuntimeError.
        """
        if self.status == "new":
            raise RuntimeError(f"Nothing to resume: {NOT_OPEN}")
        if self.status != "dropped":
            raise RuntimeError(
                f"This tab is {self.status}; only one that was dropped can resume. "
                "Open another one, as a reload of the page does."
            )
        await self._connect()

    async def close(self) -> None:
        """Close the tab, as when its page is left; no goodbye."""
        if self.status != "ended":
            self.status = "ended"
            self.ended = "closed"
        await self._disconnect(GOING_AWAY)
        self._outbox.fail("session_ended", "The tab was closed.")
        self._wake()

    async def leave(self) -> None:
        """Say goodbye, and return when the server has closed."""
        await self._require_open()
        self._farewell = "left"
        self._say({"type": "bye"})
        await self.wait_until(lambda: self.closed is not None)

    async def _connect(self) -> None:
        self.closed, self._error, self._hint = None, {}, ""
        self._is_opening = True
        self._awaited = {*OWN, *(name for name in self._documents if self.rev(name))}
        if self._token is None:
            self._token = self.participant.token()
        socket = self._make_socket()
        await socket.open()
        self._socket = socket
        self._reading = asyncio.create_task(self._read(socket))
        self._hello()
        try:
            told = await self._until(lambda: self.closed or not self._awaited)
        except BaseException:
            await self.close()
            raise
        if not told:
            await self.close()
            raise TimeoutError(
                f"The server did not welcome the tab of {self.participant.key} within "
                f"{self.patience:g} s."
            )
        self._check_open()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.closed is not None:
            reason = self.ended or str(self._error.get("code", "closed"))
            message = self._error.get("message", "")
            raise self._told(TabClosed(self.closed, reason, message))

    def _hello(self) -> None:
        known = list(self._documents.items())[:MAX_KNOWN]
        hello = {
            "type": "hello",
            "token": self._token,
            "client": self._outbox.client,
            "have": {name: document.rev for name, document in known if document.rev},
            "runs": {name: document.run for name, document in known if document.run},
            "meta": self._meta,
        }
        if self._language is not None:
            hello["lang"] = self._language
        self._say(hello)

    async def _disconnect(self, code: int) -> None:
        socket, self._socket = self._socket, None
        reading, self._reading = self._reading, None
        self._forget_connection()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        if socket is not None:
            await socket.close(code)

    def _forget_connection(self) -> None:
        for timer in (self._gap, self._pace):
            if timer is not None:
                timer.cancel()
        self._gap = self._pace = None
        self._outbox.disconnect()
        for document in self._documents.values():
            document.forget()

    # Acting

    async def dispatch(
        self,
        state: str | type[State],
        action: str | Callable[..., Any],
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an action, and return its result once its effect is in this tab.

        By names, or by the class and its method. A dropped tab sends it when it
        resumes. Raises `ActionRejected`, with the code and the message that a page
        gets, for whatever refuses it, what the server has for developers as a note;
        TimeoutError after `patience` seconds; RuntimeError before the tab is open.
        """
        state, name = state_name(state), action_name(action)
        given = sent_by_name(args, "args")
        await self._require_open()
        if self.status == "ended":
            raise ActionRejected(self._farewell_text(), code="session_ended")
        future = self._outbox.add(state, name, given)
        self._flush()
        try:
            async with asyncio.timeout(self.patience):
                return await future
        except TimeoutError:
            raise TimeoutError(
                f"{state}.{name} of {self.participant.key} was not answered within "
                f"{self.patience:g} s; the tab is {self.status}."
            ) from None

    async def set_meta(self, data: Mapping[str, Any]) -> None:
        """Replace what the tab shows of itself to the others.

        Raises TypeError and ValueError for what they would not be shown.
        """
        self._meta = meta_given(data)
        if self.status == "live":
            self._say({"type": "meta", "data": self._meta})

    async def watch(self, id: str = EVERYBODY) -> None:
        """Follow another participant, or everybody, as far as this tab's role may.

        Returns when their states are here, or in `gone` why there are none. Raises
        `ActionRejected` for a refusal; a tab that resumes asks again.
        """
        await self._require_open()
        self.watching.add(id)
        self.gone.pop(id, None)
        self._refusals.clear()
        if id != EVERYBODY:
            self._documents.setdefault(WATCHED + id, TabDocument())
        self._say({"type": "watch", "participant": id})
        await self.wait_until(
            lambda: self._refusals.keys() & {id, ""} or self._is_watching(id),
            f"{id} to be watched",
        )
        for refusal in self._refusals.values():
            self._unwatch(id)
            error = ActionRejected(refusal["message"], code=refusal["code"])
            raise self._told(error)

    async def unwatch(self, id: str = EVERYBODY) -> None:
        """Follow them no more."""
        self._unwatch(id)
        self._say({"type": "unwatch", "participant": id})

    def _flush(self) -> None:
        """Send the actions that are not on their way, as fast as the server takes."""
        if self._pace is not None:
            self._pace.cancel()
            self._pace = None
        if self.status != "live":
            return
        frames, wait = self._outbox.take()
        for frame in frames:
            self._say(frame)
        if wait:
            loop = asyncio.get_running_loop()
            self._pace = loop.call_later(wait, self._flush)

    # Looking

    async def wait_until(self, condition: Condition, what: str = "") -> None:
        """Return when `condition()` is true, which is looked at after each frame.

        It raises AssertionError after `patience` seconds, and at once if the tab has
        ended and gets no more frames; `what` says in its text what was awaited. Raises
        TypeError for what is no function, or one whose result is to be awaited.
        """
        condition_given(condition)
        if not await self._until(condition):
            shown = {name: self._documents[name].states for name in OWN}
            raise AssertionError(
                f"The tab of {self.participant.key} waited in vain"
                f"{' for ' if what else ''}{what}: it is {self.status}"
                f"{f' ({self.ended})' if self.ended else ''}, with the states {shown}."
            )

    async def catch_up(self) -> None:
        """Return when all is here that the server had sent or stored before the call.

        So that a test can say that nothing came.
        """
        await self._require_open()
        for name, document in list(self._documents.items()):
            if name in OWN or document.rev is not None:
                self._sync(name)
        await self.wait_until(
            lambda: not any(each.asked for each in self._documents.values()),
            "snapshots",
        )

    async def _until(self, condition: Condition) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience
        while not is_met(condition):
            if self._failure is not None:
                raise self._failure
            if loop.time() > deadline or (self.status == "ended" and not self._reading):
                return is_met(condition)
            waiter = loop.create_future()
            self._waiters.add(waiter)
            await asyncio.wait([waiter], timeout=POLL)
            self._waiters.discard(waiter)
        return True

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Receiving

    def _say(self, frame: Mapping[str, Any]) -> None:
        if self._socket is not None:
            self._socket.send(frame_text(frame))

    async def _read(self, socket: TabSocket) -> None:
        code = LOST
        try:
            while isinstance(text := await socket.receive(), str):
                frame, hint = json.loads(text), ""
                if socket.is_told:
                    hint = frame.pop("hint", "")
                self._take(frame, hint)
                self._wake()
            code = text
            await socket.close(GOING_AWAY)
        except Exception as error:  # noqa: BLE001 - the site's own code may raise any
            self._failure = error
            self._farewell = "failed"
        self._lose(code)

    def _lose(self, code: int) -> None:
        self.closed = code
        self._socket = self._reading = None
        self._forget_connection()
        # As in client.js: other codes say that it may come back.
        if 4000 <= code < 4200 or self._farewell:
            self.status = "ended"
            told = self._error.get("code", f"closed_{code}")
            self.ended = self._farewell or str(told)
            self._outbox.fail("session_ended", self._farewell_text())
        else:
            self.status = "dropped"
        self._wake()
