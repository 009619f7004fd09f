"""Moments: times of day, which the script puts into the visitor's zone."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString


def time_tag(at: float | None, style: str = "ago") -> SafeString | str:
    """Write a time, in seconds since the epoch, as its time of day.

    The script turns it into "3 s ago" (`ago`), "in 20 s" (`in`), a countdown (`left`),
    or the visitor's local time, to the second (`clock`) or the minute (`until`), or
    always with its date (`moment`). The server does not write "ago", because the markup
    would change every second and no fragment would be a 304.
    """
    if not at:
        return ""
    moment = datetime.fromtimestamp(at, UTC)
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    is_today = local.date() == timezone.localdate()
    whole = formats.date_format(local, "DATETIME_FORMAT")
    of_day = "H:i" if style == "until" else "H:i:s"
    shown = formats.date_format(local, of_day if is_today else "SHORT_DATETIME_FORMAT")
    return format_html(
        '<time datetime="{}" data-ss-time="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        style,
        whole,
        whole if style == "moment" else shown,
    )
