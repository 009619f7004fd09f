"""The log of staff: changes and views apart, and what it keeps of each."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User

from sessionstores.admin.audit import VIEW, VIEWED, log
from tests.admin.views.test_overview import text_of
from tests.staff import ALL, CODE, fill, page, signed_in

pytestmark = pytest.mark.django_db


def test_looking_at_a_state_is_not_logged_as_a_change() -> None:
    fill("alice")
    client = signed_in(*ALL)
    client.get(page("participant", CODE, "alice"))
    client.post(page("session_act", CODE), {"action": "lock", "confirm": "yes"})
    flags = {each.change_message: each.action_flag for each in LogEntry.objects.all()}
    assert flags[VIEWED] == VIEW
    assert flags["Locked the session."] == CHANGE
    (seen,) = LogEntry.objects.filter(action_flag=VIEW)
    # Django's list of recent actions signs neither as an addition, a change nor a loss.
    signs = seen.is_addition(), seen.is_change(), seen.is_deletion()
    assert signs == (False, False, False)
    User.objects.update(is_superuser=True)
    index = client.get("/admin/").content.decode()
    assert index.count('class="changelink"') < index.count("K7Q2ZD")


def test_the_staff_log_shows_changes_or_views_alone() -> None:
    fill("alice")
    client = signed_in(*ALL)
    for kind in ("", "changes", "views"):
        text = text_of(client.get(page("history", CODE), {"show": kind}))
        assert "No member of staff has" in text
    client.get(page("participant", CODE, "alice"))
    # As an earlier release has logged it.
    log(User.objects.get().pk, [f"{CODE}:bob"], VIEWED)
    client.post(page("session_act", CODE), {"action": "lock", "confirm": "yes"})
    address = page("history", CODE)
    assert text_of(client.get(address)).count("Viewed the state.") == 2
    changes = text_of(client.get(address, {"show": "changes"}))
    assert "Locked the session." in changes
    assert "Viewed" not in changes
    views = text_of(client.get(address, {"show": "views"}))
    assert "Locked" not in views
    assert views.count("Viewed the state.") == 2
    assert text_of(client.get(address, {"show": "x"})).count("Viewed the state.") == 2
