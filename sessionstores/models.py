"""Model for the admin and its permissions; it has no table."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class LiveSession(models.Model):
    """Represents live sessions, which are in a cache and not in a database.

    Unmanaged: there is neither a table nor a migration. Django's permissions and its
    log of admin actions refer to it.
    """

    class Meta:
        managed = False
        default_permissions = ()
        permissions = (
            ("view_dashboard", _("Can see which sessions are live")),
            ("view_state", _("Can see the state of participants")),
            ("manage_sessions", _("Can act on live sessions")),
        )
        verbose_name = _("live session")
        verbose_name_plural = _("live sessions")

    def __str__(self) -> str:
        return str(self._meta.verbose_name)
