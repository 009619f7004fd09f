"""System checks for a deployment: several processes, static files, a proxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.utils.module_loading import import_string

from ..backends import get_backend, problem
from ..backends.server_workers import ALONE, WAY_OUT
from .classes import lineage_of
from .layers import IN_MEMORY_LAYER, default_layer
from .settings import TAG, Apps, usable_conf

# WhiteNoise's storage that deletes files, if it is told to.
DELETING_STORAGE = "whitenoise.storage.CompressedManifestStaticFilesStorage"
# What a site sets that is behind a proxy.
PROXY_SETTINGS = (
    "SECURE_PROXY_SSL_HEADER",
    "USE_X_FORWARDED_HOST",
    "USE_X_FORWARDED_PORT",
)


@register(TAG)
def check_workers(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005 at every check, if the environment asks for several workers."""
    return list(_process_local()) if _several_workers() else []


@register(TAG, deploy=True)
def check_processes(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005 for deployment: a cache or layer that only one process sees."""
    return [] if _several_workers() else list(_process_local())


def _process_local() -> Iterator[CheckMessage]:
    given = usable_conf()
    if (
        given is not None
        and problem(given.cache) is None
        and not get_backend(blocking=True).shared
    ):
        yield Warning(
            ALONE.format(given.cache),
            hint=f"{WAY_OUT} If the site is one process and may lose its data, silence "
            "this check.",
            id="sessionstores.W004",
        )
    if IN_MEMORY_LAYER in lineage_of(default_layer()):
        yield Warning(
            "The channel layer reaches only this process: tabs that another process "
            "serves see a change only at their next heartbeat.",
            hint="Use a layer that processes share, such as channels_redis.pubsub."
            "RedisPubSubChannelLayer. If the site is one process, silence this "
            "check.",
            id="sessionstores.W005",
        )


def _several_workers() -> bool:
    # Gunicorn and uvicorn read their number of workers from it.
    number = os.environ.get("WEB_CONCURRENCY", "")
    return number.isdecimal() and int(number) > 1


@register(TAG)
def check_static_files(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W022: WhiteNoise deletes the modules that scripts import."""
    if not getattr(settings, "WHITENOISE_KEEP_ONLY_HASHED_FILES", False):
        return []
    storage = settings.STORAGES.get("staticfiles", {})
    if DELETING_STORAGE not in lineage_of(storage):
        return []
    path = storage["BACKEND"]
    # True where the names in imports are replaced by hashed ones.
    if getattr(import_string(path), "support_js_module_import_aggregation", False):
        return []
    return [
        Warning(
            "WHITENOISE_KEEP_ONLY_HASHED_FILES deletes client.js and other modules "
            f"under the names by which scripts import them: {path} puts no hashed "
            "names into imports.",
            hint="Use a subclass of that storage with "
            "support_js_module_import_aggregation = True, or keep all files.",
            id="sessionstores.W022",
        )
    ]


@register(TAG, deploy=True)
def check_proxy(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W021: wrong codes of all visitors may count as those of a proxy."""
    given = usable_conf()
    said = [name for name in PROXY_SETTINGS if getattr(settings, name, None)]
    if given is None or given.guess_limit is None or not said:
        return []
    return [
        Warning(
            f"The site is behind a proxy, as {said[0]} says. Unless its server takes "
            "visitors' addresses from the proxy's headers, the wrong session codes of "
            "all visitors count as those of one address, and few of them lock "
            "everybody out.",
            hint="Start uvicorn with --proxy-headers and --forwarded-allow-ips, daphne "
            "with --proxy-headers, and silence this check; or set "
            "SESSIONSTORES['GUESS_LIMIT'] to None if the proxy limits requests.",
            id="sessionstores.W021",
        )
    ]
