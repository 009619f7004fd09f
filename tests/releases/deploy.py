"""Settings of the site of the test of deploys; `SITE_STATES` says before or after."""

from __future__ import annotations

import os

from tests.releases.settings import *  # noqa: F403

INSTALLED_APPS = [
    f"tests.releases.{os.environ['SITE_STATES']}" if app == "tests.faults.site" else app
    for app in INSTALLED_APPS  # noqa: F405
]
