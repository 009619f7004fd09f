"""The servers that are measured against each other, each an ASGI application.

`uvicorn benchmarks.asgi_apps:NAME`; all answer every text frame with one of their own.
What they keep is in this process, or in the Redis at `BENCH_REDIS`. Tabs may send as
fast as they like, unless `BENCH_RATE` is a `RATE_LIMIT`, as JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django
from django.conf import settings

from benchmarks import shares

REDIS = os.environ.get("BENCH_REDIS")

settings.configure(
    SECRET_KEY="benchmarks",
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "channels",
        "sessionstores",
        "benchmarks",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS,
        }
        if REDIS
        else {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    },
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS]},
        }
        if REDIS
        else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    },
    SESSIONSTORES={
        "RATE_LIMIT": json.loads(os.environ.get("BENCH_RATE", "null")),
        "MAX_CONNECTIONS": 100,
        "MAX_PARTICIPANTS": 10_000,
        "HEARTBEAT": 10,
    },
    USE_TZ=True,
)
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from channels.sessions import SessionMiddlewareStack  # noqa: E402
from django.urls import path  # noqa: E402

from sessionstores.routing import websocket_urlpatterns  # noqa: E402

FAVOURITES = 25


def at(consumer: type[AsyncWebsocketConsumer]) -> list[Any]:
    """Return the URL patterns of a site with one consumer."""
    application: Any = consumer.as_asgi()
    return [path("ws/", application)]


async def raw_echo(scope: Any, receive: Any, send: Any) -> None:
    """The floor: an echo without any framework."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class Echo(AsyncWebsocketConsumer):
    """The echo of a stock Channels consumer."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Send back what came."""
        await self.send(text_data=text_data)


channels_echo = URLRouter(at(Echo))


class Naive(AsyncWebsocketConsumer):
    """The naive way: state in Django's session, sent whole to a group."""

    async def connect(self) -> None:
        """Join the participant's group."""
        self.name = self.scope["query_string"].decode().partition("=")[2]
        self.group = f"naive.{self.name}"
        session = self.scope["session"]
        await session.acreate()
        await session.aset("board", json.loads(os.environ["BENCH_STATE"]))
        await session.asave()
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Move a card in the session's board and send the board to the group."""
        frame = json.loads(text_data or "")
        session: Any = self.scope["session"]
        board = await session.aget("board")
        move(board["piles"], frame["args"]["card"], frame["args"]["pile"])
        await session.aset("board", board)
        await session.asave()
        await self.channel_layer.group_send(
            self.group, {"type": "board.changed", "board": board, "id": frame["id"]}
        )

    async def board_changed(self, event: dict[str, Any]) -> None:
        """Send the board to this tab."""
        await self.send(text_data=json.dumps({"id": event["id"], **event["board"]}))


naive = SessionMiddlewareStack(URLRouter(at(Naive)))

sessionstores = URLRouter(websocket_urlpatterns)

shares.obey()


def move(piles: dict[str, list[str]], card: str, pile: str) -> None:
    """Take a card from where it lies and put it on top of `pile`."""
    for cards in piles.values():
        if card in cards:
            cards.remove(card)
    piles.setdefault(pile, []).insert(0, card)
