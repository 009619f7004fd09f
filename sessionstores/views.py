"""View of the page on which people join a session by its code."""

from __future__ import annotations

import re
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

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
from django.utils.functional import Promise
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
from .participants.tokens import check_role
from .participants.visitors import offer_seed, withdraw_seed

__all__ = ["JoinView"]

# Codes that a URL of the site's may admit, if not each of them.
_SAMPLES = ("K7Q2ZD", "234567", "ABCDEF")
_WAY_OUT = (
    "the name of a URL that takes `code`, or a path with {code} in it: "
    "JoinView.as_view(success_url='board'), or path('join/', "
    "include('sessionstores.urls'), {'success_url': '/board/{code}/'})."
)
_TO_FILL_IN = re.compile(r"\{[^{}]*\}")


@method_decorator([never_cache, csrf_protect], name="dispatch")
class JoinView(FormView):  # type: ignore[type-arg]
    """The page to join: a form for code and name, at which nobody is made by a GET.

    `?code=` fills in the code. Who gets in is sent to `next` of the query, which
    `participant_required(join_url=…)` sets, if that is on this site, and to the same
    page of another session if that is what they joined; else to `success_url`: the name
    of a URL that takes `code`, or a path with `{code}` in it.

    Raises `ImproperlyConfigured` where nobody could be sent on, before somebody joins.

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
        self._check_own()
        if not self._next():
            self._require_success_url()

    def _require_success_url(self) -> None:
        """Raise `ImproperlyConfigured` if it leads nobody on, whatever the code."""
        if self._decides("get_success_url"):
            return
        url, name = self.success_url, type(self).__name__
        if url is None:
            raise ImproperlyConfigured(f"{name} needs a success_url, {_WAY_OUT}")
        if (fault := _fault(url, self.request.path)) is not None:
            raise ImproperlyConfigured(
                f"{name}: success_url={url!r} {fault}. Give {_WAY_OUT}"
            )

    def _check_own(self) -> None:
        """Raise `ImproperlyConfigured` for a role or a form with which nobody joins."""
        name, form = type(self).__name__, self.form_class
        is_computed = isinstance(getattr(type(self), "role", None), property)
        if self.role is not None and not is_computed:
            try:
                check_role(self.role)
            except InvalidKey as error:
                raise ImproperlyConfigured(f"{name}.role: {error}") from None
        is_chosen = self._decides("get_form_class") or self._decides("get_form")
        if not is_chosen and not callable(getattr(form, "join", None)):
            raise ImproperlyConfigured(
                f"{name}.form_class is {form!r}, which lets nobody join: base it on "
                "JoinForm of sessionstores.forms."
            )

    def _decides(self, name: str) -> bool:
        """Whether a subclass has a method of that name of its own."""
        return getattr(type(self), name) is not getattr(JoinView, name)

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
        if not self._leads_back(form.cleaned_data.get("code")):
            # While nobody has joined.
            self._require_success_url()
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
        code, page = participant.session, self._next()
        if page and self._leads_back(code):
            return _page_of(page, code)
        if self.success_url is None:
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs a success_url, {_WAY_OUT}"
            )
        url = str(self.success_url)
        return url.replace("{code}", code) if "/" in url else reverse(url, args=[code])

    def _leads_back(self, code: object) -> bool:
        """Whether who joins session `code` is sent to the page that they came from."""
        if not self._next():
            return False
        return self._asked_for() in (None, code) or self.success_url is None

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
    """Return the URL of a page, or of the same one of session `code`.

    If it has the code as it was typed, it gets the code's one form.
    """
    parts = urlsplit(page)
    with suppress(Resolver404, NoReverseMatch):
        match: Any = resolve(_within(parts.path))
        captured = match.captured_kwargs
        typed = captured.get("code", code)
        if typed != code:
            url: str = reverse(match.view_name, kwargs={**captured, "code": code})
            rest = parts._replace(scheme="", netloc="", path="").geturl()
            return url + rest if _normal(typed) == code else url
    return page


def _within(path: str) -> str:
    """Return the path below the prefix of the site, as its URLs have it."""
    return f"/{path.removeprefix(get_script_prefix())}"


def _fault(url: object, page: str) -> str | None:
    """Return why a success_url of the view at `page` leads nobody on, if that is so."""
    if not isinstance(url, str | Promise):
        return "is no text"
    text = str(url)
    if "/" not in text:
        return _fault_of_name(text)
    unknown = [each for each in _TO_FILL_IN.findall(text) if each != "{code}"]
    if unknown:
        return f"has {unknown[0]}, which is not filled in: only {{code}} is"
    if text.startswith(("/", ".")) or urlsplit(text).scheme:
        return None
    path = urlsplit(urljoin(page, text.replace("{code}", _SAMPLES[0]))).path
    try:
        resolve(_within(path))
    except Resolver404:
        return (
            f"does not begin with /, so that it leads from {page} to {path}, where "
            "this site has no page"
        )
    return None


def _fault_of_name(name: str) -> str | None:
    """Return why a URL of that name leads nobody on, if that is so for each code."""
    for code in _SAMPLES:
        try:
            reverse(name, args=[code])
        except NoReverseMatch as error:
            refusal = str(error)
        else:
            return None
    for args in ((), *((_SAMPLES[0], other) for other in ("1", "a"))):
        with suppress(NoReverseMatch):
            url, takes = reverse(name, args=args), "more than a" if args else "no"
            return f"is the name of {url}, which takes {takes} code"
    # There is one, and it may admit other codes: it is tried when somebody joins.
    return None if "tried" in refusal else f"is the name of no URL: {refusal}"


def _normal(text: object) -> str | None:
    """Return the code that somebody has typed, None if it is none."""
    try:
        return normalize_code(text)
    except InvalidKey:
        return None
