"""Admissions: participants with a verified identity, whom no locked session refuses."""

from __future__ import annotations

from collections import OrderedDict

from ..backends.base import Backend
from ..keys import StoreKey

# Of each process; one that is forgotten is verified again by their next request or tab.
MAX_ADMISSIONS = 16_384


class Admissions:
    """The participants whose token or kept identity this process verified last.

    A lock refuses newcomers. Whether somebody is one cannot be seen from the records,
    which may have been removed while they were away.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[StoreKey, None] = OrderedDict()

    def __contains__(self, key: StoreKey) -> bool:
        return key in self._keys

    def add(self, key: StoreKey) -> None:
        """Admit a participant from here on; safe with any number of threads."""
        self._keys[key] = None
        if len(self._keys) > MAX_ADMISSIONS:
            self._keys.popitem(last=False)

    def discard(self, key: StoreKey) -> None:
        """Admit a participant no longer."""
        self._keys.pop(key, None)


def admit(backend: Backend, key: StoreKey) -> None:
    """Let a participant, whose identity was verified, enter though it is locked."""
    backend.memory.of(Admissions).add(key)


def dismiss(backend: Backend, key: StoreKey) -> None:
    """Let a participant no longer enter a locked session: they have left."""
    backend.memory.of(Admissions).discard(key)


def is_admitted(backend: Backend, key: StoreKey) -> bool:
    """Return whether a participant may enter a session though it is locked."""
    return key in backend.memory.of(Admissions)
