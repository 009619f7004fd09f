"""Counts how often a backend goes to its Redis or Valkey."""

from __future__ import annotations

from typing import Any

import pytest


def trips_of(backend: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which each round trip from now on adds a name."""
    trips: list[str] = []
    scripts = backend._scripts

    def count(name: str) -> None:
        inner = getattr(scripts, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            trips.append(name)
            return await inner(*args, **kwargs)

        monkeypatch.setattr(scripts, name, counted)

    # A command; several in one write; one to a server that is named.
    for name in ("send", "send_all", "_send_to"):
        count(name)
    return trips
