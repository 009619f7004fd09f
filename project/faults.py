"""Pages of `make demo-redis` with which a facilitator kills workers and flushes."""

from __future__ import annotations

from django.core.cache import cache
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from sessionstores import participant_required
from sessionstores.middleware import ParticipantRequest

from . import workers
from .views import facilitator_of


@never_cache
@require_safe
@participant_required
def show(request: ParticipantRequest, code: str) -> HttpResponse:
    """Return the fragment that lists the workers."""
    facilitator_of(request)
    return render(
        request, "workshop/_workers.html", {"workers": workers.worker_statuses()}
    )


@require_POST
@participant_required
def kill(request: ParticipantRequest, code: str) -> HttpResponse:
    """Kill a worker; if it is the one that answers, there is no response."""
    facilitator = facilitator_of(request)
    number = request.POST.get("worker", "")
    if number.isdecimal():
        workers.kill(int(number))
    return redirect(facilitator.link(reverse("together", args=[code])))


@require_POST
@participant_required
def flush(request: ParticipantRequest, code: str) -> HttpResponse:
    """Delete everything on the server."""
    facilitator = facilitator_of(request)
    cache.clear()
    return redirect(facilitator.link(reverse("together", args=[code])))
