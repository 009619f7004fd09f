"""Dispatcher: runs a tab's actions in sequence, each at most once, and answers it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec

from .. import conf
from ..backends.types import Attempt
from ..exceptions import (
    ActionRejected,
    LimitReached,
    OutcomeUnknown,
    SessionStoresError,
    StoreUnavailable,
    UnknownState,
)
from ..participants.participant import Participant
from ..participants.tokens import Claims
from ..state.declaration import get_action, get_state
from ..store.transactions import Outcome, perform
from . import protocol
from .connection import Connection, public_error
from .document import Document

logger = logging.getLogger("sessionstores.delivery")

# Refusals remembered of each client and document; a tab has fewer open actions.
MAX_REFUSALS = 128


class TokenBucket:
    """Token bucket: starts full with `burst` tokens, refills at `rate` per second."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = time.monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def delay(self) -> float:
        """Return the seconds until there is a token."""
        return max(0.0, (1 - self._level) / self.rate)


class Dispatcher:
    """Runs the actions that one connection's reader receives."""

    __slots__ = (
        "_actor",
        "_bucket",
        "_claims",
        "_connection",
        "_documents",
        "_pinged",
        "_refused",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By the scope of the states in them.
        names = connection.names
        self._documents = {"participant": names["me"], "session": names["session"]}
        self._claims: Claims | None = None
        rate = conf.get().rate_limit
        self._bucket = TokenBucket(*rate) if rate else None
        # Refused actions that the tab may send again, by numbering client and document:
        # every commit carries them, so that they are refused again.
        self._refused: dict[tuple[str, Document], dict[int, str]] = {}
        # Those of them that were answered before the ping that is open.
        self._pinged: list[tuple[tuple[str, Document], int]] = []

    async def run(self, frame: protocol.ActionFrame) -> None:
        """Run an action and answer it; whatever it raises becomes the answer."""
        connection = self._connection
        connection.busy = True
        try:
            document, outcome = await self._run(frame)
        except Exception as error:  # noqa: BLE001 - it is logged there
            name: str | None
            name, text = self._refuse(frame, error)
        else:
            name, base = document.name, str(outcome.base)
            if document.advance(base, outcome.rev):
                connection.outbox.refresh(name)
            if document.key.is_session and outcome.change is not None:
                connection.acted = True
            result = None if outcome.repeated else b"null"
            if outcome.result is not None:
                result = _encode(frame, outcome.result)
            change = outcome.change
            ops = b"[]" if change is None else change.operations
            text = protocol.ack(frame.id, name, base, str(outcome.rev), ops, result)
        finally:
            connection.busy = False
        if connection.closing is None:
            await connection.outbox.reply(text, name)

    def confirm(self) -> None:
        """Handle a pong: the tab has received what was refused before its ping."""
        if not self._refused:
            return
        for place, id in self._pinged:
            self._refused.get(place, {}).pop(id, None)
        self._refused = {place: ids for place, ids in self._refused.items() if ids}
        # Only if no ping is open now will the next pong be for a later one.
        calm = self._connection.outbox.asked is None
        self._pinged = [
            (place, id) for place, ids in self._refused.items() for id in ids if calm
        ]

    async def _run(self, frame: protocol.ActionFrame) -> tuple[Document, Outcome]:
        """Run an action; return its document and what it led to."""
        connection = self._connection
        bucket = self._bucket
        emptied = None if bucket is None or bucket.take() else bucket
        cls = get_state(frame.state)
        # Before anything is refused: refusals are remembered by document, and one that
        # is not remembered would count as done once a later action commits.
        document = self._documents[cls.__sessionstores__.scope]
        if emptied is not None:
            await self._slow_down(emptied, frame)
        action = get_action(cls, frame.action)
        claims = connection.claims
        if claims is not self._claims:
            self._claims = claims
            self._actor = Participant(claims.session, claims.participant, claims.role)
        if action.roles and claims.role not in action.roles:
            raise ActionRejected(
                f"{action.name} is not for the role {claims.role!r}.", code="forbidden"
            )
        client = document.numbering + (frame.client or connection.client)
        outcome = await perform(
            connection.backend,
            document.key,
            cls,
            action,
            action.decode(bytes(frame.args)),
            actor=self._actor,
            attempt=Attempt(
                client, frame.id, self._refused.get((client, document), {})
            ),
            source=connection.id,
        )
        return document, outcome

    async def _slow_down(
        self, bucket: TokenBucket, frame: protocol.ActionFrame
    ) -> None:
        if frame.client is None:
            raise LimitReached(
                f"More than {bucket.rate:g} actions a second; wait a little."
            )
        # It may have taken effect when it was first sent: a refusal could be wrong.
        await asyncio.sleep(bucket.delay())
        bucket.take()

    def _refuse(
        self, frame: protocol.ActionFrame, error: Exception
    ) -> tuple[str | None, str]:
        """Remember a refusal; return the name of the document, and the reject."""
        if isinstance(error, SessionStoresError):
            code, message = public_error(error)
        else:
            code, message = "internal", "The server failed; nothing was changed."
            where = f"{frame.state}.{frame.action}"
            logger.error(
                "%s: action %s failed", self._connection.key, where, exc_info=error
            )
        document = self._document_of(frame)
        if document is not None:
            client = document.numbering + (frame.client or self._connection.client)
            refused = self._refused.setdefault((client, document), {})
            # The next commit carries it, unless the record shows that the action took
            # effect.
            refused[frame.id] = code
            if len(refused) > MAX_REFUSALS:
                del refused[next(iter(refused))]
        if isinstance(error, OutcomeUnknown) or (
            # It may have taken effect when it was first sent.
            isinstance(error, StoreUnavailable) and frame.client is not None
        ):
            code = "outcome_unknown"
            message = (
                "The server's cache gave no answer: "
                "the action may or may not have taken effect."
            )
        name = None if document is None else document.name
        return name, protocol.reject(frame.id, code, message)

    def _document_of(self, frame: protocol.ActionFrame) -> Document | None:
        """Return the document that an action changes; None: the state is unknown."""
        try:
            return self._documents[get_state(frame.state).__sessionstores__.scope]
        except UnknownState:
            return None


def _encode(frame: protocol.ActionFrame, result: Any) -> bytes:
    try:
        return msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError):
        # It has taken effect, so it is acknowledged all the same.
        where = f"{frame.state}.{frame.action}"
        logger.exception("%s returned what is not JSON", where)
        return b"null"
