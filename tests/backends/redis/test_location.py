"""The location of a cache's server, as its package has it."""

from __future__ import annotations

import re
import socket
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django_redis.pool import ConnectionFactory
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from sessionstores.backends import get_backend, problem
from sessionstores.backends.redis.backend import RedisBackend
from sessionstores.backends.redis.client import async_client, sync_client
from sessionstores.backends.redis.location import (
    Location,
    location_for,
    name_of,
    node_of,
    seed_of,
)
from tests.backends.redis.cache_site import LOGIN, OwnConnection

DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
DEFAULT_CLIENT = "django_redis.client.DefaultClient"
SITE = "tests.backends.redis.cache_site"
URL = "redis://cache.example:6379/2"
SENTINELS = [("one.example", 26379), ("two.example", "26380")]

both = pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])


def at(settings: Settings, backend: str, location: Any = URL, **options: Any) -> None:
    """Let the default cache be of that class."""
    settings.CACHES = {
        "default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}
    }


def refused(settings: Settings) -> str:
    """Return why the settings cannot be used, which the system check says too."""
    with pytest.raises(ImproperlyConfigured) as error:
        location_for("default")
    assert problem("default") == str(error.value)
    return str(error.value)


# From the alias


class Example(NamedTuple):
    """A cache as documentation has it, and the location that it means."""

    cache: dict[str, Any]
    location: Location


def meant(url: str, told: Any = None) -> Location:
    """Return the location of a URL that ends with the number of a database, or not."""
    place, slash, number = url.rpartition("/")
    if slash and number.isdecimal():
        return Location(place, options={"db": int(number), **(told or {})})
    return Location(url, options=told or {})


def django(location: Any, means: str, told: Any = None, **options: Any) -> Example:
    cache = {"BACKEND": DJANGO, "LOCATION": location, "OPTIONS": options}
    return Example(cache, meant(means, told))


def django_redis(
    location: Any, means: str, told: Any = None, **options: Any
) -> Example:
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": location, "OPTIONS": options}
    return Example(cache, meant(means, told))


def valkey(location: Any, means: str, told: Any = None, **options: Any) -> Example:
    cache = {
        "BACKEND": f"{SITE}.ValkeyCache",
        "LOCATION": location,
        "OPTIONS": options,
    }
    return Example(cache, meant(means, told))


LOCAL = "redis://127.0.0.1:6379"
FIRST = "redis://127.0.0.1:6379/1"
USER = {"username": "username", "password": "password"}

