"""The app of the demo."""

from __future__ import annotations

from django.apps import AppConfig


class WorkshopConfig(AppConfig):
    name = "project"
    label = "workshop"
    verbose_name = "Card-sorting workshop"
