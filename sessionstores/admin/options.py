"""The model admin of live sessions: its URLs, and the permissions that they need.

Registered with the default admin site; for another one,
`site.register(LiveSession, LiveSessionAdmin)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.urls import URLPattern, path, re_path
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from ..exceptions import InsideTransaction, InvalidKey, StateCorrupt, StoreUnavailable
from ..models import LiveSession
from .audit import SITE
from .page import AdminPage, outage, rights_of
from .views.edit import edit
from .views.export import download, export
from .views.health import health, health_live
from .views.operate import (
    act_on_participants,
    act_on_session,
    act_on_sessions,
)
from .views.overview import overview, overview_live
from .views.participant import participant, participant_live
from .views.print_sheet import print_sheet
from .views.session import history, session, session_live
from .views.stats import check_token, metrics, stats_json
from .views.sweep import sweep_now

# Codes and ids, as keys.py has them; "*" is the session's own record.
CODE = r"(?P<code>[A-Z0-9]{6})"
ID = r"(?P<id>[a-zA-Z0-9_-]{1,64}|\*)"
STATE = r"(?P<name>[a-z][a-z0-9_]{0,63})"

READ = frozenset({"GET", "HEAD"})
ACT = frozenset({"POST"})

View = Callable[..., HttpResponseBase]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[LiveSession]
else:
    # Generic for type checkers only.
    _ModelAdmin = admin.ModelAdmin


@admin.register(LiveSession)
class LiveSessionAdmin(_ModelAdmin):
    """Shows live sessions and acts on them, without a table and without a migration.

    `view_dashboard` opens the pages, `view_state` adds the states of participants,
    `manage_sessions` adds everything that changes something; `ADMIN_READONLY` withdraws
    the last from everybody.
    """

    def announcement(self, text: str) -> Any:
        """Return the data of the message frame for a message of staff; override it."""
        return {"announcement": text}

    def has_view_permission(
        self, request: HttpRequest, obj: LiveSession | None = None
    ) -> bool:
        """Return whether the overview may be seen."""
        return rights_of(request.user).dashboard

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the sidebar has an entry."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """False: sessions are created by the site."""
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: LiveSession | None = None
    ) -> bool:
        """False: there are no rows to change."""
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: LiveSession | None = None
    ) -> bool:
        """False: there are no rows to delete."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of all pages, in place of the usual ones of a model."""
        one, person = rf"^{CODE}/", rf"^{CODE}/{ID}/"
        return [
            self._path(r"^$", "changelist", overview),
            self._path(r"^live/$", "live", overview_live),
            self._path(r"^act/$", "act", act_on_sessions, ACT, manage=True),
            self._path(r"^sweep/$", "sweep", sweep_now, ACT, manage=True),
            self._path(r"^health/$", "health", health),
            self._path(r"^health/live/$", "health_live", health_live),
            path("stats.json", self._figures(stats_json), name=self._name("stats")),
            path("metrics", self._figures(metrics), name=self._name("metrics")),
            # The log of admin actions links to it.
            self._path(r"^(?P<name>\w+_3A[^/]*)/change/$", "change", logged_page),
            self._path(rf"{one}$", "session", session),
            self._path(rf"{one}\.live/$", "session_live", session_live),
            self._path(rf"{one}\.history/$", "history", history),
            self._path(rf"{one}\.export/$", "export", export, state=True),
            self._path(rf"{one}\.print/$", "print", print_sheet),
            self._path(
                rf"{one}\.act/$", "session_act", act_on_session, ACT, manage=True
            ),
            self._path(
                rf"{one}\.participants/$",
                "participants_act",
                act_on_participants,
                ACT,
                manage=True,
            ),
            self._path(rf"{person}$", "participant", participant),
            self._path(rf"{person}\.live/$", "participant_live", participant_live),
            self._path(rf"{person}{STATE}\.json$", "download", download, state=True),
            self._path(
                rf"{person}{STATE}/edit/$",
                "edit",
                edit,
                READ | ACT,
                state=True,
                manage=True,
            ),
        ]

    def _name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def _path(
        self,
        pattern: str,
        name: str,
        view: View,
        methods: frozenset[str] = READ,
        *,
        state: bool = False,
        manage: bool = False,
    ) -> URLPattern:
        """Return a path to `view(page, …)` for those who have the permissions."""

        def checked(request: HttpRequest, **arguments: str) -> HttpResponseBase:
            rights = rights_of(request.user)
            if not (
                rights.dashboard
                and (rights.state or not state)
                and (rights.manage or not manage)
            ):
                raise PermissionDenied
            page = AdminPage(self.admin_site, request, rights, self.announcement)
            if request.method in methods:
                return respond(page, view, arguments)
            if request.method in READ:
                return redirect_from_action(page, arguments.get("code"))
            return HttpResponseNotAllowed(sorted(methods))

        update_wrapper(checked, view)
        wrapped = self.admin_site.admin_view(checked)
        return re_path(pattern, outside_transactions(wrapped), name=self._name(name))

    def _figures(self, view: Callable[[HttpRequest], HttpResponse]) -> View:
        """Return `view` for requests with the bearer token or `view_dashboard`."""

        def checked(request: HttpRequest) -> HttpResponse:
            if not rights_of(request.user).dashboard:
                raise PermissionDenied
            return view(request)

        signed_in = self.admin_site.admin_view(checked)

        def either(request: HttpRequest) -> HttpResponseBase:
            if request.method not in READ:
                return HttpResponseNotAllowed(sorted(READ))
            is_valid = check_token(request)
            if is_valid is None:
                return signed_in(request)
            if not is_valid:
                return HttpResponse(
                    "This is not STATS_TOKEN.\n",
                    status=401,
                    content_type="text/plain",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            response = view(request)
            add_never_cache_headers(response)
            return response

        return outside_transactions(either)


def respond(page: AdminPage, view: View, arguments: dict[str, str]) -> HttpResponseBase:
    """Return the response of `view`; if the cache fails, an error page.

    With status 200, since the admin itself works.
    """
    title = _("Live sessions")
    try:
        return view(page, **arguments)
    except InvalidKey as error:
        raise Http404(str(error)) from None
    except (StoreUnavailable, InsideTransaction) as error:
        again = posted_fields(page.request)
        return page.render("unavailable", title=title, again=again, **outage(error))
    except StateCorrupt as error:
        return page.render("unavailable", title=title, corrupt=str(error))


def posted_fields(request: HttpRequest) -> list[tuple[str, Any]] | None:
    """Return the fields of a submitted form, to submit it again; None without one."""
    if request.method in READ:
        return None
    return [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name != "csrfmiddlewaretoken"
    ]


def redirect_from_action(page: AdminPage, code: str | None) -> HttpResponse:
    """Redirect from a URL that takes a form to the page with the form.

    Somebody who was signed out when they submitted it arrives here after the login.
    """
    messages.warning(page.request, _("Nothing was done. Choose the action again."))
    url = page.url("session", code) if code else page.url("changelist")
    return HttpResponseRedirect(url)


def logged_page(page: AdminPage, name: str) -> HttpResponse:
    """Redirect from an entry of the admin's log to the page of its object."""
    code, _colon, id = unquote(name).partition(":")
    if code == SITE:
        return HttpResponseRedirect(page.url("changelist"))
    if not id:
        return HttpResponseRedirect(page.url("session", code))
    return HttpResponseRedirect(page.url("participant", code, id))


def outside_transactions(view: View) -> View:
    """Exempt `view` from `ATOMIC_REQUESTS`, inside which stores refuse to work."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view
