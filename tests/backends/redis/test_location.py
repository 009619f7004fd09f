"""The location of a cache's server, read from settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from sessionstores.backends import problem
from sessionstores.backends.redis.location import (
    Location,
    location_for,
    name_of,
    node_of,
    seed_of,
)

DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
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


@both
@pytest.mark.parametrize("url", [URL, "rediss://cache.example", "unix:///run/valkey"])
def test_the_address_is_that_of_the_alias(
    settings: Settings, backend: str, url: str
) -> None:
    at(settings, backend, url)
    assert location_for("default") == Location(url)


@both
@pytest.mark.parametrize(
    "location", [[URL, "redis://copy"], (URL,), f"{URL},redis://copy", f"{URL}; x"]
)
def test_of_several_addresses_the_first_is_the_one_that_takes_writes(
    settings: Settings, backend: str, location: Any
) -> None:
    at(settings, backend, location)
    assert location_for("default").url == URL


def test_options_of_djangos_cache_are_the_clients(settings: Settings) -> None:
    at(settings, DJANGO, db=7, ssl_ca_certs="/ca.pem", serializer="mysite.JSON")
    assert location_for("default").options == {"db": 7, "ssl_ca_certs": "/ca.pem"}


def test_arguments_of_django_redis_are_the_clients(settings: Settings) -> None:
    at(
        settings,
        DJANGO_REDIS,
        PASSWORD="secret",
        USERNAME="site",
        CONNECTION_POOL_KWARGS={"ssl_ca_certs": "/ca.pem", "max_connections": 5},
        REDIS_CLIENT_KWARGS={"max_connections": 9},
        IGNORE_EXCEPTIONS=True,
    )
    assert location_for("default").options == {
        "ssl_ca_certs": "/ca.pem",
        "max_connections": 9,
        "username": "site",
        "password": "secret",
    }


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("redis://primary/3", {"db": 3}),
        ("redis://primary", {}),
        ("redis://user:word@primary:6379/0", {"db": 0}),
    ],
)
def test_sentinels_of_django_redis_know_the_primary_by_the_host_of_the_url(
    settings: Settings, location: str, options: dict[str, Any]
) -> None:
    given = {"SENTINELS": SENTINELS, "SENTINEL_KWARGS": {"password": "other"}}
    at(settings, DJANGO_REDIS, location, **given)
    assert location_for("default") == Location(
        sentinels=(("one.example", 26379), ("two.example", 26380)),
        service="primary",
        sentinel_options={"password": "other"},
        options=options,
    )


@both
@pytest.mark.parametrize("location", ["", None, [], "cache.example:6379", "http://x"])
def test_an_address_that_is_not_a_url_is_refused(
    settings: Settings, backend: str, location: Any
) -> None:
    at(settings, backend, location)
    assert "is not a URL like" in refused(settings)


@pytest.mark.parametrize(
    ("backend", "option"),
    [
        (DJANGO, "pool_class"),
        (DJANGO, "parser_class"),
        (DJANGO_REDIS, "CONNECTION_FACTORY"),
        (DJANGO_REDIS, "CONNECTION_POOL_CLASS"),
    ],
)
def test_a_connection_that_only_the_site_can_make_is_refused_with_a_way_out(
    settings: Settings, backend: str, option: str
) -> None:
    at(settings, backend, **{option: "mysite.Own"})
    text = refused(settings)
    assert option in text
    assert "SESSIONSTORES['REDIS']" in text
    settings.SESSIONSTORES = {"REDIS": {"url": URL}}
    assert location_for("default") == Location(URL)
    assert problem("default") is None


def test_a_factory_for_all_caches_of_django_redis_is_refused(
    settings: Settings,
) -> None:
    at(settings, DJANGO_REDIS)
    settings.DJANGO_REDIS_CONNECTION_FACTORY = "mysite.Own"
    assert "CONNECTION_FACTORY" in refused(settings)


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
    assert location_for("default") == Location(
        URL, options={"db": 1, "password": "new"}
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
