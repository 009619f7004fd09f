"""Admissions: of those verified last, in bounded memory, on both flavours."""

from __future__ import annotations

import pytest

from sessionstores import SessionLocked, stores
from sessionstores.backends import get_backend
from sessionstores.keys import StoreKey
from sessionstores.store.admissions import (
    MAX_ADMISSIONS,
    Admissions,
    admit,
    is_admitted,
)
from tests.workshop.states import Board


def test_those_verified_last_are_admitted_and_no_more_than_fit() -> None:
    admissions = Admissions()
    keys = [StoreKey("K7Q2ZD", f"p{number}") for number in range(MAX_ADMISSIONS + 9)]
    for key in keys:
        admissions.add(key)
    assert [key in admissions for key in keys[:9]] == [False] * 9
    assert all(key in admissions for key in keys[9:])


def test_an_admission_counts_in_both_flavours_and_for_one_participant() -> None:
    code = stores.create_session()
    stores.lock(code)
    key = StoreKey(code, "alice")
    admit(get_backend(blocking=False), key)
    assert is_admitted(get_backend(blocking=True), key)
    assert stores.get(Board, *key).state == Board()
    with pytest.raises(SessionLocked):
        stores.get(Board, code, "bob").snapshot()
