"""Runs the system checks of sessionstores under other settings."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.test import override_settings


def run(*, deploy: bool = False) -> list[checks.CheckMessage]:
    """Return what the checks say of the settings in force."""
    return checks.run_checks(tags=["sessionstores"], include_deployment_checks=deploy)


def found(*, deploy: bool = False, **settings: Any) -> list[checks.CheckMessage]:
    """Return what they would say with other `settings`; each has a hint."""
    with override_settings(**settings):
        messages = run(deploy=deploy)
    assert all(message.hint for message in messages)
    return messages


def ids(*, deploy: bool = False, **settings: Any) -> list[str | None]:
    """Return the ids of what they would say, such as "W004"."""
    messages = found(deploy=deploy, **settings)
    return [
        message.id and message.id.removeprefix("sessionstores.") for message in messages
    ]
