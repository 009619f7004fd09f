"""Origins of WebSockets, as any client may claim them, over real handshakes too."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.security.websocket import OriginValidator
from channels.testing import WebsocketCommunicator
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime.consumers import StoreConsumer
from sessionstores.realtime.origins import allowed_hosts_only, is_own
from sessionstores.routing import websocket_urlpatterns
from tests.faults.workers import Worker, running
from tests.servers import Valkey

# Who denies a handshake closes old connections, such as another test has left.
pytestmark = pytest.mark.django_db

PATH = "/ws/sessionstores/"

# What a parser of URLs may stumble over.
MALFORMED = [
    b"http://[::1",
    b"http://::1]",
    b"http://[x]",
    b"http://testserver:port",
    b"http://testserver:99999",
    b"http://testserver:-1",
    b"http://\xe2\x84\x80",
    b"http://\xff",
    b"//",
    b":",
    b"\x00",
]
OWN = [b"http://testserver", b"https://testserver:8000", b"http://localhost"]

pieces = st.sampled_from(
    [*MALFORMED, *OWN, b"http", b"://", b"[", b"]", b":", b"@", b"/", b"%", b"#", b"?"]
)
origins = st.one_of(st.binary(max_size=30), st.lists(pieces, max_size=4).map(b"".join))


def test_the_sites_own_hosts_are_its_own() -> None:
    assert [is_own(origin) for origin in OWN] == [True] * len(OWN)
    assert not any(map(is_own, [*MALFORMED, b"null", b"", b"http://evil.example"]))


@given(origins)
async def test_any_origin_is_let_in_or_denied(origin: bytes) -> None:
    application = allowed_hosts_only(StoreConsumer.as_asgi())
    headers = [(b"origin", origin)]
    socket = WebsocketCommunicator(application, PATH, headers)
    accepted, _ = await socket.connect(10)
    assert accepted == is_own(origin)
    await socket.disconnect()


class Elsewhere(OriginValidator):
    """A validator of the site's own, with work of its own before it decides."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        await asyncio.sleep(0)
        return await super().__call__(scope, receive, send)


@pytest.mark.parametrize("validator", [OriginValidator, Elsewhere])
@pytest.mark.parametrize(
    ("origin", "accepted"),
    [(b"https://elsewhere.example", True), (b"http://testserver", False)],
)
async def test_a_validator_of_the_site_has_the_last_word(
    validator: type[OriginValidator], origin: bytes, accepted: bool
) -> None:
    code = await stores.acreate_session()
    routes: Any = URLRouter(websocket_urlpatterns)
    application = validator(routes, ["https://elsewhere.example"])
    socket = WebsocketCommunicator(application, PATH, [(b"origin", origin)])
    assert (await socket.connect(10))[0] == accepted
    if accepted:
        token = Participant(code, "alice").token()
        hello = {"type": "hello", "token": token, "client": "a1"}
        await socket.send_json_to(hello)
        assert (await socket.receive_json_from(10))["type"] == "welcome"
    await socket.disconnect()


# The path that a server hands on, its root path, and FORCE_SCRIPT_NAME.
BELOW = [
    (f"/app{PATH}", "", "/app"),
    (f"/app{PATH}", "", "/app/"),
    (PATH, "", "/app"),
    (f"/a/b{PATH}", "", "/a/b"),
    (f"/ws{PATH}", "", "/ws"),
    (PATH, "", "/ws"),
    (f"/app{PATH}", "/app", None),
    (f"/app{PATH}", "/app", "/app"),
]


@pytest.mark.parametrize(("path", "root", "forced"), BELOW)
@pytest.mark.parametrize("route", ["", "staff/"])
@pytest.mark.parametrize("whose", ["the site's", "ours"])
async def test_any_validator_has_the_routes_below_a_path(
    path: str, root: str, forced: str | None, route: str, whose: str, settings: Any
) -> None:
    settings.FORCE_SCRIPT_NAME = forced
    settings.ALLOWED_HOSTS = ["elsewhere.example"]
    routes: Any = URLRouter(websocket_urlpatterns)
    application: Any = allowed_hosts_only(routes)
    if whose == "the site's":
        application = OriginValidator(routes, ["https://elsewhere.example"])
    headers = [(b"origin", b"https://elsewhere.example")]
    socket = WebsocketCommunicator(application, path + route, headers)
    scope: Any = socket.scope
    scope["root_path"] = root
    # Staff who are nobody are let in, too, to be told so.
    assert (await socket.connect(10))[0]
    await socket.disconnect()


@pytest.mark.parametrize("path", ["/ws/sessionstores", f"/x{PATH}", f"{PATH}x", "/app"])
async def test_nothing_else_is_a_route_below_a_path(path: str, settings: Any) -> None:
    settings.FORCE_SCRIPT_NAME = "/app"
    application: Any = URLRouter(websocket_urlpatterns)
    with pytest.raises(ValueError, match="No route found"):
        await application({"type": "websocket", "path": path}, None, None)


async def test_without_a_validator_the_sites_own_hosts_are_asked_for() -> None:
    application: Any = StoreConsumer.as_asgi()
    headers = [(b"origin", b"https://elsewhere.example")]
    socket = WebsocketCommunicator(application, PATH, headers)
    await socket.connect(10)
    assert (await socket.receive_json_from(10))["code"] == "forbidden"
    await socket.disconnect()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A site on a server of its own."""
    valkey = Valkey()
    valkey.start()
    try:
        with running(1, valkey.port) as (worker,):
            yield worker
    finally:
        valkey.stop()


@pytest.mark.parametrize("path", [f"/{each.pattern}" for each in websocket_urlpatterns])
def test_no_origin_is_an_error_of_the_server(path: str, worker: Worker) -> None:
    for origin in [*MALFORMED, b"null", b"http://evil.example"]:
        if b"\x00" in origin:
            continue
        connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
        handshake = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": "sessionstores.v1",
            "Origin": origin,
        }
        connection.request("GET", path, headers=handshake)
        assert connection.getresponse().status == 403, origin
        connection.close()
    assert "Traceback" not in worker.log()
