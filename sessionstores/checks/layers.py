"""System checks of the channel layer."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.utils.module_loading import import_string

from .classes import as_number, lineage_of
from .settings import TAG, Apps, is_realtime

IN_MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
# RedisPubSubChannelLayer has none of the limits below: it reads for a tenth of a
# second at a time, sends over one connection, and its queues are unbounded.
CORE_LAYER = "channels_redis.core.RedisChannelLayer"
PUBSUB_LAYER = "channels_redis.pubsub.RedisPubSubChannelLayer"

# How long RedisChannelLayer waits for a message.
LAYER_READ_SECONDS = 5
# Limits that redis-py has by default from version 8 on.
REDIS_PY_8 = {"socket_timeout": 5, "max_connections": 100}
ENOUGH_CONNECTIONS = 500
LAYER_CAPACITY = 100
ENOUGH_CAPACITY = 1_000

_PUBSUB = "Use channels_redis.pubsub.RedisPubSubChannelLayer, which has no such limit"


@register(TAG)
def check_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W002: there is no channel layer, or none that can be made of the settings."""
    layers: object = getattr(settings, "CHANNEL_LAYERS", {})
    if is_realtime() and isinstance(layers, Mapping) and "default" not in layers:
        text = (
            "CHANNEL_LAYERS has no 'default', so tabs that another process serves see "
            "a change only at their next heartbeat."
        )
        hint = (
            f"For one process, {IN_MEMORY_LAYER} is enough; several processes need a "
            f"layer that they share, such as {PUBSUB_LAYER}."
        )
    elif is_realtime() and (reason := unusable_layer()):
        text = f"{reason}: without a channel layer, no tab can connect."
        hint = (
            "Write CHANNEL_LAYERS = {'default': {'BACKEND': "
            f"'{PUBSUB_LAYER}', 'CONFIG': {{'hosts': ['redis://…']}}}}}}, or for one "
            f"process {{'default': {{'BACKEND': '{IN_MEMORY_LAYER}'}}}}."
        )
    else:
        return []
    return [Warning(text, hint=hint, id="sessionstores.W002")]


def unusable_layer() -> str | None:
    """Return why no default layer can be made; None if one can, or there is none."""
    layers: object = getattr(settings, "CHANNEL_LAYERS", {})
    if not isinstance(layers, Mapping):
        return f"CHANNEL_LAYERS must be a dict, not {_kind(layers)}"
    if "default" not in layers:
        return None
    where, layer = "CHANNEL_LAYERS['default']", layers["default"]
    if not isinstance(layer, Mapping) or "BACKEND" not in layer:
        shown = f"not {_kind(layer)}" if layer else "and is empty"
        return f"{where} must be a dict with a 'BACKEND', {shown}"
    path, config = layer["BACKEND"], layer.get("CONFIG") or {}
    try:
        import_string(path)
    except (ImportError, AttributeError) as error:
        return f"{where}['BACKEND'] is {path!r}, which cannot be imported ({error})"
    if not isinstance(config, Mapping):
        return f"{where}['CONFIG'] must be a dict, not {_kind(config)}"
    hosts = config.get("hosts")
    if isinstance(hosts, str | bytes | Mapping) and hosts and is_on_redis():
        return f"{where}['CONFIG']['hosts'] must be a list, not {_kind(hosts)}"
    return None


def is_on_redis() -> bool:
    """Return whether the default layer is one of channels_redis, or made of it."""
    lineage = lineage_of(default_layer())
    return not lineage.isdisjoint((CORE_LAYER, PUBSUB_LAYER))


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


@register(TAG)
def check_redis_layer(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """W012: reads time out. W013: few connections. W014: small capacity."""
    layer = default_layer()
    if CORE_LAYER not in lineage_of(layer):
        return []
    config = layer.get("CONFIG") or {}
    if unusable_layer():
        return []
    clients = [_client_arguments(host) for host in config.get("hosts") or [{}]]
    seconds = min(as_number(client.get("socket_timeout")) for client in clients)
    limit = min(as_number(client.get("max_connections")) for client in clients)
    capacity = config.get("capacity", LAYER_CAPACITY)
    found: list[CheckMessage] = []
    if seconds <= LAYER_READ_SECONDS:
        found.append(
            Warning(
                f"The channel layer waits {LAYER_READ_SECONDS} s for a message, but "
                f"its Redis client only {seconds:g} s for a reply: in an idle process, "
                "reads keep failing, and messages from other processes are late.",
                hint=f"{_PUBSUB}, or give its CONFIG "
                "'hosts': [{'address': 'redis://…', 'socket_timeout': 15}].",
                id="sessionstores.W012",
            )
        )
    if limit < ENOUGH_CONNECTIONS:
        found.append(
            Warning(
                f"The channel layer has at most {limit:g} connections to Redis; a "
                "further call at the same time raises MaxConnectionsError. "
                "sessionstores sends its messages one after the other; consumers of "
                "the site may not.",
                hint=f"{_PUBSUB}, or give its CONFIG "
                "'hosts': [{'address': 'redis://…', 'max_connections': 1000}].",
                id="sessionstores.W013",
            )
        )
    if as_number(capacity) < ENOUGH_CAPACITY:
        found.append(
            Warning(
                f"The channel layer holds {capacity} messages for all channels of a "
                "process together and drops further ones: tabs then see a change only "
                "at their next heartbeat.",
                hint=f"{_PUBSUB}, or give its CONFIG 'capacity': {ENOUGH_CAPACITY}.",
                id="sessionstores.W014",
            )
        )
    return found


def _client_arguments(host: object) -> dict[str, Any]:
    """Return the arguments of a layer's Redis client; those in its URL win."""
    defaults = REDIS_PY_8 if int(version("redis").split(".")[0]) >= 8 else {}
    given = dict(host) if isinstance(host, Mapping) else {"address": host}
    address = given.get("address")
    query = urlsplit(address).query if isinstance(address, str) else ""
    return {**defaults, **given, **dict(parse_qsl(query))}


def default_layer() -> Mapping[str, Any]:
    """Return the settings of the default layer; {} if there are none of use."""
    layers: object = getattr(settings, "CHANNEL_LAYERS", {})
    layer = layers.get("default", {}) if isinstance(layers, Mapping) else {}
    return layer if isinstance(layer, Mapping) else {}
