"""Answers: what a tab was told of actions that no commit may have carried yet."""

from __future__ import annotations

from ..backends.types import Attempt

# Remembered of each client and document; a tab has fewer open actions.
MAX_ANSWERS = 128
# Clients and documents: a tab has two of its own, and those of the pages before it.
MAX_PLACES = 16

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
