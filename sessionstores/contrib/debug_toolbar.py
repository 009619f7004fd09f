"""Panel for Django Debug Toolbar: the store calls of a request, and what they read.

Name it in `DEBUG_TOOLBAR_PANELS`; nothing else imports this module.
"""

from __future__ import annotations

from typing import Any

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponse
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from ..humanize import size_text
from . import recording
from .recording import RecordedCall, Recording


class SessionStoresPanel(Panel):
    """Shows store calls with their revs, outcome, duration and use of the cache.

    Of the states it shows their names and sizes, never a value; of actions no argument.
    """

    is_async = True
    title = _("Live session stores")
    nav_title = title
    template = "sessionstores/debug_toolbar.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recording: Recording | None = None
        self._before: Recording | None = None

    @classmethod
    def ready(cls) -> None:
        """See `Panel.ready`."""
        recording.instrument()

    def enable_instrumentation(self) -> None:
        """Begin to record, in the context of the request."""
        if self._recording is None:
            self._recording, self._before = recording.begin()

    def disable_instrumentation(self) -> None:
        """Record no more."""
        if self._recording is not None:
            recording.end(self._recording, self._before)

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Keep what was recorded, as JSON."""
        known = self._recording or Recording()
        self.record_stats(  # type: ignore[no-untyped-call]
            {
                "calls": [_row(call) for call in known.calls],
                "count": len(known.calls) + known.left_out,
                "left_out": known.left_out,
                "milliseconds": known.seconds * 1000,
                "bytes": known.bytes,
                "others": sorted(known.others.steps.items()),
            }
        )

    def generate_server_timing(
        self, request: HttpRequest, response: HttpResponse
    ) -> None:
        """Tell the browser's own tools how long the calls took."""
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        self.record_server_timing(  # type: ignore[no-untyped-call]
            "total_time",
            f"Store calls: {stats.get('count', 0)}",
            stats.get("milliseconds", 0),
        )

    @property
    def nav_subtitle(self) -> str:
        """The calls, in the language of the toolbar."""
        stats = self.get_stats()  # type: ignore[no-untyped-call]
        count = stats.get("count", 0)
        return ngettext(
            "%(count)d call in %(time)s ms, %(size)s read",
            "%(count)d calls in %(time)s ms, %(size)s read",
            count,
        ) % {
            "count": count,
            "time": number_format(stats.get("milliseconds", 0), 2),
            "size": size_text(stats.get("bytes", 0)),
        }


def _row(call: RecordedCall) -> dict[str, Any]:
    return {
        "method": call.method,
        "session": call.session,
        "participant": call.participant,
        "state": call.state,
        "action": call.action,
        "base": call.base,
        "rev": call.rev,
        "result": call.result,
        "code": call.code,
        "bytes": call.bytes,
        "milliseconds": call.seconds * 1000,
        "nested": call.nested,
        "steps": list(call.steps.items()),
    }
