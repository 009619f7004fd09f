"""Each risky setup of cache, layer and workers is a warning."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from django.contrib.staticfiles.storage import (
    ManifestStaticFilesStorage,
    staticfiles_storage,
)
from django.core import checks
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from sessionstores.checks import caches, layers
from tests.checking import found, ids

ROOT = Path(__file__).parents[2]

CACHE = "django.core.cache.backends."
URL = "redis://cache.example:6379/0"
REDIS = {"BACKEND": f"{CACHE}redis.RedisCache", "LOCATION": URL}
DJANGO_REDIS = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}
MEMCACHED = {
    "BACKEND": f"{CACHE}memcached.PyMemcacheCache",
    "LOCATION": "cache.example:11211",
}
DATABASE = {
    "BACKEND": f"{CACHE}db.DatabaseCache",
    "LOCATION": "records",
    "OPTIONS": {"MAX_ENTRIES": 10**9},
}
PUBSUB = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
CORE = "channels_redis.core.RedisChannelLayer"
SAFE = {"serializer": "django.core.signing.JSONSerializer"}


class PlainCache(LocMemCache):
    pass


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What DATABASES says of the database that a DatabaseCache is in."""
    given = connections["default"].settings_dict
    # In memory, each thread would have another: refused.
    monkeypatch.setitem(given, "NAME", tmp_path / "cache.sqlite3")
    monkeypatch.setitem(given, "ATOMIC_REQUESTS", False)
    return given


def with_cache(
    cache: dict[str, Any], *, deploy: bool = False, **settings: Any
) -> list[str | None]:
    """Return the ids for a site whose records are in `cache`."""
    layers = {"CHANNEL_LAYERS": {"default": PUBSUB}}
    given = {**layers, "CACHES": {"default": cache}, **settings}
    return ids(deploy=deploy, **given)


def with_layer(**config: Any) -> list[str | None]:
    """Return the ids for a site with the layer that keeps its queues in Redis."""
    return ids(CHANNEL_LAYERS={"default": {"BACKEND": CORE, "CONFIG": config}})


@pytest.mark.parametrize("cache", [REDIS, DJANGO_REDIS, MEMCACHED])
def test_recommended_site_has_no_findings(cache: dict[str, Any]) -> None:
    assert with_cache(cache) == []


def test_recommended_site_has_no_findings_for_deployment() -> None:
    assert with_cache({**REDIS, "OPTIONS": SAFE}, deploy=True) == []
    own = {"serde": "mysite.cache.json_serde"}
    assert with_cache({**MEMCACHED, "OPTIONS": own}, deploy=True) == []


def test_demo_has_no_findings() -> None:
    finished = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
    )
    assert finished.stdout == "System check identified no issues (0 silenced).\n"


# Several workers


def test_process_local_cache_and_layer_are_warnings_for_deployment() -> None:
    assert ids(deploy=True) == ["W004", "W005"]
    messages = found(deploy=True)
    assert [message.level for message in messages] == [checks.WARNING] * 2
    silenced = ["sessionstores.W004", "sessionstores.W005"]
    with override_settings(SILENCED_SYSTEM_CHECKS=silenced):
        call_command(
            "check",
            "--deploy",
            "--fail-level",
            "WARNING",
            "--tag",
            "sessionstores",
        )


@pytest.mark.parametrize(
    ("workers", "expected"),
    [("4", ["W004", "W005"]), ("1", []), ("", []), ("many", [])],
)
def test_process_local_cache_and_layer_are_warnings_where_several_workers_are_announced(
    monkeypatch: pytest.MonkeyPatch, workers: str, expected: list[str]
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", workers)
    assert ids() == expected
    assert ids(deploy=True) == ["W004", "W005"]
    assert with_cache(REDIS) == []


def test_subclass_of_the_process_local_cache_is_process_local() -> None:
    assert "W004" in with_cache({"BACKEND": f"{__name__}.PlainCache"}, deploy=True)


# Caches


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["W008"]),
        ({"MAX_ENTRIES": 10_000}, ["W008"]),
        ({"MAX_ENTRIES": "a few"}, ["W008"]),
        ({"MAX_ENTRIES": caches.ENOUGH_ENTRIES}, []),
    ],
)
@pytest.mark.usefixtures("database")
def test_table_of_records_that_django_culls_is_a_warning(
    options: dict[str, Any], expected: list[str]
) -> None:
    assert with_cache({**DATABASE, "OPTIONS": options}) == expected


