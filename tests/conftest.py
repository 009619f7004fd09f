"""What every test can rely on: isolation, and a browser where one is needed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import hypothesis
import pytest
from channels.layers import channel_layers

from sessionstores.backends import get_backend
from sessionstores.backends.base import run

BROWSER_TESTS = Path(__file__).parent / "browser"
# A CI run must not pass by skipping.
IN_CI = os.environ.get("CI") == "true"

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "sessionstores", hypothesis.settings(), deadline=None
)
hypothesis.settings.load_profile("sessionstores")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(BROWSER_TESTS):
            item.add_marker(pytest.mark.browser)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("browser") and shutil.which("chromium") is None:
        complain = pytest.fail if IN_CI else pytest.skip
        complain("Needs chromium on the PATH (Debian: apt install chromium).")


@pytest.fixture(autouse=True)
def fresh_stores() -> None:
    """Let no test see what another has stored, or a message that it left behind."""
    run(get_backend(blocking=True).clear())
    channel_layers.backends.clear()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser that browser tests drive."""
    path = shutil.which("chromium")
    assert path is not None
    return path
