"""Configured cache: the cache that Django makes of an alias's settings, to be asked."""

from __future__ import annotations

from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured


def configured_cache(alias: str) -> Any:
    """Return an instance of the alias's class that nobody else uses.

    What it knows is what its package, and a subclass of the site's, have made of the
    settings. It connects to nothing. Raises `ImproperlyConfigured` if there is none.
    """
    try:
        return caches.create_connection(alias)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] cannot be made: {type(error).__name__}: {error}."
        ) from error
