"""URLs of the demo."""

from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, register_converter
from django.views.generic import RedirectView
from django.views.i18n import JavaScriptCatalog

from sessionstores.converters import SessionCodeConverter

from . import faults, views
from .workers import MAY_FLUSH, WORKER_NUMBER

register_converter(SessionCodeConverter, "code")

urlpatterns = [
    path("", views.Home.as_view(), name="home"),
    path("favicon.ico", RedirectView.as_view(url=static("workshop/icon.svg"))),
    path("start/", views.start, name="start"),
    path("texts.js", JavaScriptCatalog.as_view(packages=["project"]), name="texts"),
    path("admin/", admin.site.urls),
    path("<code:code>/", views.board, name="board"),
    path("join/", include("sessionstores.urls")),
    path("<code:code>/plain/", views.plain, name="plain"),
    path("<code:code>/react/", views.react, name="react"),
    path("<code:code>/shared/", views.board, {"shared": True}, name="shared"),
    path("<code:code>/together/", views.together, name="together"),
    path("<code:code>/restart/", views.restart, name="restart"),
    path("<code:code>/end/", views.end, name="end"),
]

if WORKER_NUMBER:
    urlpatterns += [
        path("<code:code>/workers/", faults.show, name="workers"),
        path("<code:code>/kill/", faults.kill, name="kill"),
    ]
if MAY_FLUSH:
    urlpatterns += [path("<code:code>/flush/", faults.flush, name="flush")]
