"""Template tag that passes a page's configuration to its scripts."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import json_script
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def sessionstores_config(
    config: dict[str, Any], element_id: str = "sessionstores"
) -> SafeString:
    """Write `participant.config()` as a JSON script element: `connect("#<id>")`.

    It is data, not code, so a Content-Security-Policy does not block it.
    """
    if not isinstance(config, dict):
        raise TypeError(
            "{% sessionstores_config %} takes what participant.config() returned, "
            f"not {type(config).__name__}: is the name in the template's context?"
        )
    return json_script(config, element_id)
