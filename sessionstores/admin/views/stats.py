"""Figures for machines: `stats.json`, and metrics for Prometheus.

Neither contains a session code or a participant's id, because a code lets people in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare

from ... import conf
from ...exceptions import InsideTransaction, StoreUnavailable
from ...manager import stores
from ...monitoring.stats import Stats, plain

exposition: Callable[[Stats, str], tuple[bytes, str]] | None
try:
    from ...monitoring.prometheus import exposition
except ImportError:
    exposition = None

# Left out, since they name sessions and participants.
_LEFT_OUT = frozenset({"summaries", "leaks", "unreadable"})


def check_token(request: HttpRequest) -> bool | None:
    """Return whether the bearer token is `STATS_TOKEN`; None: there is no token."""
    scheme, _space, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    expected = conf.get().stats_token
    return bool(expected) and constant_time_compare(given.strip(), expected or "")


def stats_json(request: HttpRequest) -> HttpResponse:
    """Return the figures as JSON; 503 while the cache does not answer."""
    try:
        stats = stores.stats()
    except (StoreUnavailable, InsideTransaction) as error:
        return JsonResponse({"error": error.code}, status=503)
    return JsonResponse(figures(stats), json_dumps_params={"indent": 2})


def figures(stats: Stats) -> dict[str, Any]:
    """Return the figures as plain data, with the number of warnings of each kind."""
    shown: dict[str, Any] = {
        name: plain(getattr(stats, name))
        for name in stats.__struct_fields__
        if name not in _LEFT_OUT
    }
    shown["warnings"] = dict(Counter(alert.code for alert in stats.leaks))
    return shown


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the figures in a text format of Prometheus."""
    if exposition is None:
        return HttpResponse(
            "Metrics need the package prometheus-client: "
            "pip install 'django-sessionstores[metrics]'.\n",
            content_type="text/plain",
            status=501,
        )
    try:
        stats = stores.stats()
    except (StoreUnavailable, InsideTransaction) as error:
        return HttpResponse(f"# {error.code}\n", content_type="text/plain", status=503)
    text, content_type = exposition(stats, request.headers.get("Accept", ""))
    return HttpResponse(text, content_type=content_type)
