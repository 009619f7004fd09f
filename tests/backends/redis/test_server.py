"""The figures of a Redis or Valkey server, as the overview and the doctor show them."""

from __future__ import annotations

from sessionstores.backends.base import run
from sessionstores.backends.redis.location import Location
from sessionstores.backends.redis.scripts import ScriptRunner
from sessionstores.backends.redis.server import RedisServer, totals
from tests.servers import Valkey


def test_the_servers_figures_are_read(valkey: Valkey) -> None:
    scripts = ScriptRunner(Location(valkey.url), blocking=True)
    server = run(RedisServer(scripts).server())
    product, version = server.name.split(" ")
    assert product in ("Redis", "Valkey")
    assert version[0].isdigit()
    assert server.used is not None
    assert server.used > 100_000
    assert (server.limit, server.evicted, server.policy) == (None, 0, "noeviction")


def test_of_several_servers_memory_is_added_and_limited_if_each_is() -> None:
    one = {"redis_version": "7.2.4", "used_memory": 10, "maxmemory": 100}
    other = {**one, "used_memory": 5, "evicted_keys": 2}
    assert totals([one, other])[:4] == ("Redis 7.2.4", 15, 200, 2)
    assert totals([one, {**other, "maxmemory": 0}]).limit is None
