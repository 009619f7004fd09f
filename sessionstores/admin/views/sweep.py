"""Sweeping by hand: by POST, after a page that says what it would remove."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from ... import signals
from ...humanize import number_text, size_text
from ...manager import stores
from ..audit import SITE, log
from ..page import AdminPage

# A sweep by hand ends before the usual timeouts of web servers.
SWEEP_SECONDS = 20.0


def sweep_now(page: AdminPage) -> HttpResponse:
    """Confirm, then sweep once in this process."""
    back = page.url("changelist")
    if "confirm" not in page.request.POST:
        preview = stores.sweep(dry_run=True, max_seconds=SWEEP_SECONDS)
        return page.render(
            "sweep",
            title=_("Sweep now?"),
            preview=preview,
            post_to=page.request.path,
            back=back,
        )
    swept = stores.sweep(max_seconds=SWEEP_SECONDS)
    log(page.user_id, [SITE], f"Swept: {swept.participants} participants removed.")
    signals.logger.info("Swept from the admin: %s", swept)
    counts = {
        "participants": number_text(swept.participants),
        "sessions": number_text(swept.sessions),
        "bytes": size_text(swept.bytes),
    }
    messages.success(
        page.request,
        _(
            "Swept: %(participants)s participants and %(sessions)s sessions removed, "
            "%(bytes)s freed."
        )
        % counts,
    )
    if not swept.finished:
        messages.warning(
            page.request, _("There was not enough time for all sessions: sweep again.")
        )
    return HttpResponseRedirect(back)
