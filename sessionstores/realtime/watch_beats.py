"""Watch beats: compare what tabs watch with what is stored, once for all of a process.

A message of the channel layer may be lost. Whoever watches everybody has them listed,
which takes one read, however many they are, and whoever watches a few their heads.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping

from ..backends import get_backend
from ..exceptions import SessionStoresError, StoreUnavailable
from ..keys import StoreKey
from ..monitoring.log_limiter import log_limiter
from ..state.revisions import Rev
from ..store import removals
from .connection import Connection
from .watch_list import ABSENT
from .watchers import Watchers, people_of

logger = logging.getLogger("sessionstores.delivery")

# Participants whom a beat lists. Of a session with more of them, each second beat does,
# or each third, and so on.
LISTED = 256


class WatchBeats:
    """Looks after the tabs of one event loop that watch others."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        # Beats until a session is listed again.
        self._pauses: dict[str, int] = {}

    async def beat(self) -> None:
        """Compare what tabs watch with what is stored, and show what they lack.

        In an outage they keep what they show.
        """
        sessions = self._watchers.sessions
        for code in self._pauses.keys() - sessions.keys():
            del self._pauses[code]
        for code in list(sessions):
            watching = list(sessions.get(code, ()))
            try:
                if any(each.watch_list.everybody for each in watching):
                    await self._list(code, watching)
                await self._compare_named(code, watching)
            except StoreUnavailable as error:
                text = "Whoever watches others is not updated: %s"
                limiter = log_limiter(get_backend(blocking=False))
                limiter.log(logger, logging.WARNING, text, error)
                return
            except SessionStoresError as error:
                text = "%s: whoever watches others is not updated: %s"
                limiter = log_limiter(get_backend(blocking=False))
                limiter.log(logger, logging.WARNING, text, code, error)

    async def _list(self, code: str, watching: Collection[Connection]) -> None:
        """List a session's people for the tabs that watch everybody."""
        pause = self._pauses.get(code, 0)
        if pause > 0:
            self._pauses[code] = pause - 1
            return
        watchers = self._watchers
        tabs = [each for each in watching if each.watch_list.everybody]
        sent = [_revs(each, each.watch_list.documents) for each in tabs]
        people = await people_of(code)
        self._pauses[code] = math.ceil(len(people) / LISTED) - 1
        heads: dict[str, Rev | None] = {info.id: info.rev for info in people}
        for connection, revs in zip(tabs, sent, strict=True):
            if connection.watch_list.everybody and connection.closing is None:
                watchers.tell(connection, people)
                for id in heads.keys() - {connection.key.participant}:
                    watchers.meet(connection, id)
                await self._compare(connection, revs, heads)

    async def _compare_named(self, code: str, watching: Iterable[Connection]) -> None:
        """Read the heads of those who are watched by name."""
        tabs = [each for each in watching if not each.watch_list.everybody]
        if not tabs:
            return
        sent = [_revs(each, each.watch_list.documents) for each in tabs]
        ids = sorted({id for revs in sent for id in revs})
        keys = [StoreKey.stored(code, id) for id in ids]
        found = await get_backend(blocking=False).heads(keys)
        heads = {key.participant: head for key, head in found.items()}
        for connection, revs in zip(tabs, sent, strict=True):
            if connection.closing is None:
                await self._compare(connection, revs, heads)

    async def _compare(
        self,
        connection: Connection,
        revs: Mapping[str, Rev | None],
        heads: Mapping[str, Rev | None],
    ) -> None:
        """Send snapshots of what is newer than `revs`, which the tab had before."""
        watchers, watch_list = self._watchers, connection.watch_list
        missing = []
        for id, rev in revs.items():
            document = watch_list.documents.get(id)
            if document is None or document.missed is not None or document.rev != rev:
                continue
            head, is_absent = heads.get(id), id in watch_list.absent
            if head is None and not is_absent:
                missing.append(document.key)
            elif head is None:
                watchers.forget(connection, id)
            elif is_absent or document.owed:
                watch_list.absent.discard(id)
                watchers.read(connection, id)
            elif head != rev and document.shown is not None:
                connection.refresh(document)
        if not missing:
            return
        backend = get_backend(blocking=False)
        reasons = await removals.removal_reasons(backend, missing)
        for key in missing:
            id = key.participant
            document = watch_list.documents.get(id)
            # Meanwhile it may have been read.
            if document and document.missed is None and document.rev == revs[id]:
                watchers.lose(connection, id, reasons.get(key, ABSENT))


def _revs(connection: Connection, ids: Iterable[str]) -> dict[str, Rev | None]:
    documents = connection.watch_list.documents
    return {id: documents[id].rev for id in ids}