@pytest.mark.usefixtures("database")
def test_other_alias_that_culls_the_table_of_records_is_a_warning() -> None:
    small = {**DATABASE, "OPTIONS": {}}
    elsewhere = {**small, "LOCATION": "pages"}
    caches = {
        "default": DATABASE,
        "pages": elsewhere,
        "unknown": {"BACKEND": "no.Such"},
    }
    assert ids(CACHES=caches) == []
    (message,) = found(CACHES={**caches, "other": small})
    assert message.id == "sessionstores.W008"
    assert "CACHES['other'] allows 300 rows in the table 'records'" in message.msg


def test_transaction_around_each_view_is_a_warning_where_records_are_in_that_database(
    database: dict[str, Any],
) -> None:
    assert with_cache(DATABASE) == []
    database["ATOMIC_REQUESTS"] = True
    (message,) = found(CACHES={"default": DATABASE})
    assert message.id == "sessionstores.W009"
    assert "'default'" in message.msg
    assert with_cache(REDIS) == []


class WithSocket:
    def fileno(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("driver", "options", "warnings"),
    [
        (object, {}, ["W018"]),
        (object, {"read_timeout": 2}, ["W018"]),
        (object, {"read_timeout": 60, "write_timeout": 60}, ["W018"]),
        (object, {"read_timeout": 1, "write_timeout": 2}, []),
        (WithSocket, {}, []),
    ],
)
def test_driver_whose_calls_nothing_bounds_is_a_warning(
    driver: type,
    options: dict[str, Any],
    warnings: list[str],
    database: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No such server is at hand, nor are its drivers.
    module = SimpleNamespace(connections=SimpleNamespace(Connection=driver))
    monkeypatch.setattr(connections["default"], "vendor", "mysql")
    monkeypatch.setattr(connections["default"], "Database", module)
    monkeypatch.setitem(database, "OPTIONS", options)
    messages = found(CACHES={"default": DATABASE})
    assert [message.id for message in messages] == [
        f"sessionstores.{each}" for each in warnings
    ]
    for message in messages:
        assert "'default'" in message.msg
        assert "DATABASES['default']" in str(message.hint)


@pytest.mark.parametrize(
    ("cache", "everywhere", "said"),
    [
        (DJANGO_REDIS, False, None),
        (DJANGO_REDIS, True, "DJANGO_REDIS_IGNORE_EXCEPTIONS"),
        ({**DJANGO_REDIS, "OPTIONS": {"IGNORE_EXCEPTIONS": False}}, True, None),
        (
            {**DJANGO_REDIS, "OPTIONS": {"IGNORE_EXCEPTIONS": True}},
            False,
            "IGNORE_EXCEPTIONS",
        ),
        ({**MEMCACHED, "OPTIONS": {"ignore_exc": True}}, False, "ignore_exc"),
        (REDIS, True, None),
    ],
)
def test_cache_that_hides_outages_is_a_warning(
    cache: dict[str, Any], everywhere: bool, said: str | None
) -> None:
    messages = found(
        CACHES={"default": cache}, DJANGO_REDIS_IGNORE_EXCEPTIONS=everywhere
    )
    assert [message.id for message in messages] == ["sessionstores.W010"] * bool(said)
    assert all(f"({said})" in message.msg for message in messages)


def test_logins_that_an_outage_hides_are_a_warning_wherever_the_records_are() -> None:
    hiding = {**DJANGO_REDIS, "OPTIONS": {"IGNORE_EXCEPTIONS": True}}
    given = {
        "CACHES": {"default": REDIS, "logins": hiding},
        "SESSION_CACHE_ALIAS": "logins",
    }
    assert ids(**given) == []
    in_cache = "django.contrib.sessions.backends.cache"
    (message,) = found(**given, SESSION_ENGINE=in_cache)
    assert message.id == "sessionstores.W010"
    assert "join()" in message.msg
    placed = {"REDIS": {"url": URL}, "CACHE": "logins"}
    assert ids(**given, SESSION_ENGINE=in_cache, SESSIONSTORES=placed) == ["W010"]
    assert ids(**given, SESSIONSTORES=placed) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"LOCATION": [URL, "redis://copy.example"]}, ["W011"]),
        ({"LOCATION": f"{URL},redis://copy.example"}, ["W011"]),
        ({"LOCATION": [URL]}, []),
    ],
)
@pytest.mark.parametrize("cache", [REDIS, DJANGO_REDIS])
def test_several_servers_of_which_one_is_used_are_a_warning(
    cache: dict[str, Any], changed: dict[str, Any], expected: list[str]
) -> None:
    assert with_cache({**cache, **changed}) == expected


