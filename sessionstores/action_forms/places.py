"""Places: the URL that a form is posted to, and the page that is shown after it."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ..participants.participant import Participant
from ..participants.requests import RequestIdentity
from ..state.declaration import Action, State
from .form import NEXT


def is_ours(request: HttpRequest, url: str) -> bool:
    """Return whether a URL is one of this site, and as safe as the request's."""
    return url_has_allowed_host_and_scheme(
        url, {request.get_host()}, require_https=request.is_secure()
    )


def url_of(
    request: HttpRequest, participant: Participant, cls: type[State], action: Action
) -> str:
    """Return the URL that runs an action for a POST of the participant.

    Raises `ImproperlyConfigured` if the site has none.
    """
    name = cls.__sessionstores__.name
    given = {"code": participant.session, "state": name, "action": action.name}
    try:
        url = reverse("sessionstores:act", kwargs=given)
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "Forms of actions are sent to a view of ours: path('join/', "
            "include('sessionstores.urls')) in the URLs of the site."
        ) from error
    return _signed(request, participant, url)


def page_after(request: HttpRequest, participant: Participant) -> str:
    """Return the page to show after a POST: the form's next, else where it came from.

    Only one of this site, else its root. Who came by a link goes on by one.
    """
    came_from = request.headers.get("Referer", "")
    for url in (request.POST.get(NEXT, ""), came_from):
        if is_ours(request, url):
            return _signed(request, participant, url)
    return _signed(request, participant, get_script_prefix())


def _signed(request: HttpRequest, participant: Participant, url: str) -> str:
    by_link = RequestIdentity(request, blocking=True).has_link
    return participant.link(url) if by_link else url
