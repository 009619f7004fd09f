"""Watchers: the tabs of one event loop that watch others, and whom each of them does.

A process follows everybody in a session by one entry, however many a tab watches. What
reaches it goes to the tabs whose role may see it, filtered for that role. See
`watch_beats` for what does not reach it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable

from .. import conf
from ..backends import get_backend
from ..backends.types import ParticipantInfo
from ..event_bus import Removal
from ..exceptions import (
    MESSAGES,
    ActionRejected,
    LimitReached,
    SessionStoresError,
)
from ..keys import StoreKey, is_participant
from ..participants.participant import DEFAULT_ROLE
from .broadcast import Broadcast
from .connection import Connection
from .document import Document
from .error_frames import error_frame
from .people_frames import unwatched_frame, watching_frame
from .protocol import BadFrame, head_of
from .watch_frames import UnwatchFrame, WatchFrame
from .watch_list import EVERYBODY

# What a frame counts among a tab's reads of the cache, and each document that it opens.
FRAME_COST = 0.25
DOCUMENT_COST = 0.01

Watch = tuple[Connection, Document]


class Watchers:
    """Tabs that watch; belongs to a hub. `lease` renews leases of connections."""

    def __init__(
        self, lease: Callable[[Collection[Connection]], Awaitable[None]]
    ) -> None:
        self._lease = lease
        # The tabs that watch somebody, by session, and by whom they watch.
        self.sessions: dict[str, set[Connection]] = {}
        self.following: dict[StoreKey, set[Connection]] = {}

    async def take(
        self, connection: Connection, frame: WatchFrame | UnwatchFrame
    ) -> float:
        """Do what a tab asks for; return what it counts among the tab's reads.

        Raises `BadFrame` for a tab's own participant. All else is answered: that its
        role may watch nothing, by "forbidden"; a limit, an outage.
        """
        id = frame.participant
        if isinstance(frame, UnwatchFrame):
            self._unwatch(connection, id)
            return FRAME_COST
        try:
            return FRAME_COST + DOCUMENT_COST * await self._start(connection, frame)
        except SessionStoresError as error:
            await connection.outbox.reply(error_frame(error, head_of(frame)))
            return FRAME_COST

    async def _start(self, connection: Connection, frame: WatchFrame) -> int:
        """Watch; return how many documents are read for it."""
        id = frame.participant
        if id == connection.key.participant:
            text = "A participant's own states are the document 'me'."
            raise BadFrame("bad_frame", text, head_of(frame))
        found = await connection.backend.profiles([connection.key])
        connection.know(found[connection.key])
        self._recheck(connection)
        self._check(connection, id)
        if id == EVERYBODY:
            return await self._watch_all(connection)
        await self._watch(connection, id)
        return 1

    def _check(self, connection: Connection, id: str) -> None:
        """Refuse a tab whose role may watch nothing, or which watches too many."""
        watch_list, limit = connection.watch_list, conf.get().max_participants
        if not watch_list.view:
            raise ActionRejected(
                MESSAGES["forbidden"],
                code="forbidden",
                hint=f"The role {connection.actor.role!r} may watch nobody: "
                "State(…, watch=(…,)) names the roles that may.",
            )
        named = watch_list.named
        if id != EVERYBODY and id not in named and len(named) >= limit:
            raise LimitReached(
                f"This tab watches {limit} participants already, and MAX_PARTICIPANTS "
                f"allows no more: watch {EVERYBODY!r}."
            )

    async def _watch(self, connection: Connection, id: str) -> None:
        watch_list = connection.watch_list
        before = watch_list.follows
        watch_list.named.add(id)
        watch_list.absent.discard(id)
        self._enter(connection, id)
        await self._follow(connection, before, id)
        if watch_list.watches(id):
            connection.outbox.post(watching_frame(id, watch_list.view.names, {}))
            self.read(connection, id)

    async def _watch_all(self, connection: Connection) -> int:
        """Watch everybody; return how many there are."""
        watch_list = connection.watch_list
        before = watch_list.follows
        watch_list.everybody = True
        self._enter(connection)
        await self._follow(connection, before, EVERYBODY)
        people = await people_of(connection.key.session)
        # Meanwhile its role may have changed.
        if not watch_list.everybody:
            return 0
        watch_list.people = {}
        self.tell(connection, people, always=True)
        ids = {info.id for info in people} | watch_list.documents.keys()
        for id in sorted(ids - {connection.key.participant}):
            self._enter(connection, id)
            self.read(connection, id)
        return len(ids)

    def _enter(self, connection: Connection, *ids: str) -> None:
        """Note that a tab watches, with a document for each of `ids`."""
        code = connection.key.session
        self.sessions.setdefault(code, set()).add(connection)
        for id in ids:
            if id not in connection.watch_list.documents:
                key = connection.watch_list.open(id).key
                self.following.setdefault(key, set()).add(connection)

    async def _follow(
        self, connection: Connection, before: frozenset[str], id: str
    ) -> None:
        """Have this process follow whom a tab watches now, but for `id` if that fails.

        Changes reach the tab from here, before what it watches is read.
        """
        if connection.watch_list.follows <= before:
            return
        try:
            await self._lease([connection])
        except SessionStoresError:
            self._unwatch(connection, id)
            raise

    def read(self, connection: Connection, id: str) -> None:
        """Send a snapshot once nothing else waits for the tab."""
        connection.outbox.refresh(connection.watch_list.documents[id].name, later=True)

    def _unwatch(self, connection: Connection, id: str) -> None:
        watch_list = connection.watch_list
        if id == EVERYBODY:
            watch_list.everybody = False
            watch_list.people.clear()
        else:
            watch_list.named.discard(id)
        for each in [id] if id != EVERYBODY else list(watch_list.documents):
            if not watch_list.watches(each):
                self._close(connection, each)
        if not any(watch_list.asked):
            self.leave(connection)

    def _close(self, connection: Connection, id: str) -> None:
        """Take a document from a tab, with all that waits of it."""
        document = connection.watch_list.documents.get(id)
        if document is None:
            return
        connection.outbox.drop(document.name)
        connection.watch_list.close(id)
        self._discard(connection, document.key)

    def _discard(self, connection: Connection, key: StoreKey) -> None:
        watching = self.following.get(key, set())
        watching.discard(connection)
        if not watching:
            self.following.pop(key, None)

    def leave(self, connection: Connection) -> None:
        """Forget a tab; safe to repeat."""
        code = connection.key.session
        for document in connection.watch_list.documents.values():
            self._discard(connection, document.key)
        watching = self.sessions.get(code, set())
        watching.discard(connection)
        if not watching:
            self.sessions.pop(code, None)

    def look(self, connection: Connection) -> None:
        """Recheck what a tab may watch, and watch who has come, as it is shown them."""
        if connection not in self.sessions.get(connection.key.session, ()):
            return
        self._recheck(connection)
        watch_list = connection.watch_list
        if watch_list.everybody or watch_list.absent:
            for id in connection.present:
                if watch_list.watches(id) and id != connection.key.participant:
                    self.meet(connection, id)

    def _recheck(self, connection: Connection) -> None:
        if connection.watch_list.look(connection.actor.role):
            self._look_again(connection)

    def _look_again(self, connection: Connection) -> None:
        """Show a tab whose role has changed what that may see, and nothing else."""
        watch_list, outbox = connection.watch_list, connection.outbox
        for document in watch_list.documents.values():
            outbox.drop(document.name)
        asked = list(watch_list.asked)
        if not watch_list.view:
            self.leave(connection)
            watch_list.clear()
            for id in asked:
                outbox.post(unwatched_frame(id, "forbidden"))
            return
        for id in asked:
            outbox.post(watching_frame(id, watch_list.view.names, {}))
        for id in list(watch_list.documents):
            watch_list.reopen(id)
            self.read(connection, id)

    def meet(self, connection: Connection, id: str) -> None:
        """Read a participant who has a record, as it seems, if the tab has nothing."""
        watch_list = connection.watch_list
        if id not in watch_list.documents:
            self._enter(connection, id)
        elif id not in watch_list.absent:
            return
        watch_list.absent.discard(id)
        self.read(connection, id)

    # What happens to others

    def tabs_of(self, key: StoreKey) -> Iterable[Watch]:
        """Return the tabs that watch a participant, each with its document.

        Whoever watches everybody does from here on, if they are new.
        """
        if key.is_session:
            return ()
        id = key.participant
        for connection in self.sessions.get(key.session, ()):
            if connection.watch_list.everybody and connection.key != key:
                self._enter(connection, *filter(is_participant, [id]))
        return [
            (connection, connection.watch_list.documents[id])
            for connection in self.following.get(key, ())
        ]

    def change(self, watch: Watch, commit: Broadcast) -> None:
        """Send a commit's patch to a tab, as far as its role may see it."""
        connection, document = watch
        connection.watch_list.absent.discard(document.key.participant)
        connection.change(commit, document)

    def remove(self, event: Removal) -> None:
        """Tell who watches a participant that their record is gone."""
        for connection in list(self.following.get(event.key, ())):
            self.lose(connection, event.key.participant, event.reason)

    def lose(self, connection: Connection, id: str, reason: str) -> None:
        """Tell a tab of a removal; one by name is watched on, for when they return."""
        watch_list = connection.watch_list
        document = watch_list.documents[id]
        if reason == "lost":
            # Mostly there is a new one already.
            connection.refresh(document)
            return
        connection.outbox.drop(document.name)
        if text := watch_list.lose(id, reason):
            connection.outbox.post(text)
        self.forget(connection, id)

    def forget(self, connection: Connection, id: str) -> None:
        """Keep no document for somebody without a record, unless watched by name."""
        if id not in connection.watch_list.named:
            self._close(connection, id)

    def tell(
        self,
        connection: Connection,
        people: Iterable[ParticipantInfo],
        *,
        always: bool = False,
    ) -> None:
        """Tell a tab that watches everybody of names and roles that are new to it."""
        watch_list = connection.watch_list
        named = {
            info.id: (info.profile.name, info.profile.role or DEFAULT_ROLE)
            for info in people
            if info.id != connection.key.participant
        }
        known = watch_list.people
        newer = {id: who for id, who in named.items() if known.get(id) != who}
        watch_list.people = named
        if newer or always:
            states = watch_list.view.names
            connection.outbox.post(watching_frame(EVERYBODY, states, newer))


async def people_of(code: str) -> list[ParticipantInfo]:
    """Return those whom a tab can watch: earlier releases admitted other ids."""
    people = await get_backend(blocking=False).participants(code)
    return [info for info in people if is_participant(info.id)]
