"""The request to an admin page: its user's permissions, its site, its rendering."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import django
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import get_script_prefix, reverse
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _

from .. import conf
from ..models import LiveSession
from ..realtime.staff import STAFF_PATH, make_staff_token

TEMPLATES = "sessionstores/admin"
APP = "sessionstores"

# Fragments carry a fresh token, so that a page that is open all day can reconnect.
TOKEN_HEADER = "X-Sessionstores-Staff"

Texts = dict[str, str]


class Rights(NamedTuple):
    """The permissions of a user; if `readonly`, `manage` is False."""

    dashboard: bool
    state: bool
    manage: bool
    readonly: bool


def rights_of(user: AbstractBaseUser | AnonymousUser) -> Rights:
    """Return the permissions of `user`, limited by `ADMIN_READONLY`."""
    readonly = conf.get().admin_readonly
    has: Any = getattr(user, "has_perm", lambda name: False)
    return Rights(
        has(f"{APP}.view_dashboard"),
        has(f"{APP}.view_state"),
        has(f"{APP}.manage_sessions") and not readonly,
        readonly,
    )


def page_url(site_name: str, name: str, *args: str) -> str:
    """Return the URL of a page of ours in the admin site of that name."""
    return reverse(
        f"admin:{APP}_{LiveSession._meta.model_name}_{name}",
        args=args,
        current_app=site_name,
    )


@dataclass(frozen=True)
class AdminPage:
    """A request to one of our pages, and the admin site that it belongs to."""

    site: AdminSite
    request: HttpRequest
    rights: Rights
    # Returns the data that tabs are sent for a message of staff.
    announcement: Callable[[str], Any]

    @property
    def user_id(self) -> Any:
        """The primary key of the user."""
        return self.request.user.pk

    def url(self, name: str, *args: str) -> str:
        """Return the URL of a page of ours in this site."""
        return page_url(self.site.name, name, *args)

    def render(
        self, template: str, *, title: str, status: int = 200, **context: Any
    ) -> TemplateResponse:
        """Return a whole page, inside the admin's layout."""
        self.request.current_app = self.site.name
        return TemplateResponse(
            self.request,
            f"{TEMPLATES}/{template}.html",
            {
                **self.site.each_context(self.request),
                "title": title,
                # Not `opts`: themes make breadcrumbs of its app and its model, which
                # have the same name here.
                "trail": trail(title, context.get("code", "")),
                "ss_list_breadcrumbs": django.VERSION >= (6, 1),
                **self._common(),
                **context,
            },
            status=status,
        )

    def live(
        self,
        template: str,
        *,
        title: str,
        fragment_url: str,
        topic: str = "",
        **context: Any,
    ) -> TemplateResponse:
        """Return a page with a part that refreshes itself from `fragment_url`.

        `topic` is the code of the session that the page shows; "" for all sessions.
        """
        live = {
            "url": fragment_url,
            "topic": topic,
            "token": make_staff_token(self.request),
            "header": TOKEN_HEADER,
            # WSGI serves no WebSockets.
            "socket": get_script_prefix() + STAFF_PATH
            if isinstance(self.request, ASGIRequest)
            else "",
            # The page corrects its own clock by it.
            "now": round(time.time() * 1000),
            "texts": live_texts(),
        }
        return self.render(template, title=title, live=live, **context)

    def fragment(self, template: str, **context: Any) -> HttpResponse:
        """Return the part of a page that refreshes itself; 304 if it is unchanged."""
        self.request.current_app = self.site.name
        html = render_to_string(
            f"{TEMPLATES}/_{template}.html",
            {**self._common(), **context},
            request=self.request,
        )
        etag = f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"'
        fresh = HttpResponse(html, headers={"ETag": etag})
        response = get_conditional_response(self.request, etag=etag, response=fresh)
        response = response or fresh
        response[TOKEN_HEADER] = make_staff_token(self.request)
        return response

    def _common(self) -> dict[str, Any]:
        return {
            "rights": self.rights,
            "overview_url": self.url("changelist"),
            # The message of a page without figures, see `outage`.
            "trouble": "",
        }


def outage(error: Exception) -> dict[str, Any]:
    """Return the context of a page without figures, because the cache failed."""
    text = _("The cache does not answer")
    return {
        "outage": {"cache": conf.get().cache, "reason": str(error)},
        "summary": text,
        "trouble": text,
    }


def trail(title: str, code: str) -> str:
    """Return the path to a page as one line of text."""
    return " › ".join(dict.fromkeys(filter(None, (_("Live sessions"), code, title))))


def live_texts() -> Texts:
    """Return the texts of the script, in the language of the request."""
    return {
        "live": _("Live"),
        "updated": _("updated %s"),
        "off": _("Refreshing is off"),
        "paused": _("Paused"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "stale": _("Stale: the server does not answer. Next attempt: %s"),
        "signedOut": _("You are signed out. Reload the page to sign in again."),
        "forbidden": _("You have no permission to see this any more."),
        "copied": _("Copied"),
        "copyFailed": _("Copying failed; select the text instead."),
        "never": _("off"),
        "now": _("just now"),
    }
