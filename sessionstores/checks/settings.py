"""System checks of the settings, the states and the middleware."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from types import CodeType
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.db import DatabaseError
from django.utils.module_loading import import_string

from .. import conf
from ..backends import places_redis, problem
from ..exceptions import StateCorrupt
from ..middleware import ParticipantMiddleware
from ..state import codec
from ..state.declaration import State, class_problems_of, problems_of, registry

TAG = "sessionstores"

# Daphne's default limit; it closes the connection on a longer frame, without an error.
DAPHNE_FRAME_BYTES = 1_048_576

SESSIONS = "django.contrib.sessions"
IN_DATABASE = (f"{SESSIONS}.backends.db", f"{SESSIONS}.backends.cached_db")

Apps = Sequence[AppConfig] | None


@register(TAG)
def check_settings(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E001: `SESSIONSTORES` has unknown keys or unusable values."""
    given = getattr(settings, "SESSIONSTORES", {})
    hint = "Correct it, or leave the key out: each has a default."
    if not isinstance(given, dict):
        hint = "Write {} for the defaults, or remove the setting."
    return [
        Error(
            text,
            hint=hint,
            id="sessionstores.E001",
        )
        for text in conf.problems(given)
    ]


@register(TAG)
def check_cache(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E002: the cache cannot hold records."""
    given = usable_conf()
    if given is None or not (reason := problem(given.cache)):
        return []
    return [Error(reason, hint=_place_of(given), id="sessionstores.E002")]


def _place_of(given: conf.Conf) -> str:
    """Say which setting leads to the cache that is to hold the records."""
    if places_redis(given.redis):
        return (
            "SESSIONSTORES['REDIS'] says which server holds the records. Without an "
            "address in it, the alias that SESSIONSTORES['CACHE'] names does."
        )
    if "CACHE" in getattr(settings, "SESSIONSTORES", {}):
        return (
            f"SESSIONSTORES['CACHE'] names the alias {given.cache!r} for the records. "
            "It may name any other whose cache can hold them."
        )
    return (
        f"Records are kept in CACHES[{given.cache!r}] unless SESSIONSTORES['CACHE'] "
        "names another alias."
    )


@register(TAG)
def check_states(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """E003: two states have the same name. E004: a state that cannot work."""
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
        Error(text, hint=hint, id="sessionstores.E004")
        for cls in registry.classes()
        for text, hint in _problems(cls)
    ]
    return found


def _problems(cls: type[State]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a state, each with a hint."""
    found = [
        *((text, _BODY) for text in class_problems_of(cls)),
        *((text, _TYPES) for text in problems_of(cls)),
    ]
    # What follows from these is not to be said again.
    yield from found or _default_problems(cls)


_BODY = (
    "A state has annotated fields with defaults, and plain methods, with @action if "
    "clients may call them: docs/states.md shows one."
)
_TYPES = (
    "Fields and arguments are sent as JSON and validated by their annotations, so each "
    "annotation must resolve at start-up, to a type that JSON can carry, and each "
    "default must be of its type."
)
_FRESH = (
    "A fresh state is its class called without arguments. This is done at start-up "
    "too, so let default factories and __post_init__ work then."
)


@register(TAG)
def check_server(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W001, W027: no ASGI application. W019: `runserver` without WebSockets."""
    found: list[CheckMessage] = []
    named = getattr(settings, "ASGI_APPLICATION", None)
    if named and (reason := _not_loadable(named)):
        found.append(
            Warning(
                f"ASGI_APPLICATION is {named!r}, {reason}. Servers that load it from "
                "there, such as daphne's runserver, do not start.",
                hint="Name the module and its application with a dot between: "
                "ASGI_APPLICATION = '<project>.asgi.application'. The colon is for "
                "the command line of uvicorn and daphne.",
                id="sessionstores.W027",
            )
        )
    elif not named:
        found.append(
            Warning(
                "ASGI_APPLICATION is not set, so browsers cannot connect.",
                hint="Route WebSockets to sessionstores.routing.websocket_urlpatterns "
                "in asgi.py, and set ASGI_APPLICATION = '<project>.asgi.application'.",
                id="sessionstores.W001",
            )
        )
    if settings.DEBUG and is_realtime() and _runs_wsgi():
        found.append(
            Warning(
                "`manage.py runserver` serves no WebSockets on this site, so the pages "
                "that it shows stay offline.",
                hint="Install daphne and put 'daphne' first in INSTALLED_APPS, which "
                "gives runserver an ASGI server; or develop with `uvicorn --reload` "
                "(pip install uvicorn websockets), and silence this check.",
                id="sessionstores.W019",
            )
        )
    return found


def _not_loadable(path: object) -> str | None:
    """Return why ASGI_APPLICATION leads to no application, as far as can be seen.

    It is not imported, since the site's own code may do anything.
    """
    if not isinstance(path, str) or ":" in path or "." not in path.strip("."):
        return "which is not a path of names with dots between"
    if path == getattr(settings, "WSGI_APPLICATION", None):
        return "which is WSGI_APPLICATION too, and so serves no WebSockets"
    module, _, name = path.rpartition(".")
    try:
        spec = find_spec(module)
        get_code: Any = getattr(spec and spec.loader, "get_code", None)
        code: CodeType | None = get_code and get_code(module)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        return f"whose module cannot be loaded: {error}"
    if spec is None:
        return f"but there is no module {module!r}"
    # All names that the module itself sets, among others; a * may set any.
    if (
        code
        and {name, "__getattr__"}.isdisjoint(code.co_names)
        and ("*",) not in (code.co_consts)
    ):
        return f"but the module {module!r} has no {name!r}"
    return None


def is_realtime() -> bool:
    """Whether the site is to serve WebSockets; else it has plain pages only."""
    named = getattr(settings, "ASGI_APPLICATION", None)
    return bool(named) or apps.is_installed("channels")


def _runs_wsgi() -> bool:
    """Whether `runserver` is one of Django's own."""
    provider: Any = get_commands().get("runserver", "")
    name = provider if isinstance(provider, str) else provider.name
    return name in {"django.core", "django.contrib.staticfiles"}


@register(TAG)
def check_middleware(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W003, W026: no Django session. W020: no ParticipantMiddleware."""
    ours = _position(ParticipantMiddleware)
    django = _position(SessionMiddleware)
    if ours is None:
        return [
            Warning(
                "ParticipantMiddleware is not in MIDDLEWARE, so requests have no "
                "`participant`, and every view with @participant_required fails.",
                hint="Add 'sessionstores.middleware.ParticipantMiddleware' below "
                "SessionMiddleware. If the site makes its participants itself, silence "
                "this check.",
                id="sessionstores.W020",
            )
        ]
    if django is None:
        return [
            Warning(
                "MIDDLEWARE has no SessionMiddleware of Django's, so requests have no "
                "session in which join() could store who somebody is: it raises "
                "ImproperlyConfigured, and people who come back are told to join.",
                hint="Put 'django.contrib.sessions.middleware.SessionMiddleware' in "
                "MIDDLEWARE. If other middleware of the site sets `request.session`, "
                "silence this check.",
                id="sessionstores.W003",
            )
        ]
    if settings.SESSION_ENGINE in IN_DATABASE and not apps.is_installed(SESSIONS):
        return [
            Warning(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, but {SESSIONS!r} is "
                "not in INSTALLED_APPS: whatever reads or writes Django's session, as "
                "join() does, raises RuntimeError.",
                hint=f"Add {SESSIONS!r} to INSTALLED_APPS and run manage.py migrate, "
                "or set another SESSION_ENGINE.",
                id="sessionstores.W026",
            )
        ]
    return []


@register(TAG)
def check_limits(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W006, W017: leases or records expire between heartbeats. W007: large frames."""
    given = usable_conf()
    if given is None:
        return []
    found: list[CheckMessage] = []
    if given.presence_lease < 2 * given.heartbeat:
        found.append(
            Warning(
                f"PRESENCE_LEASE is {given.presence_lease} s and HEARTBEAT "
                f"{given.heartbeat} s: one late heartbeat makes connected people "
                "appear to have left.",
                hint="Make PRESENCE_LEASE at least twice HEARTBEAT.",
                id="sessionstores.W006",
            )
        )
    if given.idle_timeout < 2 * given.heartbeat:
        found.append(
            Warning(
                f"IDLE_TIMEOUT is {given.idle_timeout} s and HEARTBEAT "
                f"{given.heartbeat} s: records of connected people may expire between "
                "two heartbeats.",
                hint="Make IDLE_TIMEOUT at least twice HEARTBEAT.",
                id="sessionstores.W017",
            )
        )
    if given.max_frame_bytes > DAPHNE_FRAME_BYTES:
        found.append(
            Warning(
                f"MAX_FRAME_BYTES is {given.max_frame_bytes}, but daphne closes a "
                "connection that sends a frame of more than "
                f"{DAPHNE_FRAME_BYTES} bytes.",
                hint="Lower it; the arguments of actions are small.",
                id="sessionstores.W007",
            )
        )
    return found


@register(TAG, deploy=True)
def check_origins(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W016: pages of any site may open WebSockets."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS contains '*', so allowed_hosts_only, and Channels' "
            "AllowedHostsOriginValidator, let pages of any site open WebSockets from a "
            "visitor's browser.",
            hint="List the site's own host names in ALLOWED_HOSTS.",
            id="sessionstores.W016",
        )
    ]


def _default_problems(cls: type[State]) -> list[tuple[str, str]]:
    """Describe why a fresh state could not be stored, if so, each with a hint."""
    where = f"{cls.__module__}.{cls.__qualname__}"
    try:
        codec.encode(cls())
    except StateCorrupt as error:
        reason = str(error).partition(".")[2].replace(" The state was not stored.", "")
        return [(f"{where}.{reason} It is the default{_way_out(reason)}", _TYPES)]
    except DatabaseError:
        # Before its tables are migrated, which this check must not prevent.
        return []
    except Exception as error:  # noqa: BLE001 - the site's own code may raise any
        kind = type(error).__name__
        return [(f"{where}: a fresh one cannot be made: {kind}: {error}.", _FRESH)]
    return []


def _way_out(reason: str) -> str:
    expected, got, given = reason.rpartition(": expected ")[2].partition(", got ")
    if not got:
        return ": give another."
    if given == "None.":
        return f". Write {expected} | None, or give another."
    return ", which needs to be of that type."


def usable_conf() -> conf.Conf | None:
    """Return the settings; None if E001 reports them as unusable."""
    try:
        return conf.get()
    except ImproperlyConfigured:
        return None


def _position(middleware: type) -> int | None:
    """Return the position of a middleware or a subclass of it in MIDDLEWARE."""
    for position, path in enumerate(settings.MIDDLEWARE):
        with suppress(ImportError):
            found = import_string(path)
            if isinstance(found, type) and issubclass(found, middleware):
                return position
    return None