EXAMPLES = {
    # Django, "Django's cache framework", Redis.
    "django": django("redis://127.0.0.1:6379", LOCAL),
    "django password": django("redis://username:password@127.0.0.1:6379", LOCAL, USER),
    "django replicas": django(
        [
            "redis://127.0.0.1:6379",  # leader
            "redis://127.0.0.1:6378",  # read-replica 1
            "redis://127.0.0.1:6377",  # read-replica 2
        ],
        LOCAL,
    ),
    "django replicas in a text": django(f"{LOCAL},redis://copy;redis://other", LOCAL),
    "django options": django(
        LOCAL,
        LOCAL,
        {"db": "10"},
        db="10",
        parser_class="redis.connection.DefaultParser",
        pool_class="redis.BlockingConnectionPool",
    ),
    # django-redis, README.
    "django-redis": django_redis(FIRST, FIRST, CLIENT_CLASS=DEFAULT_CLIENT),
    "user in the url": django_redis(
        "redis://django@localhost:6379/0",
        "redis://localhost:6379/0",
        {"username": "django", "password": "mysecret"},
        CLIENT_CLASS=DEFAULT_CLIENT,
        PASSWORD="mysecret",
    ),
    "both in the url": django_redis(
        "redis://django:mysecret@localhost:6379/0",
        "redis://localhost:6379/0",
        {"username": "django", "password": "mysecret"},
    ),
    "password": django_redis(
        FIRST, FIRST, {"password": "mysecret"}, PASSWORD="mysecret"
    ),
    "tls": django_redis(
        "rediss://:word@localhost:6379/0",
        "rediss://localhost:6379/0",
        {"password": "word"},
    ),
    "unix": django_redis(
        "unix:///path/to/socket.sock?db=0", "unix:///path/to/socket.sock", {"db": 0}
    ),
    "unix, user": django_redis(
        "unix://username:password@/path/to/socket.sock?db=3",
        "unix:///path/to/socket.sock",
        {**USER, "db": 3},
    ),
    "db in the query": django_redis(
        "redis://localhost?db=4", "redis://localhost:6379/4"
    ),
    "timeouts": django_redis(FIRST, FIRST, SOCKET_CONNECT_TIMEOUT=5, SOCKET_TIMEOUT=5),
    "replicas": django_redis(
        ["redis://127.0.0.1:6379/1", "redis://127.0.0.1:6378/1"], FIRST
    ),
    "herd": django_redis(FIRST, FIRST, CLIENT_CLASS="django_redis.client.HerdClient"),
    "shards": django_redis(
        ["redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/2"],
        FIRST,
        CLIENT_CLASS="django_redis.client.ShardClient",
    ),
    "pool arguments": django_redis(
        FIRST,
        FIRST,
        {"max_connections": 30},
        CONNECTION_POOL_KWARGS={"max_connections": 30, "retry_on_timeout": True},
    ),
    "client class": django_redis(
        FIRST,
        FIRST,
        REDIS_CLIENT_CLASS="redis.client.StrictRedis",
        REDIS_CLIENT_KWARGS={"ssl": True},
        IGNORE_EXCEPTIONS=True,
        COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
        PARSER_CLASS="redis.connection.DefaultParser",
    ),
    "own pool": django_redis(
        FIRST,
        FIRST,
        {"password": "from the vault"},
        CONNECTION_POOL_CLASS=f"{SITE}.OwnPool",
    ),
    "own factory": django_redis(
        FIRST, FIRST, {"client_name": "own"}, CONNECTION_FACTORY=f"{SITE}.OwnFactory"
    ),
    # What sites and other packages make of these.
    "own pool of django": django(
        FIRST, FIRST, {"password": "from the vault"}, pool_class=f"{SITE}.OwnPool"
    ),
    "prometheus": Example(
        {"BACKEND": f"{SITE}.PrometheusRedisCache", "LOCATION": FIRST},
        meant(FIRST),
    ),
    "native prometheus": Example(
        {"BACKEND": f"{SITE}.NativeRedisCache", "LOCATION": FIRST}, meant(FIRST)
    ),
    "no location": Example(
        {"BACKEND": f"{SITE}.FixedRedisCache"},
        meant("redis://fixed.example:6400/4"),
    ),
    "own client": Example(
        {"BACKEND": f"{SITE}.OwnClientCache", "LOCATION": FIRST},
        Location(
            "redis://own.example:6379",
            options={"password": "a@b"},
        ),
    ),
    # Other arguments of redis-py.
    "certificates": django(
        "rediss://cache.example:6380/2",
        "rediss://cache.example:6380/2",
        {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "/me.pem", "ssl_keyfile": "/k"},
        ssl_ca_certs="/ca.pem",
        ssl_certfile="/me.pem",
        ssl_keyfile="/k",
    ),
    "no verification": django_redis(
        "rediss://cache.example",
        "rediss://cache.example:6379",
        {"ssl_cert_reqs": None, "ssl_check_hostname": False},
        CONNECTION_POOL_KWARGS={"ssl_cert_reqs": None, "ssl_check_hostname": False},
    ),
    "certificates in the query": django(
        "rediss://cache.example?ssl_cert_reqs=none&ssl_check_hostname=false",
        "rediss://cache.example:6379",
        {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
    ),
    "rotating credentials": django(
        FIRST, FIRST, {"credential_provider": LOGIN}, credential_provider=LOGIN
    ),
    # django-valkey, "Basic configuration".
    "valkey": valkey("valkey://127.0.0.1:6379", LOCAL),
    "valkey, user": valkey(
        "valkey://django:mysecret@localhost:6379/0",
        "redis://localhost:6379/0",
        {"username": "django", "password": "mysecret"},
    ),
    "valkey, tls": valkey(
        "valkeys://cache.example:6380/2",
        "rediss://cache.example:6380/2",
        {"ssl_ca_certs": "/ca.pem", "max_connections": 7},
        ssl_ca_certs="/ca.pem",
        max_connections=7,
        socket_timeout=3,
    ),
    "valkey, unix": valkey(
        "unix:///run/valkey.sock?db=2", "unix:///run/valkey.sock", {"db": 2}
    ),
    "ipv6": django("redis://[fd00::1]:6400/1", "redis://[fd00::1]:6400/1"),
}


@pytest.fixture(autouse=True)
def fresh_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no pools of django-redis, which keeps one for each URL."""
    monkeypatch.setattr(ConnectionFactory, "_pools", {})


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be connected to, since checks ask for locations."""

    def refuse(*args: Any) -> None:
        pytest.fail("a location was asked for, and a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_location_is_what_the_cache_package_makes_of_the_alias(
    settings: Settings, name: str
) -> None:
    cache, means = EXAMPLES[name]
    settings.CACHES = {"default": cache}
    location = location_for("default")
    assert location == means
    assert problem("default") is None
    assert isinstance(get_backend(blocking=True), RedisBackend)
    for made in (sync_client(location), async_client(location)):
        made.connection_pool.make_connection()


# Each takes milliseconds: the backends of both caches are dropped and made anew.
@hypothesis_settings(max_examples=25)
@given(password=st.text(st.characters(codec="utf-8", min_codepoint=1), min_size=1))
@example("a@b/c:d?e#f%g h+i[j]k\\l\"m'n,o;p")
@both
def test_any_character_may_be_in_a_password(backend: str, password: str) -> None:
    ConnectionFactory._pools.clear()
    option = "password" if backend == DJANGO else "PASSWORD"
    place = f"redis://:{quote(password, safe='')}@cache.example/1"
    for location, options in (
        (place, {}),
        ("redis://cache.example/1", {option: password}),
    ):
        cache = {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}
        with override_settings(CACHES={"default": cache}):
            location = location_for("default")
        for made in (sync_client(location), async_client(location)):
            assert made.connection_pool.connection_kwargs["password"] == password
        assert location.url == "redis://cache.example:6379"


# Sentinel, as django-redis's README has it

THREE = [("sentinel-1", 26379), ("sentinel-2", 26379), ("sentinel-3", "26380")]
SENTINEL_FACTORY = "django_redis.pool.SentinelConnectionFactory"
SENTINEL_CLIENT = "django_redis.client.SentinelClient"
SENTINEL_POOL = "redis.sentinel.SentinelConnectionPool"
WATCHED = Location(
    sentinels=(("sentinel-1", 26379), ("sentinel-2", 26379), ("sentinel-3", 26380)),
    service="service_name",
)


@pytest.mark.parametrize(
    ("location", "given", "means"),
    [
        (
            "redis://service_name/db",
            {
                "CLIENT_CLASS": SENTINEL_CLIENT,
                "SENTINEL_KWARGS": {},
                "CONNECTION_POOL_CLASS": SENTINEL_POOL,
            },
            {},
        ),
        ("redis://service_name/db", {"CLIENT_CLASS": SENTINEL_CLIENT}, {}),
        (
            [
                "redis://service_name/db?is_master=1",
                "redis://service_name/db?is_master=0",
            ],
            {},
            {},
        ),
        (
            "redis://user:p%40@service_name/3",
            {
                "PASSWORD": "unused",
                "SENTINEL_KWARGS": {"username": "watch", "password": "a@b"},
                "CONNECTION_POOL_KWARGS": {"ssl": True, "ssl_ca_certs": "/ca.pem"},
            },
            {
                "sentinel_options": {"username": "watch", "password": "a@b"},
                "options": {
                    "username": "user",
                    "password": "p@",
                    "db": 3,
                    "ssl": True,
                    "ssl_ca_certs": "/ca.pem",
                },
            },
        ),
    ],
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_sentinels_are_those_of_django_redis(
    settings: Settings, location: Any, given: Any, means: Any, everywhere: bool
) -> None:
    if everywhere:
        settings.DJANGO_REDIS_CONNECTION_FACTORY = SENTINEL_FACTORY
    else:
        given = {**given, "CONNECTION_FACTORY": SENTINEL_FACTORY}
    at(settings, DJANGO_REDIS, location, **{**given, "SENTINELS": THREE})
    found = location_for("default")
    assert found == WATCHED._replace(**means)
    assert problem("default") is None
    for made in (sync_client(found), async_client(found)):
        pool = made.connection_pool
        assert pool.service_name == "service_name"
        assert len(pool.sentinel_manager.sentinels) == 3
        pool.make_connection()


@pytest.mark.parametrize("name", ["SentinelCache", "WatchedValkeyCache"])
def test_sentinels_need_others_as_the_cache_says(settings: Settings, name: str) -> None:
    at(settings, f"{SITE}.{name}", "redis://unused")
    found = location_for("default")
    assert found == Location(
        sentinels=(("watch.example", 26379),),
        service="main",
        sentinel_options={"password": "w"},
        options={"password": "p"},
        min_other_sentinels=2,
    )
    for made in (sync_client(found), async_client(found)):
        assert made.connection_pool.sentinel_manager.min_other_sentinels == 2


# What cannot be had from the alias


@both
@pytest.mark.parametrize("location", ["", None, [], "cache.example:6379", "http://x"])
def test_an_address_that_is_not_a_url_is_refused(
    settings: Settings, backend: str, location: Any
) -> None:
    at(settings, backend, location)
    assert re.search(r"a URL like|Missing connections string", refused(settings))


@pytest.mark.parametrize(
    ("cache", "reason"),
    [
        (
            {"BACKEND": DJANGO, "OPTIONS": {"pool_class": f"{SITE}.OwnConnectionPool"}},
            r"has connections of tests\.backends\.redis\.cache_site\.OwnConnection\.",
        ),
        (
            {
                "BACKEND": DJANGO_REDIS,
                "OPTIONS": {
                    "CONNECTION_POOL_KWARGS": {"connection_class": OwnConnection}
                },
            },
            r"cache_site\.OwnConnection\. Coroutines need others",
        ),
        (
            {"BACKEND": DJANGO, "OPTIONS": {"redis_connect_func": print}},
            "redis_connect_func, which those for coroutines do not take",
        ),
        (
            {
                "BACKEND": DJANGO,
                "LOCATION": "rediss://cache.example",
                "OPTIONS": {"ssl_validate_ocsp": True},
            },
            "ssl_validate_ocsp, which those for coroutines do not take",
        ),
        ({"BACKEND": f"{SITE}.GlideCache"}, "cache_site.GlideClient, which has no"),
        ({"BACKEND": f"{SITE}.OwnSentinelCache"}, r"sentinels by a .*\.OwnSentinel\."),
        ({"BACKEND": f"{SITE}.OtherCache"}, "no backend in sessionstores"),
        ({"BACKEND": f"{SITE}.AsyncValkeyCache"}, "connections for coroutines only"),
        ({"BACKEND": f"{SITE}.ClusterValkeyCache"}, "only once it has connected"),
    ],
)
def test_a_connection_that_only_the_site_can_make_is_refused_with_a_way_out(
    settings: Settings, cache: Any, reason: str
) -> None:
    settings.CACHES = {"default": {"LOCATION": URL, **cache}}
    text = problem("default")
    assert text is not None
    assert re.search(reason, text)
    assert "SESSIONSTORES['REDIS']" in text
    assert "secret" not in text
    settings.SESSIONSTORES = {"REDIS": {"url": URL}}
    assert location_for("default") == Location(URL)
    assert problem("default") is None


@pytest.mark.parametrize("option", ["pool_class", "parser_class"])
def test_a_class_that_is_not_there_is_named(settings: Settings, option: str) -> None:
    at(settings, DJANGO, **{option: "mysite.Own"})
    assert "No module named 'mysite'" in refused(settings)


@pytest.mark.parametrize(
    ("location", "options"),
    [
        (URL, {"max_connections": "4"}),
        (URL, {"pool_class": "redis.Nope"}),
        ("redis://cache.example?db=x", {}),
    ],
)
def test_an_option_that_makes_no_connection_is_not_blamed_on_the_url(
    settings: Settings, location: str, options: dict[str, Any]
) -> None:
    at(settings, DJANGO, location, **options)
    text = refused(settings)
    assert "Correct its OPTIONS" in text
    assert "a URL like" not in text
    assert ".." not in text


def test_a_replica_cannot_be_written_to(settings: Settings) -> None:
    settings.DJANGO_REDIS_CONNECTION_FACTORY = SENTINEL_FACTORY
    place = "redis://service_name/db?is_master=0"
    at(settings, DJANGO_REDIS, place, SENTINELS=THREE)
    assert "writes to a replica" in refused(settings)


# From REDIS


def test_a_url_takes_the_place_of_the_alias_and_its_options(settings: Settings) -> None:
    at(settings, DJANGO, password="of the alias")
    settings.SESSIONSTORES = {"REDIS": {"url": "rediss://other", "ssl_ca_certs": "/c"}}
    assert location_for("default") == Location(
        "rediss://other", options={"ssl_ca_certs": "/c"}
    )


def test_without_an_address_it_adds_to_the_alias(settings: Settings) -> None:
    at(settings, DJANGO, db=1, password="old")
    settings.SESSIONSTORES = {"REDIS": {"password": "new"}}
    assert location_for("default") == meant(URL, {"password": "new"})
    settings.SESSIONSTORES = {"REDIS": {"db": 5}}
    assert location_for("default") == Location(
        "redis://cache.example:6379", options={"db": 5, "password": "old"}
    )


def test_a_cluster_is_named_by_any_of_its_nodes(settings: Settings) -> None:
    settings.SESSIONSTORES = {"REDIS": {"cluster": "redis://node.example:7000"}}
    assert location_for("default") == Location(cluster="redis://node.example:7000")


def test_sentinels_come_with_the_name_of_the_service(settings: Settings) -> None:
    given = {"sentinels": SENTINELS, "service": "main", "db": 3}
    settings.SESSIONSTORES = {
        "REDIS": {**given, "sentinel_kwargs": {"password": "other"}}
    }
    assert location_for("default") == Location(
        sentinels=(("one.example", 26379), ("two.example", 26380)),
        service="main",
        sentinel_options={"password": "other"},
        options={"db": 3},
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": URL, "cluster": URL}, "gives cluster and url; one is needed"),
        ({"url": URL, "sentinels": SENTINELS}, "sentinels and url"),
        ({"url": "cache.example"}, "not a URL"),
        ({"cluster": "node:7000"}, "not a URL"),
        ({"sentinels": SENTINELS}, "both 'sentinels' and 'service'"),
        ({"sentinels": [], "service": "main"}, "both 'sentinels' and 'service'"),
        ({"sentinels": [], "service": ""}, "both 'sentinels' and 'service'"),
        ({"url": ""}, "['url'] is '', which is not a URL like 'redis://host:6379/0'"),
        ({"cluster": ""}, "['cluster'] is '', which is not a URL"),
    ],
)
def test_no_address_and_two_addresses_are_refused(
    settings: Settings, given: dict[str, Any], said: str
) -> None:
    at(settings, DJANGO)
    settings.SESSIONSTORES = {"REDIS": given}
    assert said in refused(settings)


@pytest.mark.parametrize(
    ("location", "name"),
    [
        (Location("redis://u:secret@cache:7000/1"), "The server at cache:7000"),
        (Location("rediss://cache"), "The server at cache:6379"),
        (Location("unix:///run/valkey.sock?db=2"), "The server at /run/valkey.sock"),
        (Location(cluster="redis://:secret@node"), "The cluster at node:6379"),
        (
            Location(sentinels=(("a", 1), ("b", 2)), service="main"),
            "The primary 'main' of the sentinels at a:1, b:2",
        ),
    ],
)
def test_errors_name_a_place_without_its_credentials(
    location: Location, name: str
) -> None:
    assert name_of(location) == name


def test_a_node_of_a_cluster_is_reached_as_the_one_that_is_given() -> None:
    options = {"ssl_ca_certs": "/ca.pem", "address_remap": None, "startup_nodes": []}
    location = Location(
        cluster="rediss://u:p@seed:7000/0?client_name=x", options=options
    )
    assert seed_of(location) == ("seed", 7000)
    kept = {"ssl_ca_certs": "/ca.pem"}
    node = Location("rediss://u:p@node:7001?client_name=x", options=kept)
    assert node_of(location, ("node", 7001)) == node
    assert (
        node_of(location, ("fd00::1", 1)).url
        == "rediss://u:p@[fd00::1]:1?client_name=x"
    )


# What redis-py would refuse at every use

PASSWORD = "hunter2"
ESCAPE = "has a character that means something else in URLs. Percent-encode it"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://cache:abc", "whose port 'abc' is no number from 1 to 65535"),
        ("redis://cache:99999/0", "whose port '99999' is no number"),
        ("rediss://u:hunter2@cache:x/1", "whose port 'x' is no number"),
        ("redis://[::1", "whose host '[::1' is none"),
        ("redis://u:hunter2/x@cache", ESCAPE),
        ("redis://u:hunter2?x@cache", ESCAPE),
        ("redis://u:hunter2#x@cache", ESCAPE),
        ("redis://u:hunter2[x@cache", ESCAPE),
        # A port at first sight.
        ("redis://u:1/hunter2@cache:6379/0", ESCAPE),
        ("redis://u:1#hunter2@cache", ESCAPE),
        ("redis://u:1?hunter2@cache", ESCAPE),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_wherever_it_stands(
    settings: Settings, url: str, said: str
) -> None:
    given = [{"REDIS": {"url": url}}, {"REDIS": {"cluster": url}}, {}]
    names = ["SESSIONSTORES['REDIS']['url']", "SESSIONSTORES['REDIS']['cluster']"]
    for backend in (DJANGO, DJANGO_REDIS):
        at(settings, backend, url)
        for setting, name in zip(given, [*names, "CACHES['default']"], strict=True):
            settings.SESSIONSTORES = setting
            text = refused(settings)
            assert said in text
            assert text.startswith(name)
            assert PASSWORD not in text


@both
@pytest.mark.parametrize("user", ["", "site"])
@pytest.mark.parametrize("password", ["sec,ret", "12,34", "sec;ret", "12;34", ",", ";"])
def test_a_text_that_is_divided_within_a_password_is_refused_without_a_word_of_it(
    settings: Settings, backend: str, user: str, password: str
) -> None:
    url = f"redis://{user}:{password}@cache.example:6379/2"
    if backend == DJANGO or "," in password:
        for location in (url, f"{url},redis://other.example"):
            at(settings, backend, location)
            text = refused(settings)
            assert text.startswith("CACHES['default']['LOCATION'] is divided at a ")
            assert "%2C" in text
            assert "%3B" in text
            assert not re.search("sec|ret|12|34", text)
    else:
        # django-redis divides at commas only.
        at(settings, backend, url)
        assert location_for("default").options["password"] == password
    for location in ([url], url.replace(password, quote(password))):
        at(settings, backend, location)
        assert location_for("default").options["password"] == password
        assert [each.id for each in run_checks(tags=["sessionstores"])] == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache:6379/0?client_name=a@b",
        "redis://u:p%2Fs@cache",
        "redis://:p@ss@cache:1",
        "unix:///run/a@b.sock?db=2",
        "redis://[::1]:6379",
        "redis://cache:",
        "redis://cache?timeout=20&max_connections=5",
    ],
)
def test_a_url_that_redis_py_understands_is_taken(settings: Settings, url: str) -> None:
    settings.SESSIONSTORES = {"REDIS": {"url": url, "timeout": 5}}
    assert problem("default") is None
    for make in (sync_client, async_client):
        make(location_for("default")).connection_pool.make_connection()