SITE = "tests.backends.redis.cache_site"


def test_caches_that_derive_from_a_known_one_have_its_warnings() -> None:
    fixed = {"BACKEND": f"{SITE}.FixedRedisCache"}
    assert with_cache(fixed, deploy=True) == ["W015"]
    valkey = {"BACKEND": f"{SITE}.ValkeyCache", "LOCATION": "valkey://cache.example"}
    assert with_cache(valkey, deploy=True) == ["W015"]
    hides = {"DJANGO_VALKEY_IGNORE_EXCEPTIONS": True}
    assert with_cache(valkey, **hides) == ["W010"]
    assert with_cache({**valkey, "LOCATION": ""}) == ["E002"]


def test_several_addresses_are_not_a_warning_where_sentinels_or_a_setting_decide() -> (
    None
):
    two = {"LOCATION": ["redis://primary/0", "redis://primary/0"]}
    sentinels = {"OPTIONS": {"SENTINELS": [("sentinel.example", 26379)]}}
    assert with_cache({**DJANGO_REDIS, **two, **sentinels}) == []
    assert with_cache({**REDIS, **two}, SESSIONSTORES={"REDIS": {"url": URL}}) == []


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (REDIS, ["W015"]),
        (
            {**REDIS, "OPTIONS": {"serializer": f"{CACHE}redis.RedisSerializer"}},
            ["W015"],
        ),
        ({**REDIS, "OPTIONS": SAFE}, []),
        (DJANGO_REDIS, ["W015"]),
        (MEMCACHED, ["W015"]),
        ({**MEMCACHED, "OPTIONS": {"serializer": print}}, []),
        (
            {
                **DJANGO_REDIS,
                "OPTIONS": {
                    "SERIALIZER": "django_redis.serializers.json.JSONSerializer"
                },
            },
            [],
        ),
    ],
)
def test_pickles_on_the_server_of_records_are_a_warning_for_deployment(
    cache: dict[str, Any], expected: list[str]
) -> None:
    assert with_cache(cache, deploy=True) == expected


def test_unusable_cache_gets_its_error_alone() -> None:
    two = {**REDIS, "LOCATION": ["memory://a", "memory://b"]}
    assert with_cache(two, deploy=True) == ["E002"]
    assert with_cache(REDIS, SESSIONSTORES={"CACHE": "no"}, deploy=True) == ["E002"]
    assert with_cache({**DATABASE, "LOCATION": ""}, deploy=True) == ["E002"]


