"""URLs of the page to join, and of the view to which forms of actions are sent.

`path("join/", include("sessionstores.urls"))`
"""

from __future__ import annotations

from django.urls import path

from .views import ActionView, JoinView

app_name = "sessionstores"
urlpatterns = [
    path("", JoinView.as_view(), name="join"),
    path("act/<str:code>/<str:state>/<str:action>/", ActionView.as_view(), name="act"),
]
