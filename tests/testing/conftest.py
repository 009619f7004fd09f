"""Stores as a site's tests have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sessionstores.testing import isolated_stores

# The site's own tests, which run as a site's do: in a process of their own.
collect_ignore = ["site"]


@pytest.fixture
def isolated() -> Iterator[None]:
    """Keep the stores of a test in memory, as the plugin does."""
    with isolated_stores():
        yield
