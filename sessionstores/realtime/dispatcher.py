"""Dispatcher: runs a tab's actions in sequence, each at most once, and answers it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from django.utils.translation import gettext_lazy as _

from .. import conf
from ..backends.client_entries import OUTCOME_UNKNOWN, has_run
from ..backends.types import Attempt, Record
from ..exceptions import (
    MESSAGES,
    ActionRejected,
    Conflict,
    InvalidArguments,
    Kicked,
    LimitReached,
    OutcomeUnknown,
    SessionStoresError,
    StoreUnavailable,
    Text,
    UnknownState,
)
from ..monitoring import failures
from ..state.declaration import Action, State, get_action, get_state
from ..state.json_rules import encode_portable, portable_text
from ..store.calls import Outcome
from ..store.transactions import perform
from . import protocol
from .connection import Connection
from .document import Document
from .error_frames import count_error, reject_frame
from .token_bucket import TokenBucket

logger = logging.getLogger("sessionstores.delivery")

# Remembered of each client and document; a tab has fewer open actions.
MAX_ANSWERS = 128
# Clients and documents: a tab has two of its own, and those of the pages before it.
MAX_PLACES = 16

TOO_FAST = _("That was too fast. Wait a moment, then try again.")
_FAILED = _(
    "Something went wrong on the server, and nothing was changed. Try again; if it "
    "stays so, tell whoever runs the session."
)

# A client, as the record of a document counts its actions, and the document's name.
Place = tuple[str, str]


class _Told:
    """What was answered of one client's actions in one document, by id."""

    __slots__ = ("rejected", "unchanged")

    def __init__(self) -> None:
        # The codes of refusals, and the ids of what ran and changed nothing.
        self.rejected: dict[int, str] = {}
        self.unchanged: dict[int, None] = {}


class Answers:
    """Answers of one connection that its tab may ask for again, on any other.

    Commits take them along to the record, so that they are given again. They are
    forgotten once the tab has them, or if there are too many. A refusal that is
    forgotten loses no more than its code: the record knows that no commit carried the
    action. Of what changed nothing it does not, so that it is unknown from then on.
    """

    __slots__ = ("_heard", "_lost", "_newest", "_pinged", "_pinged_newest", "_told")

    def __init__(self) -> None:
        self._told: dict[Place, _Told] = {}
        # What was given before the ping that is open.
        self._pinged: list[tuple[Place, int]] = []
        # Of the tab's own actions: the newest that ran, the newest of those before the
        # open ping, and the newest whose answer has arrived.
        self._newest = self._pinged_newest = self._heard = 0
        # The newest that changed nothing and is forgotten.
        self._lost = 0

    def attempt(self, place: Place, id: int, *, own: bool, resent: bool) -> Attempt:
        """Return an attempt at an action of a client, with what is known before it.

        `own`: the connection numbers its new actions as that client.
        """
        floor = self._lost
        if own:
            floor = max(floor, self._heard)
            self._newest = max(self._newest, id)
        told = self._told.get(place) or _NOTHING
        return Attempt(place[0], id, told.rejected, told.unchanged, floor, resent)

    def refused(self, place: Place, id: int, code: str) -> None:
        """Remember a refusal."""
        told = self._told_at(place)
        told.rejected[id] = code
        if len(told.rejected) > MAX_ANSWERS:
            del told.rejected[next(iter(told.rejected))]

    def unchanged(self, place: Place, id: int) -> None:
        """Remember that an action ran and changed nothing."""
        told = self._told_at(place)
        told.unchanged[id] = None
        if len(told.unchanged) > MAX_ANSWERS:
            oldest = next(iter(told.unchanged))
            del told.unchanged[oldest]
            self._lost = max(self._lost, oldest)

    def confirm(self, *, is_calm: bool) -> None:
        """Note that what was sent before the open ping has arrived.

        `is_calm`: no other ping is open, so that the next pong is for a later one.
        """
        self._heard = self._pinged_newest
        for place, id in self._pinged:
            if told := self._told.get(place):
                told.rejected.pop(id, None)
                told.unchanged.pop(id, None)
        self._told = {
            place: told
            for place, told in self._told.items()
            if told.rejected or told.unchanged
        }
        self._pinged = []
        if is_calm:
            self._pinged_newest = self._newest
            self._pinged = [
                (place, id)
                for place, told in self._told.items()
                for id in (*told.rejected, *told.unchanged)
            ]

    def _told_at(self, place: Place) -> _Told:
        told = self._told.get(place)
        if told is None:
            if len(self._told) >= MAX_PLACES:
                oldest = self._told.pop(next(iter(self._told)))
                self._lost = max(self._lost, *oldest.unchanged, 0)
            told = self._told[place] = _Told()
        return told