def sentinels(**options: Any) -> dict[str, Any]:
    return {"sentinels": SENTINELS, "service": "main", **options}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": URL, "pasword": PASSWORD}, "'pasword', which redis-py does not take."),
        ({"url": URL, "PASSWORD": PASSWORD}, "'PASSWORD', which redis-py does not"),
        ({"PASSWORD": PASSWORD}, "take. Did you mean 'password'?"),
        ({"URL": URL}, "has 'URL', which redis-py does not take. Did you mean 'url'?"),
        ({"cluster": "redis://node", "pasword": PASSWORD}, "Did you mean 'password'?"),
        (sentinels(pasword=PASSWORD), "REDIS'] has 'pasword', which redis-py does not"),
        (
            sentinels(sentinel_kwargs={"pasword": PASSWORD}),
            "['sentinel_kwargs'] has 'pasword', which redis-py does not take.",
        ),
        ({"url": f"{URL}?db=2&foo=1"}, "The URL in SESSIONSTORES['REDIS'] has 'foo'"),
        ({"service": "main"}, "has 'service', which goes with 'sentinels' only."),
        ({"url": URL, "ssl": True}, "for TLS the URL has to begin with rediss://"),
        ({"url": URL, "db": "two"}, "REDIS']['db'] is 'two', which is not the number"),
        (sentinels(db=-1), "REDIS']['db'] is -1, which is not the number"),
        ({"db": 1.5}, "SESSIONSTORES['REDIS']['db'] is 1.5, which is not the number"),
        ({"url": "redis://h?db=two"}, "redis-py says ValueError: Invalid value for"),
        ({"url": URL, "protocol": "x"}, "redis-py says ConnectionError: protocol must"),
    ],
)
def test_what_redis_py_would_refuse_is_refused_at_once_by_its_name(
    settings: Settings, given: dict[str, Any], said: str
) -> None:
    at(settings, DJANGO)
    settings.SESSIONSTORES = {"REDIS": given}
    text = problem("default")
    assert text is not None
    assert said in text
    assert PASSWORD not in text
    assert text.startswith(("SESSIONSTORES['REDIS']", "The URL in SESSIONSTORES['RED"))
    with pytest.raises(ImproperlyConfigured, match=re.escape(text)):
        get_backend(blocking=True)


@pytest.mark.parametrize("number", ["2", 2, 0, None, b"2", ""])
def test_a_database_is_named_by_its_number(settings: Settings, number: Any) -> None:
    settings.SESSIONSTORES = {"REDIS": {"url": "redis://cache", "db": number}}
    assert problem("default") is None


def test_an_alias_names_its_odd_database_and_its_missing_factory(
    settings: Settings,
) -> None:
    at(settings, DJANGO, "redis://cache", db="two")
    assert "CACHES['default']['OPTIONS']['db'] is 'two'" in str(problem("default"))
    sentinel = "django_redis.client.SentinelClient"
    place = "redis://service_name/0"
    at(settings, DJANGO_REDIS, place, CLIENT_CLASS=sentinel, SENTINELS=THREE)
    text = str(problem("default"))
    assert text.startswith("CACHES['default'] makes no connection of its settings")
    assert f"DJANGO_REDIS_CONNECTION_FACTORY = '{SENTINEL_FACTORY}'" in text
