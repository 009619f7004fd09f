"""Views of the page on which people join a session, and of forms of actions."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from inspect import signature
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.forms.utils import pretty_name
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import (
    NoReverseMatch,
    Resolver404,
    get_script_prefix,
    resolve,
    reverse,
)
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST
from django.views.generic import FormView

from .action_forms import kept
from .action_forms.form import PRESET, ActionForm, label_of
from .action_forms.places import is_ours, page_after, url_of
from .backends import get_backend
from .backends.base import run
from .exceptions import (
    InsideTransaction,
    InvalidArguments,
    InvalidKey,
    Kicked,
    SessionEnded,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
    UnknownAction,
    UnknownState,
)
from .forms import JoinForm
from .keys import normalize_code
from .monitoring import failures
from .monitoring.log_limiter import log_limiter
from .participants.acting import act
from .participants.decorators import ParticipantRequiredMixin
from .participants.participant import Participant
from .participants.requests import RequestIdentity
from .participants.throttling import TooManyGuesses
from .participants.tokens import check_role
from .participants.visitors import offer_seed, withdraw_seed
from .state.declaration import get_action, get_state

__all__ = ["ActionView", "JoinView"]

logger = logging.getLogger("sessionstores.participants")

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
    on `JoinForm`, `joined`, or `get_success_url`: who has joined is `self.participant`.
    An include may give `{"success_url": …}` in urls.py.
    """

    participant: Participant
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
        self.participant = participant
        self.joined(participant, form)
        response = HttpResponseRedirect(self._url_of_next_page())
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

    def get_success_url(self) -> str:
        """Return where to send `self.participant`, who has just joined."""
        code, page = self.participant.session, self._next()
        if page and self._leads_back(code):
            return _page_of(page, code)
        if self.success_url is None:
            raise ImproperlyConfigured(
                f"{type(self).__name__} needs a success_url, {_WAY_OUT}"
            )
        url = str(self.success_url)
        return url.replace("{code}", code) if "/" in url else reverse(url, args=[code])

    def _url_of_next_page(self) -> str:
        # Sites may have a method of their own that takes whom it is about, as ours did.
        url: Callable[..., str] = self.get_success_url
        return url(self.participant) if signature(url).parameters else url()

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
        return page if is_ours(self.request, page) else None


@method_decorator([require_POST, never_cache, csrf_protect], name="dispatch")
class ActionView(ParticipantRequiredMixin, View):
    """Runs an action for a participant's POST, as one of their tabs would.

    It is what `{% sessionstores_form %}` is sent to. Then the browser is sent on, by
    303, to `ss_next` of the form, if that is on this site, else to where it came from.
    There the form shows what was refused. A page of its own shows it (200; 503 while
    the cache does not answer) where Django's session cannot take it there. 404 for a
    state or an action that there is not, with a page that says so; who is no
    participant is answered as by `participant_required`.
    """

    http_method_names = ("post",)
    template_name = "sessionstores/act.html"

    def post(
        self, request: Any, code: str, state: str, action: str, **given: Any
    ) -> HttpResponse:
        """Run the action once; send the browser on, or show the form."""
        participant: Participant = request.participant
        try:
            cls = get_state(state)
            called = get_action(cls, action)
        except (UnknownState, UnknownAction) as error:
            told = {"message": error.message, "label": pretty_name(action)}
            failures.count(get_backend(blocking=True), error)
            return self._page(request, told, HTTPStatus.NOT_FOUND)
        hidden = tuple(request.POST.get(PRESET, "").split())
        form = ActionForm(cls, called, request.POST, hidden=hidden, auto_id="ss-%s")
        refusal: SessionStoresError | None = None
        if form.is_valid():
            refusal = self._act(participant, form)
            if refusal is None:
                kept.forget(request)
                return self._onward(request)
            form.refuse(refusal)
        else:
            failures.count_refusal(get_backend(blocking=True), InvalidArguments.code)
        away = isinstance(refusal, StoreUnavailable)
        if not away and kept.keep(request, participant, form, refusal):
            return self._onward(request)
        shown: dict[str, Any] = {
            "form": form,
            "label": label_of(called),
            "url": url_of(request, participant, cls, called),
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if away else HTTPStatus.OK
        return self._page(request, shown, status)

    def _act(
        self, participant: Participant, form: ActionForm
    ) -> SessionStoresError | None:
        """Run the action of a valid form; return why it was refused, if it was."""
        backend = get_backend(blocking=True)
        try:
            run(act(backend, participant, form.state, form.action, form.decoded))
        except (InsideTransaction, SessionEnded, Kicked):
            # A mistake of the site's, and what no page of the session can show.
            raise
        except SessionStoresError as error:
            if isinstance(error, StoreUnavailable | StateCorrupt):
                log_limiter(backend).log(
                    logger,
                    logging.WARNING,
                    "A form gets the error %s: %s",
                    error.code,
                    error,
                    kind=("form", error.code),
                )
            return error
        return None

    def _onward(self, request: HttpRequest) -> HttpResponse:
        response = HttpResponseRedirect(page_after(request, request.participant))  # type: ignore[attr-defined]
        response.status_code = HTTPStatus.SEE_OTHER
        return response

    def _page(
        self, request: HttpRequest, shown: dict[str, Any], status: HTTPStatus
    ) -> HttpResponse:
        shown["next"] = page_after(request, request.participant)  # type: ignore[attr-defined]
        return render(request, self.template_name, shown, status=status)


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
