"""Acting as staff: post what a page would; see what is said, logged and published."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import Client

from sessionstores import event_bus
from tests.staff import CODE, page


def act(client: Client, name: str, *arguments: str, **body: Any) -> Any:
    """Post, confirmed; return the page that follows."""
    return client.post(page(name, *arguments), {"confirm": "yes", **body}, follow=True)


def on_session(client: Client, action: str, **body: Any) -> list[str]:
    """Run an operation on the session; return what it says."""
    return told(act(client, "session_act", CODE, action=action, **body))


def on_people(client: Client, action: str, *chosen: str, **body: Any) -> list[str]:
    """Run an operation on participants; return what it says."""
    body |= {"action": action, "chosen": chosen}
    return told(act(client, "participants_act", CODE, **body))


def asked(client: Client, name: str, *arguments: str, **body: Any) -> str:
    """Post, unconfirmed; return the text of the page that asks."""
    return text_in(client.post(page(name, *arguments), body).content.decode())


def text_in(html: str) -> str:
    """Return what a page of ours says, without markup and with single spaces."""
    ours = html.partition('<div class="ss" id="ss">')[2] or html
    text = unescape(re.sub(r"<[^>]+>", " ", ours))
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


def told(response: Any) -> list[str]:
    """Return the messages on the page, as text."""
    texts = [str(each) for each in response.context["messages"]]
    return [re.sub(r"</?time[^>]*>", "", text) for text in texts]


def levels(response: Any) -> list[str]:
    """Return the kinds of the messages on the page."""
    return [each.level_tag for each in response.context["messages"]]


def log() -> list[tuple[str, str, int]]:
    """Return the entries of the admin's log, the oldest first."""
    return [
        (entry.object_repr, entry.change_message, entry.action_flag)
        for entry in LogEntry.objects.order_by("pk")
    ]


def log_texts() -> list[str]:
    """Return their texts."""
    return [text for _name, text, _flag in log()]


def events_of(call: Any) -> list[Any]:
    """Return what `call` publishes."""
    seen: list[Any] = []
    event_bus.bus.subscribe(seen.append, *event_bus.SESSION_EVENTS)
    try:
        call()
    finally:
        event_bus.bus.unsubscribe(seen.append)
    return seen


def buttons(html: str, name: str = "action") -> dict[str, str]:
    """Return what the buttons of a page say, by the value that they send."""
    found = re.findall(
        rf'<button[^>]*name="{name}" value="([^"]*)"[^>]*>(.*?)</button>', html
    )
    return {value: unescape(text) for value, text in found}
