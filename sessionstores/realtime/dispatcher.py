"""A tab's actions: run one after the other, each answered once and run at most once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec

from .. import conf
from ..backends.base import Attempt
from ..exceptions import (
    ActionRejected,
    LimitReached,
    OutcomeUnknown,
    SessionStoresError,
    StoreUnavailable,
)
from ..participants.participant import Participant
from ..participants.tokens import Claims
from ..state.declaration import State, get_action, get_state
from ..store.transactions import Outcome, perform
from . import protocol
from .connection import Connection, public
from .document import Document

logger = logging.getLogger("sessionstores.delivery")

# Refusals that are remembered of each client and document; a tab has fewer actions
# unanswered.
MAX_REFUSALS = 128


class Bucket:
    """Full at first; each `take` empties it by one, `rate` a second fill it up."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """Take one out; False if less than one is left."""
        now = time.monotonic()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    def delay(self) -> float:
        """Return the seconds after which there will be one to take."""
        return max(0.0, (1 - self._level) / self.rate)


class Dispatcher:
    """Runs the actions that one connection's reader takes in."""

    __slots__ = ("_actor", "_bucket", "_claims", "_connection", "_heard", "_refused")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._claims: Claims | None = None
        rate = conf.get().rate_limit
        self._bucket = Bucket(*rate) if rate else None
        # What was refused and may be sent again, by who numbered it and document:
        # every commit carries it, so that it is refused again.
        self._refused: dict[tuple[str, Document], dict[int, str]] = {}
        self._heard: list[tuple[tuple[str, Document], int]] = []

    async def take(self, frame: protocol.ActionFrame) -> None:
        """Run an action and answer it; nothing that it raises gets past the answer."""
        connection = self._connection
        connection.busy = True
        document: Document | None = None
        try:
            bucket = self._bucket
            emptied = None if bucket is None or bucket.take() else bucket
            cls = get_state(frame.state)
            scope = cls.__sessionstores__.scope
            # Before anything is refused: a refusal is remembered by its document, and
            # one that is not counts as done once a later action commits.
            document = connection.names["session" if scope == "session" else "me"]
            if emptied is not None:
                await self._slow_down(emptied, frame)
            outcome = await self._run(frame, cls, document)
        except SessionStoresError as error:
            text = self._refuse(frame, document, error)
        except Exception as error:
            where = f"{frame.state}.{frame.action}"
            logger.exception("%s: action %s failed", connection.key, where)
            text = self._refuse(frame, document, error)
        else:
            text = self._acknowledge(frame, document, outcome)
        finally:
            connection.busy = False
        if connection.closing is None:
            name = None if document is None else document.name
            await connection.outbox.reply(text, name)

    def confirm(self) -> None:
        """Take note of a pong: the tab knows what was refused before its ping."""
        if not self._refused:
            return
        for place, id in self._heard:
            self._refused.get(place, {}).pop(id, None)
        self._refused = {place: ids for place, ids in self._refused.items() if ids}
        # Only if no ping is open now will the next pong be for a later one.
        calm = self._connection.outbox.asked is None
        self._heard = [
            (place, id) for place, ids in self._refused.items() for id in ids if calm
        ]

    async def _slow_down(self, bucket: Bucket, frame: protocol.ActionFrame) -> None:
        if frame.client is None:
            raise LimitReached(
                f"More than {bucket.rate:g} actions a second; wait a little."
            )
        # It may have taken effect when it was first sent: then no refusal is true.
        await asyncio.sleep(bucket.delay())
        bucket.take()

    async def _run(
        self, frame: protocol.ActionFrame, cls: type[State], document: Document
    ) -> Outcome:
        connection = self._connection
        claims = connection.claims
        if claims is not self._claims:
            self._claims = claims
            self._actor = Participant(claims.session, claims.participant, claims.role)
        action = get_action(cls, frame.action)
        if action.roles and claims.role not in action.roles:
            raise ActionRejected(
                f"{action.name} is not for the role {claims.role!r}.", code="forbidden"
            )
        client = self._numbered(frame, document)
        return await perform(
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

    def _numbered(self, frame: protocol.ActionFrame, document: Document) -> str:
        """Return the name under which the record counts this client's ids."""
        client = frame.client or self._connection.client
        if not document.key.is_session:
            return client
        # All write to the session's record: nobody may use up another's ids.
        return f"{self._connection.key.participant}/{client}"

    def _refuse(
        self, frame: protocol.ActionFrame, document: Document | None, error: Exception
    ) -> str:
        code, message = "internal", "The server failed; nothing was changed."
        if isinstance(error, SessionStoresError):
            code, message = public(error)
        if document is not None:
            place = self._numbered(frame, document), document
            refused = self._refused.setdefault(place, {})
            # The next commit carries it only if the record shows that it is not in.
            refused[frame.id] = code
            if len(refused) > MAX_REFUSALS:
                del refused[next(iter(refused))]
        if isinstance(error, OutcomeUnknown) or (
            # It may have taken effect when it was first sent.
            isinstance(error, StoreUnavailable) and frame.client is not None
        ):
            code = "outcome_unknown"
            message = "The server got no answer: it may have taken effect, or not."
        return protocol.reject(frame.id, code, message)

    def _acknowledge(
        self, frame: protocol.ActionFrame, document: Document, outcome: Outcome
    ) -> str:
        base = str(outcome.base)
        if document.forks(base, outcome.rev):
            self._connection.refresh(document)
        document.reach(base, outcome.rev)
        return protocol.ack(
            frame.id,
            document.name,
            base,
            str(outcome.rev),
            b"[]" if outcome.change is None else outcome.change.operations,
            None if outcome.repeated else self._encode(frame, outcome.result),
        )

    def _encode(self, frame: protocol.ActionFrame, result: Any) -> bytes:
        if result is None:
            return b"null"
        try:
            return msgspec.json.encode(result)
        except (TypeError, ValueError, RecursionError):
            # It has taken effect, so it is acknowledged all the same.
            where = f"{frame.state}.{frame.action}"
            logger.exception("%s returned what is not JSON", where)
            return b"null"
