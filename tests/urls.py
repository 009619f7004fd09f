"""URLs of the test site; a test that needs views of its own brings its urlconf."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
