"""Two sites that keep their sessions on one server, told apart by their aliases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from pymemcache.client.base import Client  # type: ignore[import-untyped]

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.memcached import ReplyLine, keys_of
from sessionstores.keys import StoreKey, cache_key
from sessionstores.manager import stores
from tests.caches import cache_on
from tests.servers import PATIENCE, ValkeyCluster
from tests.workshop.states import Agenda, Board

KINDS = (
    "valkey",
    "django-redis",
    "REDIS",
    "cluster",
    "memcached",
    "sqlite",
    "postgres",
)
CODE, OTHER = "K7Q2ZD", "MMMMM2"


def after(key: str, prefix: str, version: int) -> str:
    """Make a key that begins as those of a site without a KEY_FUNCTION do."""
    return f"{key}:v"


SITES: dict[str, dict[str, Any]] = {
    "plain": {},
    "KEY_PREFIX": {"KEY_PREFIX": "a"},
    "VERSION": {"VERSION": 2},
    "KEY_FUNCTION": {"KEY_FUNCTION": f"{__name__}.after"},
    # Begins as the keys of "a" do.
    "KEY_PREFIX that is a key": {"KEY_PREFIX": "a:1:ss"},
}
# Of these, the keys of others begin alike.
ACTING = ("plain", "KEY_PREFIX", "KEY_FUNCTION")


class Server(NamedTuple):
    """The alias of a site on it, and the keys that it holds."""

    entry: dict[str, Any]
    ours: dict[str, Any]
    listed: Any

    @contextmanager
    def site(self, separated: dict[str, Any], **given: Any) -> Iterator[None]:
        """Be the process of a site whose alias has these settings too."""
        cache = {**self.entry, **separated}
        given = {"AUTO_SWEEP": False, **self.ours, **given}
        with override_settings(CACHES={"default": cache}, SESSIONSTORES=given):
            yield


@pytest.fixture(autouse=True)
def _open(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let the command close the connections that other tests have left open."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, settings: Any) -> Iterator[Server]:
    kind: str = request.param
    if kind == "cluster":
        cluster: ValkeyCluster = request.getfixturevalue("cluster")
        yield of_cluster(cluster)
        return
    on_valkey = kind in ("django-redis", "REDIS")
    with cache_on("valkey" if on_valkey else kind, request, settings):
        entry = dict(settings.CACHES["default"])
        ours: dict[str, Any] = {}
        if kind == "django-redis":
            entry["BACKEND"] = "django_redis.cache.RedisCache"
        elif kind == "REDIS":
            ours = {"REDIS": {"url": entry["LOCATION"]}}
            entry = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        yield Server(entry, ours, lambda: held(kind, request, settings))


def of_cluster(cluster: ValkeyCluster) -> Server:
    def keys() -> set[str]:
        found: set[str] = set()
        for node in cluster.nodes:
            with node.client() as client:
                found |= {key.decode() for key in client.scan_iter()}
        return found

    for node in cluster.nodes:
        with node.client() as client:
            client.flushall()
    entry = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    url = f"redis://127.0.0.1:{cluster.nodes[0].port}"
    return Server(entry, {"REDIS": {"cluster": url}}, keys)


def held(kind: str, request: pytest.FixtureRequest, settings: Any) -> set[str]:
    """Return all keys of the server, read behind the backend's back."""
    if kind == "memcached":
        port = request.getfixturevalue("memcached").port
        with closing(Client(("127.0.0.1", port))) as client:
            client.version()
            return set(keys_of(ReplyLine(client, (0, 0))) or ())
    if kind in ("sqlite", "postgres"):
        table = settings.CACHES["default"]["LOCATION"]
        with connections[table].cursor() as cursor:
            cursor.execute(f"SELECT cache_key FROM {table}")
            return {key for (key,) in cursor.fetchall()}
    with request.getfixturevalue("valkey").client() as client:
        return {key.decode() for key in client.scan_iter(count=1_000)}


def fill(text: str, *codes: str) -> None:
    """Have people at work in sessions of the site that is being served."""
    for code in codes:
        for who in ("alice", "bob"):
            stores.get(Board, code, who).dispatch(Board.note, text)
        stores.get(Agenda, code).dispatch(lambda agenda: setattr(agenda, "step", 2))


def seen() -> dict[str, Any]:
    """Return what the site that is being served knows of itself."""
    stats = stores.stats()
    sessions = {}
    for code in stores.sessions():
        people = stores.participants(code)
        boards = [stores.get(Board, code, who).peek() for who in sorted(people)]
        sessions[code] = boards, stores.get(Agenda, code).peek()
    return {
        "sessions": sessions,
        "counts": (stores.session_count(), stores.participant_count()),
        "stats": (stats.sessions, stats.participants, stats.bytes, stats.last_sweep),
        "unreadable": stats.unreadable,
        "leaks": [leak.text for leak in stats.leaks],
        "orphans": run(get_backend(blocking=True).orphans()) or [],
    }


def reconcile() -> None:
    for key in run(get_backend(blocking=True).orphans()) or ():
        run(get_backend(blocking=True).reindex(key))


def quarantine() -> None:
    backend = get_backend(blocking=True)
    assert run(backend.set_aside(StoreKey(CODE, "alice"), "board", b"1:junk"))


# With an IDLE_TIMEOUT that makes everybody due as soon as the server's clock goes on,
# which may count in seconds.
SWEEPS: dict[str, Callable[[], object]] = {
    "sweep": lambda: stores.sweep(idle_for=0),
    "sweepstores": lambda: call_command("sweepstores", idle=0, verbosity=0),
}
WORK: dict[str, Callable[[], object]] = {
    "orphans": reconcile,
    "quarantine": quarantine,
    "participant": lambda: stores.cleanup_participant(CODE, "alice"),
    "session": lambda: stores.cleanup_session(CODE),
    "revoke": lambda: stores.revoke(CODE, "alice"),
    "lock": lambda: stores.lock(CODE),
    "clear": lambda: run(get_backend(blocking=True).clear()),
    "end": lambda: stores.end_session(CODE),
}


