"""What the admin's templates need: a nonce where there is one, times, sizes, charts."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.template.context import Context
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..humanize import number_text, size_text

register = template.Library()


@register.simple_tag(takes_context=True)
def ss_nonce(context: Context) -> SafeString | str:
    """Write the nonce attribute for a script or a style sheet, if the site uses one.

    Django 6 and django-csp put it into the context under one name. Not by its truth:
    Django's is false until something has asked for it.
    """
    nonce = context.get("csp_nonce")
    if nonce is None or nonce == "":
        return ""
    return format_html(' nonce="{}"', nonce)


@register.simple_tag
def ss_time(at: float | None, style: str = "ago") -> SafeString | str:
    """Write a moment, in seconds since the epoch, as its time of day.

    The script makes it "3 s ago" (`ago`), "in 20 s" (`in`), what is left (`left`), or
    leaves it at the visitor's own time (`clock`). Markup that says "ago" itself would
    be different every second, and nothing would ever be unchanged.
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
