"""Where dj-control-room finds the overview: only sites with that hub include this."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

app_name = "sessionstores"
_to_overview = RedirectView.as_view(
    pattern_name="admin:sessionstores_livesession_changelist"
)

urlpatterns = [path("admin/live-sessions/", _to_overview, name="index")]
