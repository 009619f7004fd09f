"""System checks: what a site's settings and states would trip over later."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import conf
from ..backends import problem
from ..middleware import ParticipantMiddleware
from ..state.declaration import registry

TAG = "sessionstores"

# A frame that daphne takes, by its default; it closes on a longer one without a word.
DAPHNE_FRAME_BYTES = 1_048_576

Apps = Sequence[AppConfig] | None


@register(TAG)
def check_settings(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E001: `SESSIONSTORES` has unknown keys or unusable values."""
    given = getattr(settings, "SESSIONSTORES", {})
    return [
        Error(
            text,
            hint="Correct it, or leave the key out: every one has a default.",
            id="sessionstores.E001",
        )
        for text in conf.problems(given)
    ]


@register(TAG)
def check_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E002: the cache cannot hold records."""
    given = usable_conf()
    reason = given and problem(given.cache)
    if not reason:
        return []
    return [
        Error(
            reason,
            hint="SESSIONSTORES['CACHE'] names the alias that holds the records, "
            "'default' if left out.",
            id="sessionstores.E002",
        )
    ]


@register(TAG)
def check_states(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E003: two states share a name. E004: annotations that do not resolve."""
    found: list[CheckMessage] = [
        Error(
            f"The state name {name!r} is declared by "
            f"{' and by '.join(f'{c.__module__}.{c.__qualname__}' for c in states)}.",
            hint="Give one of them another name: class Board(State, name=...).",
            obj=states[-1],
            id="sessionstores.E003",
        )
        for name, states in registry.duplicates().items()
    ]
    found += [
        Error(
            text,
            hint="Fields and arguments travel as JSON, and clients' are validated by "
            "their annotations, so each annotation must name a type known then.",
            id="sessionstores.E004",
        )
        for text in registry.problems()
    ]
    return found


@register(TAG)
def check_server(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W001: no ASGI application. W002: no channel layer."""
    found: list[CheckMessage] = []
    if not getattr(settings, "ASGI_APPLICATION", None):
        found.append(
            Warning(
                "ASGI_APPLICATION is not set, so no tab can connect.",
                hint="Route WebSockets to sessionstores.routing.websocket_urlpatterns "
                "in asgi.py, and set ASGI_APPLICATION = '<project>.asgi.application'.",
                id="sessionstores.W001",
            )
        )
    if "default" not in getattr(settings, "CHANNEL_LAYERS", {}):
        found.append(
            Warning(
                "CHANNEL_LAYERS has no 'default': tabs at other processes follow with "
                "the next heartbeat only.",
                hint="One process needs no more than channels.layers."
                "InMemoryChannelLayer; several need a layer that they share, such as "
                "channels_redis.pubsub.RedisPubSubChannelLayer.",
                id="sessionstores.W002",
            )
        )
    return found


@register(TAG)
def check_middleware(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W003: participants are resolved before there is a Django session."""
    ours = _place(ParticipantMiddleware)
    django = _place(SessionMiddleware)
    if ours is None or (django is not None and django < ours):
        return []
    return [
        Warning(
            "ParticipantMiddleware finds no Django session, where join() keeps who "
            "has joined.",
            hint="Put 'django.contrib.sessions.middleware.SessionMiddleware' above it "
            "in MIDDLEWARE.",
            id="sessionstores.W003",
        )
    ]


@register(TAG)
def check_limits(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W006, W017: leases and records run out between beats. W007: too large frames."""
    given = usable_conf()
    if given is None:
        return []
    found: list[CheckMessage] = []
    if given.presence_lease < 2 * given.heartbeat:
        found.append(
            Warning(
                f"PRESENCE_LEASE is {given.presence_lease} s and HEARTBEAT "
                f"{given.heartbeat} s: a late beat makes people leave who are there.",
                hint="Make PRESENCE_LEASE at least twice HEARTBEAT.",
                id="sessionstores.W006",
            )
        )
    if given.idle_timeout < 2 * given.heartbeat:
        found.append(
            Warning(
                f"IDLE_TIMEOUT is {given.idle_timeout} s and HEARTBEAT "
                f"{given.heartbeat} s: records of people who are connected may expire "
                "between two beats.",
                hint="Make IDLE_TIMEOUT at least twice HEARTBEAT.",
                id="sessionstores.W017",
            )
        )
    if given.max_frame_bytes > DAPHNE_FRAME_BYTES:
        found.append(
            Warning(
                f"MAX_FRAME_BYTES is {given.max_frame_bytes}, past the "
                f"{DAPHNE_FRAME_BYTES} at which daphne closes a connection.",
                hint="Lower it: an action's arguments are small.",
                id="sessionstores.W007",
            )
        )
    return found


@register(TAG, deploy=True)
def check_origins(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W016: pages of any site may connect."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS has '*', so AllowedHostsOriginValidator lets the pages of "
            "every site open WebSockets from a visitor's browser.",
            hint="List the site's own host names in ALLOWED_HOSTS.",
            id="sessionstores.W016",
        )
    ]


def usable_conf() -> conf.Conf | None:
    """Return the settings; None if E001 has something to say about them."""
    try:
        return conf.get()
    except ImproperlyConfigured:
        return None


def _place(middleware: type) -> int | None:
    """Return where a middleware, or the site's subclass of it, stands."""
    for place, path in enumerate(settings.MIDDLEWARE):
        with suppress(ImportError):
            found = import_string(path)
            if isinstance(found, type) and issubclass(found, middleware):
                return place
    return None
