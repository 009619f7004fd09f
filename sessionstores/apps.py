"""The Django app: what is connected once all apps are loaded."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class SessionStoresConfig(AppConfig):
    """Discovers `states` modules, connects delivery, registers the system checks."""

    name = "sessionstores"
    label = "sessionstores"
    verbose_name = _("Live sessions")

    def ready(self) -> None:
        """Import what registers itself, then every app's `states`."""
        from .checks import deployment, settings  # noqa: F401
        from .realtime import publisher  # noqa: F401
        from .sessions import autosweep  # noqa: F401

        autodiscover_modules("states")
