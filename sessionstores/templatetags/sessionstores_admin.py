"""Template tags and filters of the admin: nonces, times, sizes and numbers."""

from __future__ import annotations

from django import template
from django.template.context import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..admin.components.moment import time_tag
from ..humanize import duration_text, number_text, rate_text, size_text

register = template.Library()


@register.simple_tag(takes_context=True)
def ss_nonce(context: Context) -> SafeString | str:
    """Write the nonce attribute for a script or a style sheet, if the site uses one.

    Django 6 and django-csp put it into the context under the same name. It is not
    tested for truth: Django's is false until it is used.
    """
    nonce = context.get("csp_nonce")
    if nonce is None or nonce == "":
        return ""
    return format_html(' nonce="{}"', nonce)


register.simple_tag(time_tag, name="ss_time")
register.filter("ss_bytes", size_text)
register.filter("ss_number", number_text)
register.filter("ss_duration", duration_text)
register.filter("ss_rate", rate_text)
