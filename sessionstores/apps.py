"""The Django app: connects the event bus, the system checks and `states` modules."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class SessionStoresConfig(AppConfig):
    """Connects the package's parts once all apps are loaded."""

    name = "sessionstores"
    label = "sessionstores"
    verbose_name = _("Live sessions")

    def ready(self) -> None:
        """Register the checks, connect the event bus, import every app's `states`."""
        from .checks import caches, deployment, layers, settings  # noqa: F401
        from .state.declaration import registry

        _connect_event_bus()
        autodiscover_modules("states")
        registry.is_complete = True


def _connect_event_bus() -> None:
    """Subscribe whatever listens in this process, in the order in which it is called.

    Every commit calls the listeners for `Change`: keep them few and cheap.
    """
    from .event_bus import (
        HINTS,
        SESSION_EVENTS,
        Creation,
        Failure,
        Note,
        Removal,
        Serving,
        bus,
    )
    from .monitoring import counters
    from .realtime.publisher import publisher
    from .realtime.staff import nudger
    from .realtime.timeline import timeline
    from .sessions import autosweep

    timeline.request_write = publisher.write_timeline_later
    bus.subscribe(timeline.note, *SESSION_EVENTS)
    bus.subscribe(publisher.publish, *HINTS)
    bus.subscribe(publisher.report_later, Failure)
    if apps.is_installed("django.contrib.admin"):
        timeline.on_activity = nudger.note
        bus.subscribe(nudger.start, Serving)
    bus.subscribe(counters.count_removal, Removal)
    bus.subscribe(counters.count_resumption, Note)
    bus.subscribe(autosweep.wake, Creation, Serving)
