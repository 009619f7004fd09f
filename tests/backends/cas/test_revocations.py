"""Revocations, and how long they hold."""

from __future__ import annotations

import pytest

from sessionstores.backends.base import run
from sessionstores.exceptions import (
    StateCorrupt,
)
from tests.backends.cas.stores import (
    DictBackend,
)
from tests.backends.driven import (
    ALICE,
    CODE,
    Clock,
)


def test_revocations_that_cannot_be_read_let_nobody_in(
    plain: DictBackend, clock: Clock
) -> None:
    plain.store.plant(f"ss:{{{CODE}}}:r:", b"junk")
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.standings([ALICE]))
    with pytest.raises(StateCorrupt, match=CODE):
        run(plain.revoke(ALICE))
