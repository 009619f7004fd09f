"""Languages of tabs: each is told things in that of the page that opened it."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import (
    activate,
    get_language,
    get_supported_language_variant,
)

# No language has a longer name. Django remembers those that it has looked for.
MAX_LENGTH = 35


def language_of(given: object) -> str:
    """Return the language that a tab names; the site's own if there is none such.

    Tabs of earlier releases name none.
    """
    if isinstance(given, str) and 0 < len(given) <= MAX_LENGTH:
        try:
            return get_supported_language_variant(given)
        except LookupError:
            pass
    return get_language() or settings.LANGUAGE_CODE


def use_language(language: str) -> None:
    """Activate a language for the running task, and the actions that it runs."""
    # Most tabs speak the site's own, and need no memory for it.
    if language != get_language():
        activate(language)
