"""Entries in Django's log of admin actions: each change, and each view of a state.

Views have a flag of their own: Django's "Recent actions" shows them without the sign of
a change, and who looks for changes leaves them out by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.utils import timezone

from ..models import LiveSession

# A page that refreshes itself shows a state again and again: one entry covers that.
VIEW_COVERS = timedelta(minutes=10)
VIEWED = "Viewed the state."
# The `action_flag` of what only reads: a view, a download. Django has 1 to 3.
VIEW = 100
# In place of a code, for what concerns no single session.
SITE = "sessions"


def log(user_id: Any, names: Iterable[str], text: str, flag: int = CHANGE) -> None:
    """Log what a user did to each of `names`, such as `K7Q2ZD` or `K7Q2ZD:alice`."""
    kind = ContentType.objects.get_for_model(LiveSession)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=user_id,
            content_type=kind,
            object_id=_object_id(name),
            object_repr=name,
            action_flag=flag,
            change_message=text,
        )
        for name in names
    )


def log_view(user_id: Any, name: str, *, refresh: bool) -> None:
    """Log that a user saw the state of `name`.

    A `refresh` of an open page adds an entry only if the last one is older than
    `VIEW_COVERS`.
    """
    if refresh:
        since = timezone.now() - VIEW_COVERS
        kind = ContentType.objects.get_for_model(LiveSession)
        seen = LogEntry.objects.filter(
            user_id=user_id,
            content_type=kind,
            object_id=_object_id(name),
            change_message=VIEWED,
            action_time__gte=since,
        )
        if seen.exists():
            return
    log(user_id, [name], VIEWED, VIEW)


def entries(code: str, show: str = "") -> QuerySet[LogEntry]:
    """Return the entries about a session and its participants, the latest first.

    `show`: "changes" or "views" leaves out the others.
    """
    kind = ContentType.objects.get_for_model(LiveSession)
    found = LogEntry.objects.filter(
        content_type=kind, object_id__startswith=_object_id(code)
    ).select_related("user")
    # Earlier releases logged views as changes.
    views = Q(action_flag=VIEW) | Q(change_message=VIEWED)
    if show == "views":
        return found.filter(views)
    return found.exclude(views) if show == "changes" else found


def _object_id(name: str) -> str:
    # Always with a colon, so that a session's URL is never taken for a participant's.
    return name if ":" in name else f"{name}:"
