"""The servers that a crowd meets: a session's state, shared by many tabs.

`uvicorn benchmarks.crowd_apps:NAME`; settings are those of `benchmarks.asgi_apps`.
"""

from __future__ import annotations

import json
from typing import Any

# First: it configures Django.
from benchmarks import asgi_apps

# isort: split
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.core.cache import cache

from sessionstores import Participant, State, action, field, injected

sessionstores = asgi_apps.sessionstores


class Agenda(State, scope="session"):
    """What a session's participants vote on."""

    step: int = 1
    votes: dict[str, int] = field(default_factory=dict[str, int])

    @action
    def vote(self, card: int, *, by: Participant = injected) -> None:
        """Vote for a card; the last vote of a participant counts."""
        self.votes[by.id] = card


class Room(AsyncWebsocketConsumer):
    """The naive way: state in a Django cache, got and set, and sent to a group.

    A frame of the type "patch" is sent to the group as it is.
    """

    async def connect(self) -> None:
        """Join the room's group."""
        query = dict(
            pair.split("=") for pair in self.scope["query_string"].decode().split("&")
        )
        self.name, self.room = query["name"], query["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None
    ) -> None:
        """Vote in the session's state and answer, or show the state."""
        assert text_data is not None
        frame = json.loads(text_data)
        if frame["type"] == "patch":
            event: dict[str, Any] = {"type": "room.patch", "text": text_data}
            await self.channel_layer.group_send(self.room, event)
            return
        state = await cache.aget(self.room) or {"step": 1, "votes": {}}
        if frame["type"] == "vote":
            state["votes"][self.name] = frame["card"]
            await cache.aset(self.room, state)
            event = {"type": "room.state", "state": state}
            await self.channel_layer.group_send(self.room, event)
            answer = {"type": "ack", "id": frame["id"]}
        else:
            answer = {"type": "stored", "state": state}
        await self.send(text_data=json.dumps(answer))

    async def room_state(self, event: dict[str, Any]) -> None:
        """Send the state to this tab."""
        text = json.dumps({"type": "state", "state": event["state"]})
        await self.send(text_data=text)

    async def room_patch(self, event: dict[str, Any]) -> None:
        """Send a patch to this tab."""
        await self.send(text_data=event["text"])


naive = URLRouter(asgi_apps.at(Room))
