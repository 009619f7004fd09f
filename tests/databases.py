"""Databases beside the test site's own, each with the table of one cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connections

SQLITE_OPTIONS = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    "timeout": 20,
}


class Router:
    """Sends each cache to the database that is named as its table."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        is_cache = model._meta.app_label == "django_cache"
        return model._meta.db_table if is_cache else None

    db_for_write = db_for_read


@contextmanager
def database(alias: str, entry: dict[str, Any]) -> Iterator[None]:
    """Put a database into DATABASES, with an empty cache table of the same name."""
    whole = connections.configure_settings({"default": {}, alias: entry})
    connections.settings[alias] = whole[alias]
    try:
        call_command("createcachetable", alias, database=alias)
        yield
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]
