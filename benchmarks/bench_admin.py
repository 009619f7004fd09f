"""The admin's pages with 10,000 participants on Valkey, beside those with 10."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import django
import msgspec

from benchmarks._rows import Row, interleaved, show
from benchmarks.bench_stats import FEW, MANY, fill
from benchmarks.servers import valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client, override_settings  # noqa: E402

from benchmarks.states import Board  # noqa: E402
from sessionstores import conf, stores  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402

ROUNDS = 9
AIM_MS = 300
# The same people in many small sessions: what a row of the list costs.
SESSIONS = 2_000
SPREAD_MS = 100
SPREAD_KB = 50
SECOND_MS = 1_000
LARGE = 2_000
BASE = "/admin/sessionstores/livesession/"


class Site:
    """A superuser's browser, and the cache that the site uses now."""

    def __init__(self) -> None:
        self.client = Client()
        self.client.force_login(User.objects.create_superuser("root"))
        self.conf = conf.get()

    def get(self, alias: str, path: str, wanted: bytes) -> Callable[[], None]:
        """Return a callable that opens a page and checks that it has `wanted`."""
        settings: dict[str, Any] = {"cache": alias, "max_participants": LARGE}
        chosen = msgspec.structs.replace(self.conf, **settings)

        def ask() -> None:
            with patch.object(conf, "get", lambda: chosen):
                response = self.client.get(BASE + path)
            assert response.status_code == 200
            assert wanted in response.content, path

        return ask

    def weight(self, alias: str, path: str) -> tuple[int, bool]:
        """Return a page's bytes, and whether it is a 304 while nothing changes."""
        chosen = msgspec.structs.replace(self.conf, cache=alias)
        with patch.object(conf, "get", lambda: chosen):
            size = len(self.client.get(BASE + path).content)
            first = self.client.get(f"{BASE}{path}live/")
            again = self.client.get(
                f"{BASE}{path}live/", headers={"If-None-Match": first["ETag"]}
            )
        return size, again.status_code == 304


def row(what: str, few: float, many: float, aim: float) -> Row:
    """Return the row of a page, from seconds with few and with many."""
    few, many = few * 1e3, many * 1e3
    return Row(
        what,
        f"{FEW} participants {few:.0f} ms",
        f"{many:.0f} ms",
        f"{many / few:.1f}",
        f"≤ {aim} ms",
        many <= aim,
    )


def large_session(alias: str, participants: int) -> str:
    """Create a session with participants in a cache; return its code."""
    settings = {
        "CACHE": alias,
        "AUTO_SWEEP": False,
        "MAX_PARTICIPANTS": LARGE,
        "SLOW_OPERATION_MS": 10_000,
    }
    with override_settings(SESSIONSTORES=settings):
        code = stores.create_session()
        for number in range(participants):
            board = stores.get(Board, code, f"participant-{number}")
            board.dispatch(Board.move, "card-03", "drop")
    return code


def main() -> None:
    """Print the rows."""
    call_command("migrate", verbosity=0)
    redis = "django.core.cache.backends.redis.RedisCache"
    names = ("few", "many", "spread", "small", "large")
    with registry.isolated(Board), valkey() as store:
        server = store.url.rpartition("/")[0]
        caches = {
            name: {"BACKEND": redis, "LOCATION": f"{server}/{number}"}
            for number, name in enumerate(names)
        }
        with override_settings(CACHES={"default": caches["few"], **caches}):
            site = Site()
            fill("few", FEW)
            fill("many", MANY)
            fill("spread", MANY, MANY // SESSIONS)
            small = large_session("small", FEW)
            large = large_session("large", LARGE)
            spent = interleaved(
                ROUNDS,
                few=site.get("few", "", b"of 10 people online"),
                many=site.get("many", "", b"of 10,000 people online"),
                spread=site.get("spread", "", b"of 10,000 people online"),
                health=site.get("spread", "health/", b"ss-workers"),
                small=site.get("small", f"{small}/", b"0 of 10"),
                large=site.get("large", f"{large}/", b"0 of 2,000"),
            )
            size, is_unchanged = site.weight("spread", "")
    spread = f"in {SESSIONS:,} sessions"
    show(
        row(f"overview, {MANY:,}", spent["few"], spent["many"], AIM_MS),
        row(f"overview, {spread}", spent["few"], spent["spread"], SPREAD_MS),
        row(f"health, {spread}", spent["few"], spent["health"], SPREAD_MS),
        Row(
            f"overview, {spread}",
            "unchanged: " + ("304" if is_unchanged else "sent again"),
            f"{size / 1024:.1f} KB",
            "",
            f"≤ {SPREAD_KB} KB, 304",
            size <= SPREAD_KB * 1024 and is_unchanged,
        ),
        row(f"session of {LARGE:,}", spent["small"], spent["large"], SECOND_MS),
    )


if __name__ == "__main__":
    main()
