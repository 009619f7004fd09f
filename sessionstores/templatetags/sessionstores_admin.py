"""Template tags and filters of the admin: nonces, times, sizes and numbers."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.template.context import Context
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

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


@register.simple_tag
def ss_time(at: float | None, style: str = "ago") -> SafeString | str:
    """Write a time, in seconds since the epoch, as its time of day.

    The script turns it into "3 s ago" (`ago`), "in 20 s" (`in`), a countdown (`left`),
    or the visitor's local time (`clock`). The server does not write "ago", because the
    markup would change every second and no fragment would be a 304.
    """
    if not at:
        return ""
    moment = datetime.fromtimestamp(at, UTC)
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    is_today = local.date() == timezone.localdate()
    shown = formats.date_format(local, "H:i:s" if is_today else "SHORT_DATETIME_FORMAT")
    return format_html(
        '<time datetime="{}" data-ss-time="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        style,
        formats.date_format(local, "DATETIME_FORMAT"),
        shown,
    )


register.filter("ss_bytes", size_text)
register.filter("ss_number", number_text)
register.filter("ss_duration", duration_text)
register.filter("ss_rate", rate_text)