def settled(keys: set[str]) -> set[str]:
    """Return keys without those of samples and sweeps, which come and go."""
    return {key for key in keys if not key.endswith(("v:series", "v:sweep"))}


def test_what_one_site_does_another_on_the_same_server_never_sees(
    server: Server,
) -> None:
    known = {}
    for name, separated in SITES.items():
        with server.site(separated):
            fill(name, CODE, OTHER)
            known[name] = seen()
            assert known[name]["counts"] == (2, 4)
            assert known[name]["orphans"] == []
    for name in ACTING:
        ours = SITES[name]
        with server.site(ours):
            run(get_backend(blocking=True).clear())
            assert seen()["counts"] == (0, 0)
            theirs = settled(server.listed())
        for what, work in WORK.items():
            with server.site(ours):
                fill("ours", CODE)
                work()
                if what in ("clear", "session", "end"):
                    assert stores.sessions() == []
                run(get_backend(blocking=True).clear())
                assert settled(server.listed()) == theirs, what
        for what, sweep in SWEEPS.items():
            with server.site(ours):
                fill("ours", CODE)
            deadline = time.monotonic() + PATIENCE
            with server.site(ours, IDLE_TIMEOUT=0.01):
                while stores.sessions():
                    assert time.monotonic() < deadline
                    sweep()
                run(get_backend(blocking=True).clear())
                assert settled(server.listed()) == theirs, what
        for other, before in known.items():
            if other != name:
                with server.site(SITES[other]):
                    assert seen() == before, other
        with server.site(ours):
            fill(name, CODE, OTHER)
            known[name] = seen()
    for separated in SITES.values():
        with server.site(separated):
            run(get_backend(blocking=True).clear())
    assert server.listed() == set()


def test_an_alias_that_separates_nothing_keeps_its_keys(server: Server) -> None:
    of_a_session = {cache_key("ss", CODE, "s"), cache_key("ss", CODE, "p", "alice")}
    assert of_a_session == {"ss:{K7Q2ZD}:s:", "ss:{K7Q2ZD}:p:alice"}
    plain: set[str] = set()
    default = "django.core.cache.backends.base.default_key_func"
    for settings in (
        {},
        {"KEY_PREFIX": "", "VERSION": 1, "KEY_FUNCTION": None},
        {"VERSION": "1", "KEY_FUNCTION": default, "TIMEOUT": None},
    ):
        with server.site(settings):
            stores.get(Board, CODE, "alice").dispatch(Board.note, "x")
            keys = server.listed()
            run(get_backend(blocking=True).clear())
        assert of_a_session < keys
        assert {key for key in keys if key.startswith("ss:reg:")}
        assert not plain or keys == plain
        plain = keys
    with server.site({"KEY_PREFIX": "live", "VERSION": 3}):
        stores.get(Board, CODE, "alice").dispatch(Board.note, "x")
        named = server.listed()
        run(get_backend(blocking=True).clear())
    assert named == {key.replace("ss:", "live:3:ss:", 1) for key in plain}


def test_a_sites_own_keys_stay_when_its_stores_are_cleared(server: Server) -> None:
    with server.site({"KEY_PREFIX": "live"}):
        # In the cache of the site, keys with the same beginning are other programs'.
        caches["default"].set("ss:page", "x")
        fill("ours", CODE)
        run(get_backend(blocking=True).clear())
        assert stores.sessions() == []
        assert caches["default"].get("ss:page") == "x"
        caches["default"].clear()


@pytest.mark.parametrize("server", ["django-redis"], indirect=True)
def test_a_pattern_of_django_redis_finds_keys_that_begin_as_its_own(
    server: Server,
) -> None:
    for separated, is_found in (({}, False), ({"KEY_PREFIX": "live"}, True)):
        with server.site(separated):
            fill("ours", CODE)
            held = server.listed()
            cache: Any = caches["default"]
            cache.delete_pattern("*")
            assert server.listed() == (set() if is_found else held)
            run(get_backend(blocking=True).clear())


def test_a_command_for_another_alias_goes_by_the_keys_of_that_alias(
    server: Server, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if server.ours:
        refused = pytest.raises(CommandError, match="cannot choose another place")
        with server.site({}), refused:
            settings.CACHES = {**settings.CACHES, "old": server.entry}
            call_command("storestats", cache="old")
        return
    cache, other = server.entry, {**server.entry, "KEY_PREFIX": "old"}
    both = {"default": cache, "old": other}
    with server.site({"KEY_PREFIX": "old"}):
        fill("old", OTHER)
    with override_settings(CACHES=both):
        fill("new", CODE)
        call_command("storestats", cache="old", json=True)
        assert f'"{OTHER}"' in (told := capsys.readouterr().out)
        assert f'"{CODE}"' not in told
    deadline = time.monotonic() + PATIENCE
    left = [OTHER]
    while left:
        assert time.monotonic() < deadline
        with override_settings(CACHES=both, SESSIONSTORES={"IDLE_TIMEOUT": 0.01}):
            call_command("sweepstores", cache="old", idle=0, verbosity=0)
        with server.site({"KEY_PREFIX": "old"}):
            left = stores.sessions()
    with override_settings(CACHES=both):
        assert stores.sessions() == [CODE]
        assert stores.participant_count() == 2