_NOTHING = _Told()


class Dispatcher:
    """Runs the actions that one connection's reader receives."""

    __slots__ = (
        "_answers",
        "_bucket",
        "_connection",
        "_documents",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By the scope of the states in them.
        names = connection.names
        self._documents = {"participant": names["me"], "session": names["session"]}
        rate = conf.get().rate_limit
        self._bucket = TokenBucket(*rate) if rate else None
        self._answers = Answers()

    async def run(self, frame: protocol.ActionFrame) -> None:
        """Run an action and answer it; whatever it raises becomes the answer."""
        connection = self._connection
        connection.busy = True
        try:
            document, outcome = await self._run(frame)
        except Exception as error:  # noqa: BLE001 - it is logged there
            name: str | None
            name, text = self._refuse(frame, error)
            if isinstance(error, Kicked):
                connection.kick()
        else:
            name, text = document.name, ""
            if document.key.is_session and outcome.base != outcome.rev:
                connection.acted = True
            if not outcome.answered:
                text = self._acknowledge(frame, document, outcome)
        finally:
            connection.busy = False
        if connection.closing is not None:
            return
        if text:
            await connection.outbox.reply(text, name)
        else:
            await connection.outbox.flush()

    def _post(
        self, frame: protocol.ActionFrame, document: Document, outcome: Outcome
    ) -> None:
        """Acknowledge an action of a group, ahead of the group's patch."""
        text = self._acknowledge(frame, document, outcome)
        if self._connection.closing is None:
            self._connection.outbox.post(text)

    def _acknowledge(
        self, frame: protocol.ActionFrame, document: Document, outcome: Outcome
    ) -> str:
        """Return the ack of an action that was not refused."""
        result = None if outcome.repeated else b"null"
        if outcome.result is not None:
            result = _encode(frame, outcome.result)
        name, rev, change = document.name, str(outcome.rev), outcome.change
        if change is None and outcome.base != outcome.rev:
            # The patch that carries it, with others, follows for all tabs.
            return protocol.ack(frame.id, name, None, rev, None, result)
        base = str(outcome.base)
        if base == rev and not outcome.repeated:
            self._answers.unchanged(self._place(document, frame), frame.id)
        if document.advance(base, outcome.rev):
            self._connection.outbox.refresh(name)
        ops = b"[]" if change is None else change.operations
        return protocol.ack(frame.id, name, base, rev, ops, result)

    def confirm(self) -> None:
        """Handle a pong: the tab has received what was sent before its ping."""
        self._answers.confirm(is_calm=self._connection.outbox.asked is None)

    async def _run(self, frame: protocol.ActionFrame) -> tuple[Document, Outcome]:
        """Run an action; return its document and what it led to."""
        connection = self._connection
        try:
            document, cls, action, arguments = await self._prepare(frame)
            outcome = await perform(
                connection.backend,
                document.key,
                cls,
                action,
                arguments,
                actor=connection.actor,
                attempt=self._attempt(document, frame),
                source=connection.id,
                answer=partial(self._post, frame, document),
            )
        except StoreUnavailable:
            raise
        except SessionStoresError:
            # What another process ran need not be known here, or allowed any more; and
            # who waits for a turn in vain has not been looked up.
            if frame.client is not None and (found := await self._recall(frame)):
                return found
            raise
        return document, outcome

    async def _prepare(
        self, frame: protocol.ActionFrame
    ) -> tuple[Document, type[State], Action, dict[str, Any]]:
        """Return what a frame asks for, if its sender may have that now."""
        bucket = self._bucket
        if bucket is not None and not bucket.take():
            await self._slow_down(bucket, frame)
        cls = get_state(frame.state)
        action = get_action(cls, frame.action)
        if action.roles:
            action.check_role(self._connection.actor.role)
        document = self._documents[cls.__sessionstores__.scope]
        return document, cls, action, action.decode(bytes(frame.args))

    async def _recall(
        self, frame: protocol.ActionFrame
    ) -> tuple[Document, Outcome] | None:
        """Return what an action led to when it was first sent; None: it did not run.

        Raises `ActionRejected` if that is not known.
        """
        unknown: ActionRejected | None = None
        for document in self._documents_of(frame):
            record = await self._connection.backend.read(document.key, touch=False)
            if not isinstance(record, Record):
                continue
            try:
                if has_run(record.clients, self._attempt(document, frame)):
                    return document, Outcome(record.rev, record.rev, repeated=True)
            except ActionRejected as refusal:
                if refusal.code == OUTCOME_UNKNOWN:
                    unknown = refusal
        if unknown is not None:
            raise unknown
        return None

    async def _slow_down(
        self, bucket: TokenBucket, frame: protocol.ActionFrame
    ) -> None:
        if frame.client is None:
            raise LimitReached(
                f"More than {bucket.rate:g} actions a second, all that RATE_LIMIT "
                "allows; pace them.",
                message=TOO_FAST,
            )
        # It may have taken effect when it was first sent: a refusal could be wrong.
        await asyncio.sleep(bucket.delay())
        bucket.take()

    def _refuse(
        self, frame: protocol.ActionFrame, error: Exception
    ) -> tuple[str | None, str]:
        """Remember a refusal; return the name of the document, and the reject."""
        message: Text
        where = f"{frame.state}.{frame.action}"
        if isinstance(error, SessionStoresError):
            count_error(error)
            code, message, hint = portable_text(error.code), error.message, error.hint
            if hint != message:
                logger.debug(
                    "%s: action %s is refused as %s: %s",
                    self._connection.key,
                    where,
                    code,
                    hint,
                )
        else:
            code, message, hint = "internal", _FAILED, f"{where} raised {error!r}."
            failures.count(self._connection.backend, error)
            logger.error(
                "%s: action %s failed", self._connection.key, where, exc_info=error
            )
        documents = self._documents_of(frame)
        for document in documents if code != OUTCOME_UNKNOWN else ():
            # The next commit carries it, unless the record shows that the action took
            # effect.
            self._answers.refused(self._place(document, frame), frame.id, code)
        if isinstance(error, OutcomeUnknown) or (
            # It may have taken effect when it was first sent; or, of a conflict, wait
            # there for its turn: the client would run it twice.
            isinstance(error, StoreUnavailable | Conflict) and frame.client is not None
        ):
            code, message = OUTCOME_UNKNOWN, MESSAGES[OUTCOME_UNKNOWN]
        name = documents[0].name if len(documents) == 1 else None
        return name, reject_frame(frame.id, code, message, hint)

    def _attempt(self, document: Document, frame: protocol.ActionFrame) -> Attempt:
        return self._answers.attempt(
            self._place(document, frame),
            frame.id,
            own=frame.client in (None, self._connection.client),
            resent=frame.client is not None,
        )

    def _place(self, document: Document, frame: protocol.ActionFrame) -> Place:
        client = frame.client or self._connection.client
        return document.numbering + client, document.name

    def _documents_of(self, frame: protocol.ActionFrame) -> list[Document]:
        """Return the document that an action changes; both if its state is unknown."""
        try:
            scope = get_state(frame.state).__sessionstores__.scope
        except UnknownState:
            return list(self._documents.values())
        return [self._documents[scope]]


def _encode(frame: protocol.ActionFrame, result: Any) -> bytes:
    try:
        return encode_portable(result, "result")
    except InvalidArguments as error:
        # It has taken effect, so it is acknowledged all the same.
        where = f"{frame.state}.{frame.action}"
        logger.error("%s returned what no tab can be sent: %s", where, error)
        return b"null"
