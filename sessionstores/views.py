"""View of the page on which people join a session by its code."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import (
    NoReverseMatch,
    Resolver404,
    get_script_prefix,
    resolve,
    reverse,
)
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.generic import FormView

from .exceptions import InvalidKey, StoreUnavailable
from .forms import JoinForm
from .keys import normalize_code
from .participants.participant import Participant
from .participants.requests import RequestIdentity
from .participants.throttling import TooManyGuesses
from .participants.visitors import offer_seed, withdraw_seed

__all__ = ["JoinView"]


@method_decorator([never_cache, csrf_protect], name="dispatch")
class JoinView(FormView):  # type: ignore[type-arg]
    """The page to join: a form for code and name, at which nobody is made by a GET.

    `?code=` fills in the code. Who gets in is sent to `next` of the query, which
    `participant_required(join_url=…)` sets, if that is on this site, and to the same
    page of another session if that is what they joined; else to `success_url`: the name
    of a URL that takes `code`, or a path with `{code}` in it.

    A form with errors is shown again: status 200, after too many guesses 429 with
    `Retry-After` in seconds, and 503 while the cache does not answer. One that is sent
    twice makes one participant: for browsers without a session of Django's, the page
    sets a cookie, `ss_visitor`.

    Subclass it for a `role`, a `template_name` of your own, another `form_class` based
    on `JoinForm`, or `joined`. An include may give `{"success_url": …}` in urls.py.
    """

    form_class: type[JoinForm] = JoinForm
    template_name = "sessionstores/join.html"
    success_url: str | None = None
    role: str | None = None
    http_method_names = ("get", "head", "post", "options")

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Raise `ImproperlyConfigured` where a visitor could not be sent on."""
        super().setup(request, *args, **kwargs)
        RequestIdentity(request, blocking=True).require_session()
        self.success_url = kwargs.get("success_url", self.success_url)
        is_own = type(self).get_success_url is not JoinView.get_success_url
        if self.success_url is None and not is_own and not self._next():
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs a success_url, the name of a URL that "
                "takes `code`: JoinView.as_view(success_url='board'), or "
                "path('join/', include('sessionstores.urls'), "
                "{'success_url': 'board'})."
            )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form; no look at any session, and no participant."""
        response: HttpResponse = super().get(request, *args, **kwargs)
        offer_seed(request, response)
        return response

    def get_initial(self) -> dict[str, Any]:
        """Return the code of the query, in its one form if it is one."""
        code = self.request.GET.get("code", "")
        return {**super().get_initial(), "code": _normal(code) or code}

    def form_valid(self, form: JoinForm) -> HttpResponse:
        """Join; send the participant on, or show the form again."""
        given = {} if self.role is None else {"role": self.role}
        participant = form.join(self.request, **given)
        if participant is None:
            return self.form_invalid(form)
        self.joined(participant, form)
        response = HttpResponseRedirect(self.get_success_url(participant))
        withdraw_seed(self.request, response)
        return response

    def form_invalid(self, form: JoinForm) -> HttpResponse:
        """Show the form with its errors."""
        response: HttpResponse = super().form_invalid(form)
        if isinstance(form.refusal, TooManyGuesses):
            response.status_code = HTTPStatus.TOO_MANY_REQUESTS
            response.headers["Retry-After"] = str(form.refusal.seconds)
        elif isinstance(form.refusal, StoreUnavailable):
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return response

    def joined(self, participant: Participant, form: JoinForm) -> None:
        """Do what a site wants done for who has joined; nothing by default."""

    def get_success_url(self, participant: Participant) -> str:  # type: ignore[override]
        """Return where to send who has joined."""
        code = participant.session
        page, url = self._next(), self.success_url
        if page and (self._asked_for() in (None, code) or url is None):
            return _page_of(page, code)
        if url is None:
            raise ImproperlyConfigured("JoinView has neither a success_url nor `next`.")
        return url.replace("{code}", code) if "/" in url else reverse(url, args=[code])

    def _asked_for(self) -> str | None:
        """Return the code that the query has filled in, None if that is none."""
        return _normal(self.request.GET.get("code", ""))

    def _next(self) -> str | None:
        """Return the page of this site from which the visitor was sent."""
        page = self.request.GET.get("next", "")
        is_ours = url_has_allowed_host_and_scheme(
            page, {self.request.get_host()}, require_https=self.request.is_secure()
        )
        return page if is_ours else None


def _page_of(page: str, code: str) -> str:
    """Return the URL of a page, or of the same one of session `code`."""
    path = urlsplit(page).path.removeprefix(get_script_prefix())
    with suppress(Resolver404, NoReverseMatch):
        match: Any = resolve(f"/{path}")
        captured = match.captured_kwargs
        if _normal(captured.get("code", code)) != code:
            return reverse(match.view_name, kwargs={**captured, "code": code})
    return page


def _normal(text: object) -> str | None:
    """Return the code that somebody has typed, None if it is none."""
    try:
        return normalize_code(text)
    except InvalidKey:
        return None
