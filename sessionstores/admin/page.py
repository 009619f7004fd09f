"""What every admin page needs: who looks, what they may do, and the site around it."""

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

# A fragment brings a fresh one, so that a page that was open all day can still listen.
TOKEN_HEADER = "X-Sessionstores-Staff"

Texts = dict[str, str]


class Rights(NamedTuple):
    """What somebody may do here; `manage` is False for all while it is `readonly`."""

    dashboard: bool
    state: bool
    manage: bool
    readonly: bool


def rights_of(user: AbstractBaseUser | AnonymousUser) -> Rights:
    """Return what `user` may do, by Django's permissions and `ADMIN_READONLY`."""
    readonly = conf.get().admin_readonly
    has: Any = getattr(user, "has_perm", lambda name: False)
    return Rights(
        has(f"{APP}.view_dashboard"),
        has(f"{APP}.view_state"),
        has(f"{APP}.manage_sessions") and not readonly,
        readonly,
    )


def page_url(site_name: str, name: str, *args: str) -> str:
    """Return the address of one of our pages in the admin site of that name."""
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
    # What tabs are sent for a message of staff.
    announcement: Callable[[str], Any]

    @property
    def user_id(self) -> Any:
        """The primary key of who looks."""
        return self.request.user.pk

    def url(self, name: str, *args: str) -> str:
        """Return the address of one of our pages, in this site."""
        return page_url(self.site.name, name, *args)

    def render(
        self, template: str, *, title: str, status: int = 200, **context: Any
    ) -> TemplateResponse:
        """Return a whole page, within the frame of the admin."""
        self.request.current_app = self.site.name
        return TemplateResponse(
            self.request,
            f"{TEMPLATES}/{template}.html",
            {
                **self.site.each_context(self.request),
                "title": title,
                # Not `opts`: themes make a trail of that, of the app and then the
                # model, which are called the same.
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

        `topic` is the code of the session that it is about; "" for all of them.
        """
        live = {
            "url": fragment_url,
            "topic": topic,
            "token": make_staff_token(self.request),
            "header": TOKEN_HEADER,
            # Who is served by WSGI need not try.
            "socket": get_script_prefix() + STAFF_PATH
            if isinstance(self.request, ASGIRequest)
            else "",
            # By which the page learns how far its own clock is off.
            "now": round(time.time() * 1000),
            "texts": live_texts(),
        }
        return self.render(template, title=title, live=live, **context)

    def fragment(self, template: str, **context: Any) -> HttpResponse:
        """Return the part of a page that refreshes itself; 304 if it is as it was."""
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
        return {"rights": self.rights, "overview_url": self.url("changelist")}


def outage(error: Exception) -> dict[str, Any]:
    """Return what a page shows that has no figures, since the cache fails it."""
    text = _("The cache does not answer")
    return {
        "outage": {"cache": conf.get().cache, "reason": str(error)},
        "summary": text,
        "trouble": text,
    }


def trail(title: str, code: str) -> str:
    """Return where a page is, in a line."""
    return " › ".join(dict.fromkeys(filter(None, (_("Live sessions"), code, title))))


def live_texts() -> Texts:
    """Return what the script says, in the language of the request."""
    return {
        "live": _("Live"),
        "updated": _("updated %s"),
        "off": _("Refreshing is off"),
        "paused": _("Paused"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "stale": _("Stale: the server does not answer. Next try %s."),
        "signedOut": _("You are signed out. Reload the page to sign in again."),
        "forbidden": _("You have no permission to see this any more."),
        "copied": _("Copied"),
        "copyFailed": _("Copying failed; select the text instead."),
        "never": _("off"),
        "now": _("just now"),
    }
