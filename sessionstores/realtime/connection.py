"""Connection: one tab, its participant, its documents and what it is sent."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.utils import translation

from ..backends.base import Backend
from ..backends.client_entries import last_ids
from ..backends.types import UNKNOWN, Lease, Profile, Record
from ..exceptions import Kicked, SessionStoresError, StoreUnavailable
from ..keys import StoreKey
from ..participants.participant import Participant, as_recorded
from ..participants.tokens import Claims
from ..state.revisions import Rev
from ..store.records import open_document
from ..store.watched import read_watched
from . import protocol
from .broadcast import Broadcast
from .document import Document
from .error_frames import count_error, end_frame, error_frame, failure_frame
from .frame_head import NO_HEAD, FrameHead
from .languages import language_of
from .outbox import Outbox
from .people_frames import encode_meta, self_frame
from .protocol import Close
from .roster import NOBODY, RosterView
from .watch_list import ABSENT, UNREADABLE, WatchList

logger = logging.getLogger("sessionstores.delivery")

SYNC = FrameHead(of="sync")


class Connection:
    """A tab that has said hello. Belongs to one event loop and to its reader task."""

    __slots__ = (
        "_known",
        "_reader",
        "_synced",
        "_view",
        "acted",
        "actor",
        "backend",
        "busy",
        "claims",
        "client",
        "closing",
        "documents",
        "farewell",
        "grace",
        "has_said_so",
        "id",
        "joined",
        "key",
        "language",
        "meta",
        "names",
        "on_view",
        "outbox",
        "profile",
        "resumed",
        "run",
        "watch_list",
    )

    def __init__(
        self,
        backend: Backend,
        claims: Claims,
        hello: protocol.HelloFrame,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        profile: Profile = UNKNOWN,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.backend = backend
        self.claims = claims
        self.key = claims.key
        # What is known of its participant; the token's role if their record has none.
        if profile.role is None:
            profile = profile._replace(role=claims.role)
        self.profile = profile
        # As whom the tab's actions run.
        self.actor = self._actor()
        self.client = hello.client
        # In which it is told things; see `refuse`.
        self.language = language_of(hello.lang)
        # What the tab shows of itself, JSON; see `show`.
        self.meta = b""
        # Whether its participant has joined by it, and that is not announced yet.
        self.joined = False
        # Whether through it the session's state was changed, for which its participant
        # is to be kept; and whether the backend has been told so, with a lease.
        self.acted = self.has_said_so = False
        # Whether it replaces one that was lost just now, as after a reload.
        self.resumed = False
        # The present run of the cache server, as the hub knows it.
        self.run = ""
        # Seconds that its participant has to come back once it has closed.
        self.grace = 0.0
        # The newest roster view, and the last one that the tab was sent.
        self._view = self._known = NOBODY
        self.names: dict[str, Document] = {}
        # Documents of which the tab has asked for a snapshot, until it gets one.
        self._synced: frozenset[str] = frozenset()
        self.documents: dict[StoreKey, Document] = {}
        runs = hello.runs or {}
        for name, key in (
            ("me", self.key),
            ("session", StoreKey.of_session(claims.session)),
        ):
            have = hello.have.get(name)
            document = Document(
                name, key, Rev.parse(have) if have else None, runs.get(name)
            )
            if key.is_session:
                # All participants write to this record: none may use up another's ids.
                document.numbering = f"{claims.participant}/"
            self.names[name] = self.documents[key] = document
        self.watch_list = WatchList(claims.session, hello.have, runs)
        # Called once the tab has been shown another roster view, or may be of another
        # role; see `Watchers.look`.
        self.on_view: Callable[[Connection], None] | None = None
        self.outbox = Outbox(send, self.read, self._presence_frame, self.give_up)
        self._reader = asyncio.current_task()
        # True while the reader must not be cancelled: its work would be half done.
        self.busy = True
        self.closing: Close | None = None
        self.farewell: str | None = None

    @property
    def follows(self) -> frozenset[str]:
        """Whose records the tab follows; see `Lease.follows`."""
        own = frozenset(key.participant for key in self.documents)
        return own | self.watch_list.follows

    def lease(self, process: str, follows: frozenset[str] | None = None) -> Lease:
        """Return the lease on all that the tab follows, or on a part of it."""
        if follows is None:
            follows = self.follows
        lease = Lease(self.id, self.key, process, self.client, follows, self.meta)
        return lease._replace(acted=True) if self.acted else lease

    def show(self, data: Mapping[str, Any]) -> bool:
        """Set what the tab shows of itself; return whether that has changed.

        Raises what `encode_meta` raises.
        """
        meta = encode_meta(data)
        changed, self.meta = meta != self.meta, meta
        return changed

    def show_presence(self, view: RosterView) -> None:
        """Queue a presence frame that leads the tab to a roster view.

        The first view that a tab gets contains its own participant.
        """
        if self._view is NOBODY and self.key.participant not in view.metas:
            return
        if view is not self._view:
            self._view = view
            self.outbox.presence()
            if (profile := view.profiles.get(self.key.participant)) is not None:
                self.know(profile)
            if self.on_view is not None:
                self.on_view(self)

    @property
    def present(self) -> Mapping[str, object]:
        """Who is present, by id, as the tab is shown."""
        return self._view.metas

    def missing_from(self, profile: Profile) -> Profile:
        """Return what is known here of the participant, and not to their record."""
        parts = zip(profile, self.profile, strict=True)
        return Profile(*(ours if theirs is None else None for theirs, ours in parts))

    def know(self, profile: Profile) -> None:
        """Take in what the record says; tell the tab if its name or role is new."""
        parts = zip(profile, self.profile, strict=True)
        self.profile = Profile(*(b if a is None else a for a, b in parts))
        actor = self._actor()
        if actor != self.actor:
            self.actor = actor
            self.outbox.post(self_frame(actor.name, actor.role))

    def _actor(self) -> Participant:
        claimed = Participant(*self.key, self.claims.role)
        return as_recorded(claimed, self.profile)

    def revs(self) -> dict[str, Rev | None]:
        """Return the newest rev sent to the tab, of each document by name."""
        return {name: document.rev for name, document in self.names.items()}

    def change(self, commit: Broadcast, document: Document) -> None:
        """Send or queue a commit's patch.

        It waits while a snapshot of the document is read.
        """
        if document.missed is not None:
            document.missed.append(commit)
            return
        if document.view is not None:
            if document.shown is None:
                self.refresh(document)
                return
            commit = commit.seen_by(document.view, document.states)
        operations, rev, shown = commit.operations, commit.rev, document.shown
        if operations is None or not document.continues(commit.previous, rev):
            if document.forks(commit.base, rev):
                self.refresh(document)
                return
            if shown and shown[0] == rev[0] and shown[1] >= rev[1]:
                return
            if operations is None:
                document.restarted |= commit.restarted
                self.refresh(document)
                return
            document.reach(commit.base, rev)
        name = document.name
        text = commit.frame(name, operations)
        self.outbox.patch(name, commit.base, commit.rev_text, operations, text)

    def refresh(self, document: Document) -> None:
        """Queue a snapshot with all states."""
        document.expect_snapshot()
        self.outbox.refresh(document.name, later=document.view is not None)

    async def sync(self, name: str, have: str | None) -> bool:
        """Send a snapshot to a tab at `have`; False if the document is unknown."""
        document = self._find(name)
        if document is None:
            return False
        self._synced |= {name}
        document.have = Rev.parse(have) if have else None
        if document.view is None or document.shown is not None:
            document.full = have is None
        if have and document.have == document.rev:
            await self.outbox.show(name)
        else:
            # It may be long, and must not keep the reader from pongs.
            self.outbox.refresh(name)
        return True

    async def open(self, document: Document) -> str:
        """Read a document; return its snapshot frame, after which patches follow.

        Raises what `open_document` raises. "": it is a document no more, or another one
        by now.
        """
        document.missed = document.missed or []
        # As of before the read: a reply sent meanwhile may be newer than what is read,
        # and the server may be another one.
        run, full, have, seen = self.run, document.full, document.have, document.seen
        try:
            if seen == {have} and await self._is_current(document):
                return document.snapshot(run, have, None)
            if (record := await self._record(document)) is None:
                return ""
            places = {record.history.place(rev) for rev in seen}
            if "unknown" in places and document.run is not None:
                # Past its history after a restart, it may or may not be undone.
                run = self.run = await self.backend.run_name()
                document.forked = document.forked or run != document.run
            found = document.states_in(record)
            states = None if places == {"head"} and not full else found
            document.states = frozenset(found)
            reset = document.forked or "foreign" in places
            # Whoever watches another learns nothing of their tabs.
            is_own = document.view is None
            done = last_ids(record.clients, document.numbering) if is_own else None
            lang = self.language
            rev = record.rev
            return document.snapshot(run, rev, states, done, reset=reset, lang=lang)
        finally:
            missed, document.missed = document.missed, None
            for commit in missed:
                if self._find(document.name) is document:
                    self.change(commit, document)

    async def _record(self, document: Document) -> Record | None:
        """Read the record; None of another participant if there is none to be seen."""
        view = document.view
        if view is not None:
            record = await read_watched(self.backend, document.key, view.classes)
            # Meanwhile the tab may have got another role.
            return record if self._find(document.name) is document else None
        lost, document.missing = document.missing, False
        return await open_document(
            self.backend,
            document.key,
            lost=lost,
            profile=self.profile if document.key == self.key else UNKNOWN,
        )

    def _lose(self, document: Document, reason: str) -> str:
        return self.watch_list.lose(document.key.participant, reason)

    def _find(self, name: str) -> Document | None:
        return self.names.get(name) or self.watch_list.find(name)

    async def read(self, name: str) -> str:
        """Return the snapshot frame of a document, or an error frame in its place.

        "" if there is nothing to say. A tab asks only once: after an outage the
        snapshot follows with a heartbeat.
        """
        document = self._find(name)
        if document is None:
            return ""
        document.owed = False
        head = SYNC if name in self._synced else NO_HEAD
        self._synced -= {name}
        try:
            text = await self.open(document)
            if not text and self._find(name) is document:
                return self._lose(document, ABSENT)
            return text
        except SessionStoresError as error:
            document.owed = isinstance(error, StoreUnavailable)
            if isinstance(error, Kicked):
                self.kick()
            if document.view is not None and head is NO_HEAD:
                count_error(error)
                return "" if document.owed else self._lose(document, UNREADABLE)
            with translation.override(self.language):
                return error_frame(error, head)
        except Exception as error:
            logger.exception("%s: a snapshot of %r failed", self.key, name)
            with translation.override(self.language):
                return error_frame(error, head, where=name)

    def _presence_frame(self) -> str:
        known, self._known = self._known, self._view
        return self._view.frame(known)

    def close(self, code: Close, farewell: str | None = None) -> None:
        """Have the reader send `farewell` and close, at once unless it is busy."""
        if self.closing is not None:
            return
        self.closing = code
        self.farewell = farewell
        if self._reader is None or self.busy:
            return
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()

    def end(self, code: Close, reason: str) -> None:
        """Close for good, with an `end` frame; from any task."""
        with translation.override(self.language):
            self.close(code, end_frame(reason))

    def kick(self) -> None:
        """Close it, since the session keeps its participant out."""
        self.end(Close.KICKED, "kicked")

    def refuse(self, code: Close, error: SessionStoresError) -> None:
        """Close with an `error` frame; from any task."""
        with translation.override(self.language):
            self.close(code, error_frame(error))

    def give_up(self, hint: str = "This tab reads too slowly.") -> None:
        """Close, since the tab does not keep up; it comes back."""
        with translation.override(self.language):
            self.close(Close.SLOW, failure_frame("slow", hint))

    async def _is_current(self, document: Document) -> bool:
        """Whether the tab is at the record's head, read without the record."""
        # Missing and outdated states are settled before a first snapshot, and no commit
        # brings such ones: the record need not be read for them.
        if document.full or document.shown is None:
            return False
        heads = await self.backend.heads([document.key])
        return heads[document.key] == document.have
