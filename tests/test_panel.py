"""The overview as a panel of dj-control-room: found, set up, and one click away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# In a process of its own, since panels are found while apps are set up.
SITE = """
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
staff = Client()
staff.force_login(User.objects.create_superuser("staff"))
print(staff.get("/admin/dj-control-room/").content.decode())
print(staff.get("/admin/live-sessions/").headers["Location"])
print(staff.get("/admin/live-sessions/", follow=True).status_code)
print(Client().get("/admin/live-sessions/", follow=True).redirect_chain[-1][0])
"""


def test_the_hub_finds_the_overview_and_leads_there() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings_panels"}
    done = subprocess.run(
        [sys.executable, "-c", SITE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *hub, location, status, elsewhere = done.stdout.splitlines()
    (card,) = [
        card
        for card in re.split(r'class="dcr-panel-card[ "]', "\n".join(hub))
        if "Who is in, is it healthy" in card
    ]
    assert re.search(r">\s*Live sessions\s*<", card)
    assert 'href="/admin/live-sessions/"' in card
    assert "INSTALLED" in card
    overview = "/admin/sessionstores/livesession/"
    assert (location, status) == (overview, "200")
    # The hub shows it to all staff; who may open it is for the admin to say.
    assert elsewhere == f"/admin/login/?next={overview}"
