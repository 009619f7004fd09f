"""Real servers, reached in each way that CACHES can name."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django_redis.pool import ConnectionFactory
from pytest_django import Settings

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.redis import backend as backend_module
from sessionstores.backends.redis.location import Location, location_for
from sessionstores.exceptions import StoreUnavailable
from tests.backends.driven import ALICE, BOARD
from tests.certificates import certificate
from tests.servers import PATIENCE, Valkey

from .test_client import Sentinel

DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
SITE = "tests.backends.redis.cache_site"
PASSWORD = "a@b/c:d?e#f%g h+i[j]k\\l\"m'n,o;pü"

both = pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey with a password, that listens at a Unix socket too."""
    path = tmp_path_factory.mktemp("socket") / "valkey.sock"
    running = Valkey(unixsocket=str(path))
    running.start()
    try:
        with running.client() as client:
            rules = ["on", f">{PASSWORD}", "allkeys", "allchannels", "+@all"]
            client.execute_command("ACL", "SETUSER", "site@user", *rules)
        yield running
    finally:
        running.stop()


@pytest.fixture(autouse=True)
def fresh_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no pools of django-redis, which keeps one for each URL."""
    monkeypatch.setattr(ConnectionFactory, "_pools", {})


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time."""

    def location(alias: str) -> Location:
        return location_for(alias)._replace(reply_seconds=PATIENCE)

    monkeypatch.setattr(backend_module, "location_for", location)


def use(settings: Settings, **cache: Any) -> None:
    """Let the default cache be that one, and use it in both flavours."""
    settings.CACHES = {"default": cache}
    run(get_backend(blocking=True).clear())
    assert run(get_backend(blocking=True).open(ALICE, BOARD)).record.states == BOARD

    async def read() -> Any:
        return (await get_backend(blocking=False).open(ALICE, {})).record.states

    assert asyncio.run(read()) == BOARD


def keys_in(server: Valkey) -> set[str]:
    """Return the databases that hold keys; empty them."""
    with server.client() as client:
        found = set(client.info("keyspace"))
        client.flushall()
    return found


@both
def test_a_user_with_any_password_is_let_in(
    server: Valkey, settings: Settings, backend: str
) -> None:
    port, user = server.port, quote("site@user", safe="")
    names = ("username", "password")
    if backend == DJANGO_REDIS:
        names = ("USERNAME", "PASSWORD")
    given = dict(zip(names, ("site@user", PASSWORD), strict=True))
    use(
        settings,
        BACKEND=backend,
        LOCATION=f"redis://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/3",
    )
    use(
        settings,
        BACKEND=backend,
        LOCATION=f"redis://127.0.0.1:{port}?db=4",
        OPTIONS=given,
    )
    assert keys_in(server) == {"db3", "db4"}
    with pytest.raises(StoreUnavailable, match="username and password"):
        use(
            settings,
            BACKEND=backend,
            LOCATION=f"redis://127.0.0.1:{port}?db=5",
            OPTIONS={**given, names[1]: "wrong"},
        )


@both
def test_a_unix_socket_is_reached(
    server: Valkey, settings: Settings, backend: str
) -> None:
    place = f"unix://{server.options['unixsocket']}?db=6"
    use(settings, BACKEND=backend, LOCATION=place)
    assert keys_in(server) == {"db6"}


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": f"{SITE}.NativeRedisCache"},
        {"BACKEND": f"{SITE}.PrometheusRedisCache"},
        {"BACKEND": f"{SITE}.ValkeyCache"},
        {
            "BACKEND": DJANGO,
            "OPTIONS": {"pool_class": "redis.BlockingConnectionPool", "db": "7"},
        },
        {
            "BACKEND": DJANGO_REDIS,
            "OPTIONS": {
                "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
                "CONNECTION_POOL_KWARGS": {"max_connections": 2, "db": 7},
            },
        },
    ],
)
def test_caches_of_the_site_and_of_packages_are_reached(
    server: Valkey, settings: Settings, cache: dict[str, Any]
) -> None:
    place = f"redis://127.0.0.1:{server.port}"
    if "OPTIONS" not in cache:
        place += "/7"
    use(settings, **cache, LOCATION=place)
    assert keys_in(server) == {"db7"}


@pytest.mark.parametrize("client", ["DefaultClient", "SentinelClient"])
def test_the_primary_that_sentinels_name_is_reached(
    server: Valkey, settings: Settings, client: str
) -> None:
    settings.DJANGO_REDIS_CONNECTION_FACTORY = (
        "django_redis.pool.SentinelConnectionFactory"
    )
    sentinel = Sentinel(server.port)
    sentinel.start()
    try:
        use(
            settings,
            BACKEND=DJANGO_REDIS,
            LOCATION="redis://main/8",
            OPTIONS={
                "CLIENT_CLASS": f"django_redis.client.{client}",
                "SENTINELS": [("127.0.0.1", sentinel.port)],
            },
        )
        assert keys_in(server) == {"db8"}
    finally:
        sentinel.stop()


# TLS


class Relay:
    """Takes TLS connections and passes what they say to a server in the clear."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=[plain], daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            secure = self._context.wrap_socket(plain, server_side=True)
            onward = socket.create_connection(("127.0.0.1", self._port))
            with secure, onward:
                back = threading.Thread(
                    target=self._pass, args=[onward, secure], daemon=True
                )
                back.start()
                self._pass(secure, onward)
                back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@both
def test_tls_is_spoken_and_certificates_are_verified(
    server: Valkey, settings: Settings, backend: str, tmp_path: Path
) -> None:
    path = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path.with_suffix(".key"))
    with closing(Relay(server.port, context)) as relay:

        def with_options(number: int, **given: Any) -> None:
            options = (
                {"CONNECTION_POOL_KWARGS": given} if backend == DJANGO_REDIS else given
            )
            place = f"rediss://127.0.0.1:{relay.port}/{number}"
            use(settings, BACKEND=backend, LOCATION=place, OPTIONS=options)

        with_options(1, ssl_ca_certs=str(path))
        with_options(2, ssl_cert_reqs=None, ssl_check_hostname=False)
        use(
            settings,
            BACKEND=backend,
            LOCATION=f"rediss://127.0.0.1:{relay.port}/3?ssl_ca_certs={path}",
        )
        assert keys_in(server) == {"db1", "db2", "db3"}
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            with_options(4)
    assert keys_in(server) == set()
