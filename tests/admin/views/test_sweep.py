"""Sweeping by hand: asked first, then reported and logged."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import Client

from sessionstores import stores
from sessionstores.backends import get_backend
from tests.admin.acting import act, asked, log_texts, told
from tests.staff import ALL, CODE, fill, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return signed_in(*ALL)


def test_a_sweep_shows_first_what_it_would_remove(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice", "bob")
    later = time.time() + 301
    backend: Any = get_backend(blocking=True)
    monkeypatch.setattr(backend.store, "clock", lambda: later)
    assert "At present: 2 participants" in asked(client, "sweep")
    assert stores.participants(CODE) == ["alice", "bob"]
    (said,) = told(act(client, "sweep"))
    assert said.startswith("Swept: 2 participants")
    assert stores.participant_count() == 0
    assert log_texts() == ["Swept: 2 participants removed."]