def test_state_that_memcached_would_not_take_is_an_error() -> None:
    assert with_cache(MEMCACHED, SESSIONSTORES={"MAX_STATE_BYTES": 2**20}) == ["E002"]
    assert with_cache(REDIS, SESSIONSTORES={"MAX_STATE_BYTES": 2**20}) == []


# Channel layers


def test_layer_that_keeps_queues_in_redis_has_three_limits() -> None:
    assert with_layer() == ["W012", "W013", "W014"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (URL, ["W012", "W013"]),
        (("layer.example", 6379), ["W012", "W013"]),
        # The other forms that the README of channels_redis has.
        ("redis://:password@127.0.0.1:6379/0", ["W012", "W013"]),
        ("unix:///path/to/redis.sock", ["W012", "W013"]),
        ({"address": "rediss://user@h:1", "ssl_cert_reqs": None}, ["W012", "W013"]),
        (
            {"sentinels": [("localhost", 26379)], "master_name": "main"},
            ["W012", "W013"],
        ),
        ({"address": URL, "socket_timeout": 5}, ["W012", "W013"]),
        ({"address": URL, "socket_timeout": 15}, ["W013"]),
        ({"address": URL, "socket_timeout": None}, ["W013"]),
        ({"host": "layer.example", "max_connections": 1_000}, ["W012"]),
        (f"{URL}?socket_timeout=15&max_connections=500", []),
        (
            {"address": f"{URL}?socket_timeout=1", "socket_timeout": 15},
            ["W012", "W013"],
        ),
    ],
)
def test_limits_of_the_layers_client_are_warnings(
    host: object, expected: list[str]
) -> None:
    assert with_layer(hosts=[host], capacity=1_000) == expected
    # The narrowest of several decides.
    wide = {"address": URL, "socket_timeout": None, "max_connections": 1_000}
    assert with_layer(hosts=[wide, host], capacity=1_000) == expected


def test_older_redis_py_sets_itself_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "version", lambda package: "7.1.0")
    assert with_layer(hosts=[URL], capacity=1_000) == []
    tight = {"address": URL, "socket_timeout": 3, "max_connections": 10}
    assert with_layer(hosts=[tight], capacity=1_000) == ["W012", "W013"]


@pytest.mark.parametrize(("capacity", "expected"), [(999, ["W014"]), (1_000, [])])
def test_little_room_in_the_layer_is_a_warning(
    capacity: int, expected: list[str]
) -> None:
    wide = {"address": URL, "socket_timeout": None, "max_connections": 1_000}
    assert with_layer(hosts=[wide], capacity=capacity) == expected


# Proxies


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, ["W021"]),
        ({"USE_X_FORWARDED_HOST": True}, ["W021"]),
        ({"USE_X_FORWARDED_PORT": True}, ["W021"]),
        (
            {"USE_X_FORWARDED_HOST": True, "SESSIONSTORES": {"GUESS_LIMIT": None}},
            [],
        ),
    ],
)
def test_who_is_behind_a_proxy_is_told_of_addresses_for_deployment(
    given: dict[str, Any], expected: list[str]
) -> None:
    assert ids(**given) == []
    assert sorted(map(str, ids(deploy=True, **given))) == ["W004", "W005", *expected]


# Static files


class Hashed(ManifestStaticFilesStorage):
    pass


