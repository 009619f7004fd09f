"""The site with dj-control-room, the hub that our overview is a panel of."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "dj_control_room_base", "dj_control_room"]
ROOT_URLCONF = "tests.urls_panels"
