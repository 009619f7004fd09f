"""URLs of the page to join: `path("join/", include("sessionstores.urls"))`."""

from __future__ import annotations

from django.urls import path

from .views import JoinView

app_name = "sessionstores"
urlpatterns = [path("", JoinView.as_view(), name="join")]