class WithModules(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


@pytest.fixture
def whitenoise(monkeypatch: pytest.MonkeyPatch) -> None:
    """WhiteNoise's storage that deletes, by its name: it is not installed here."""
    name = "CompressedManifestStaticFilesStorage"
    module = ModuleType("whitenoise.storage")
    given = {"__module__": module.__name__}
    deleting = type(name, (ManifestStaticFilesStorage,), given)
    kinds = {
        name: deleting,
        "Modules": type("Modules", (WithModules, deleting), given),
        "Own": type("Own", (deleting,), given),
    }
    vars(module).update(kinds)
    monkeypatch.setitem(sys.modules, "whitenoise", ModuleType("whitenoise"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("storage", "only_hashed", "expected"),
    [
        ("whitenoise.storage.CompressedManifestStaticFilesStorage", True, ["W022"]),
        ("whitenoise.storage.CompressedManifestStaticFilesStorage", False, []),
        ("whitenoise.storage.Own", True, ["W022"]),
        ("whitenoise.storage.Modules", True, []),
        # These delete nothing.
        (f"{__name__}.Hashed", True, []),
        ("django.contrib.staticfiles.storage.StaticFilesStorage", True, []),
        ("no.such.Storage", True, []),
    ],
)
@pytest.mark.usefixtures("whitenoise")
def test_modules_that_are_kept_under_hashed_names_only(
    storage: str, only_hashed: bool, expected: list[str]
) -> None:
    given = {
        "STORAGES": {"staticfiles": {"BACKEND": storage}},
        "WHITENOISE_KEEP_ONLY_HASHED_FILES": only_hashed,
    }
    assert ids(**given) == expected


IMPORT = re.compile(r"""(?:from|import)\s*["'](\.[^"']+)["']""")


@pytest.mark.parametrize("storage", [Hashed, WithModules])
def test_every_module_is_found_by_its_hashed_name_where_imports_have_it(
    tmp_path: Path, storage: type[ManifestStaticFilesStorage]
) -> None:
    demo = os.fspath(ROOT / "project" / "static")
    with override_settings(
        STATIC_ROOT=os.fspath(tmp_path),
        STATICFILES_DIRS=[demo],
        STORAGES={"staticfiles": {"BACKEND": f"{__name__}.{storage.__name__}"}},
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        manifest = json.loads((tmp_path / "staticfiles.json").read_text())
    for name in manifest["paths"]:
        (tmp_path / name).unlink()
    found = {}
    for script in tmp_path.rglob("*.js"):
        for imported in IMPORT.findall(script.read_text()):
            found[script.name, imported] = (script.parent / imported).exists()
    assert len(found) > 10
    assert set(found.values()) == {storage is WithModules}


# Modules of a site, one above another, the lowest above the client: Django looks at
# imports no more than five times. The docs name the number.
CHAIN = 5


def test_a_chain_of_the_sites_own_modules_gets_its_hashed_names(tmp_path: Path) -> None:
    (source := tmp_path / "site").mkdir()
    lower = "./sessionstores/client.js"
    for number in range(CHAIN):
        (source / f"m{number}.js").write_text(f'import * as lower from "{lower}";')
        lower = f"./m{number}.js"
    with override_settings(
        STATIC_ROOT=os.fspath(tmp_path / "root"),
        STATICFILES_DIRS=[os.fspath(source)],
        STORAGES={"staticfiles": {"BACKEND": f"{__name__}.WithModules"}},
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        name = staticfiles_storage.stored_name(lower.removeprefix("./"))
    for _ in range(CHAIN):
        (imported,) = IMPORT.findall((tmp_path / "root" / name).read_text())
        name = imported.removeprefix("./")
    assert re.fullmatch(r"sessionstores/client\.[0-9a-f]{12}\.js", name)


# Mistakes, each with what a check says of it

HAS_NO_EFFECT = "SESSIONSTORES['REDIS'] has "
DUMMY = {"BACKEND": f"{CACHE}dummy.DummyCache"}
LOCMEM = {"BACKEND": f"{CACHE}locmem.LocMemCache"}
IN_CACHE = "django.contrib.sessions.backends.cache"


class Mistake(NamedTuple):
    """Settings with one, the check that finds it, and parts of message and hint."""

    settings: dict[str, Any]
    id: str
    said: str
    hint: str


def redis_setting(given: dict[str, Any], cache: dict[str, Any] = LOCMEM) -> Any:
    return {"SESSIONSTORES": {"REDIS": given}, "CACHES": {"default": cache}}


def default_layer(layer: object) -> dict[str, Any]:
    return {"CHANNEL_LAYERS": {"default": layer}}


def asgi(path: object) -> dict[str, Any]:
    return {"ASGI_APPLICATION": path, "WSGI_APPLICATION": "tests.asgi.wsgi"}


MISTAKES = {
    "host": Mistake(
        redis_setting({"host": "secret"}),
        "W023",
        "has 'host', but no 'url', 'cluster' or 'sentinels', and so no effect: records "
        "are kept in CACHES['default'], a django.core.cache.backends.locmem.LocMem",
        "{'url': 'redis://host:6379/0'}",
    ),
    "capitals": Mistake(
        redis_setting({"URL": "redis://secret"}),
        "W023",
        "Did you mean 'url'?",
        "take these keys out",
    ),
    "service": Mistake(
        redis_setting({"service": "secret"}, MEMCACHED), "W023", "'service', but", "url"
    ),
    "empty": Mistake(redis_setting({}), "W023", "is empty: it has no 'url'", "url"),
    "host beside an alias": Mistake(
        redis_setting({"host": "secret", "port": 1}, REDIS),
        "W023",
        "'host' and 'port' without effect: the address is that of LOCATION of CACHES",
        "url",
    ),
    "host beside a URL": Mistake(
        redis_setting({"url": URL, "host": "secret"}),
        "W023",
        "'host' without effect: the address is that of 'url'",
        "url",
    ),
    "database": Mistake(
        redis_setting({"url": "redis://u:secret@cache/abc"}),
        "W024",
        "SESSIONSTORES['REDIS']['url'] names 'abc' as its database, which is no number",
        "'redis://host/2'",
    ),
    "database of an alias": Mistake(
        {"CACHES": {"default": {**DJANGO_REDIS, "LOCATION": ["redis://cache/1/2"]}}},
        "W024",
        "CACHES['default']['LOCATION'] names '1/2' as its database, which is no "
        "number: redis-py takes it for 12.",
        "'redis://host/2'",
    ),
    "visitors in a dummy": Mistake(
        {
            "SESSION_ENGINE": IN_CACHE,
            "CACHES": {"default": DUMMY, "records": LOCMEM},
            "SESSIONSTORES": {"CACHE": "records"},
        },
        "W025",
        "Django's sessions are in CACHES['default'], which keeps nothing.",
        "SESSION_CACHE_ALIAS",
    ),
    "no session app": Mistake(
        {"INSTALLED_APPS": ["django.contrib.contenttypes", "sessionstores"]},
        "W026",
        "'django.contrib.sessions' is not in INSTALLED_APPS",
        "manage.py migrate",
    ),
    "no session": Mistake(
        {"MIDDLEWARE": ["sessionstores.middleware.ParticipantMiddleware"]},
        "W003",
        "MIDDLEWARE has no SessionMiddleware of Django's",
        "SessionMiddleware",
    ),
    "a colon": Mistake(asgi("tests.asgi:application"), "W027", "asgi:app", "a dot"),
    "a name": Mistake(asgi("application"), "W027", "is not a path of names", "a dot"),
    "an object": Mistake(asgi(print), "W027", "is not a path of names", "a dot"),
    "wsgi": Mistake(asgi("tests.asgi.wsgi"), "W027", "WSGI_APPLICATION too", "asgi"),
    "attribute": Mistake(
        asgi("tests.asgi.app"), "W027", "module 'tests.asgi' has no 'app'", "asgi"
    ),
    "module": Mistake(
        asgi("tests.agsi.application"), "W027", "no module 'tests.agsi'", "asgi"
    ),
    "package": Mistake(
        asgi("no.such.application"), "W027", "loaded: No module named 'no'", "asgi"
    ),
    "layers": Mistake(
        {"CHANNEL_LAYERS": None}, "W002", "must be a dict, not None", "{'default'"
    ),
    "list of layers": Mistake(
        {"CHANNEL_LAYERS": []}, "W002", "must be a dict, not list", "{'default'"
    ),
    "layer": Mistake(
        default_layer("channels.layers.InMemoryChannelLayer"),
        "W002",
        "CHANNEL_LAYERS['default'] must be a dict with a 'BACKEND', not str",
        "'BACKEND': 'channels.layers.InMemoryChannelLayer'",
    ),
    "empty layer": Mistake(default_layer({}), "W002", "a 'BACKEND', and is", "BACKEND"),
    "backend": Mistake(
        default_layer({"BACKEND": "channels.layers.InMemory"}),
        "W002",
        "is 'channels.layers.InMemory', which cannot be imported (Module \"channels",
        "BACKEND",
    ),
    "no text": Mistake(
        default_layer({"BACKEND": print}), "W002", "cannot be imported", "BACKEND"
    ),
    "config": Mistake(
        default_layer({**PUBSUB, "CONFIG": [URL]}), "W002", "a dict, not list", "CONFIG"
    ),
    "hosts": Mistake(
        default_layer({**PUBSUB, "CONFIG": {"hosts": "redis://u:secret@cache"}}),
        "W002",
        "['hosts'] must be a list, not str",
        "['redis://…']",
    ),
    "host of core": Mistake(
        default_layer({"BACKEND": CORE, "CONFIG": {"hosts": {"address": "secret"}}}),
        "W002",
        "['hosts'] must be a list, not dict",
        "['redis://…']",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_named_with_a_way_out(name: str) -> None:
    given, id, said, hint = MISTAKES[name]
    others = {"W020"} if name == "no session app" else set()
    message = next(
        message for message in found(**given) if message.id == f"sessionstores.{id}"
    )
    assert said in message.msg
    assert hint in str(message.hint)
    assert "secret" not in f"{message.msg} {message.hint}"
    # A warning keeps no site from starting that works all the same.
    assert message.level == checks.WARNING
    assert {*ids(**given)} - {id} <= {"W002", *others}


@pytest.mark.parametrize(
    "given",
    [
        redis_setting({}, REDIS),
        redis_setting({"password": "x"}, DJANGO_REDIS),
        redis_setting({"url": URL, "password": "x"}),
        redis_setting({"url": "redis://cache?db=2"}),
        redis_setting({"url": "unix:///run/valkey.sock"}),
        {"SESSIONSTORES": {"REDIS": None}},
        {"CACHES": {"default": {**REDIS, "LOCATION": "redis://cache/"}}},
        {"CACHES": {"default": {**REDIS, "LOCATION": "redis://cache/1,redis://b/x"}}},
        {"SESSION_ENGINE": IN_CACHE},
        {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"},
        default_layer({**PUBSUB, "CONFIG": {"hosts": ("redis://a",)}}),
        default_layer({"BACKEND": "channels.layers.InMemoryChannelLayer"}),
        asgi("tests.asgi.application"),
        asgi("django.core.asgi.get_asgi_application"),
    ],
)
def test_what_is_no_mistake_is_not_found(given: dict[str, Any]) -> None:
    known = {"W011"}
    assert {*ids(**given)} <= known


def test_visitors_of_one_process_alone_are_a_warning_for_deployment() -> None:
    given = {"SESSION_ENGINE": IN_CACHE}
    assert sorted(map(str, ids(deploy=True, **given))) == ["W004", "W005", "W025"]


def test_hint_for_the_layers_client_is_a_cure() -> None:
    given = default_layer({"BACKEND": CORE, "CONFIG": {"capacity": 1_000}})
    hosts: list[Any] = []
    for message in found(**given):
        written = re.search(r"'hosts': (\[.*\])", str(message.hint))
        assert written is not None
        hosts.append(ast.literal_eval(written[1])[0])
    assert len(hosts) == 2
    assert with_layer(hosts=[{**hosts[0], **hosts[1]}], capacity=1_000) == []
