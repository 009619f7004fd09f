"""The figures of a site with 10,000 participants, beside those of one with 10."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import django

from benchmarks._rows import Row, interleaved, show
from benchmarks.servers import valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402

from benchmarks.states import Board  # noqa: E402
from sessionstores import stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.base import run  # noqa: E402
from sessionstores.monitoring.stats import gather  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402

PER_SESSION = 50
FEW, MANY = 10, 10_000
ROUNDS = 9
# The limit of the whole overview page.
AIM_MS = 300


def fill(alias: str, participants: int, per_session: int = PER_SESSION) -> None:
    """Create participants in a cache."""
    settings = {"CACHE": alias, "AUTO_SWEEP": False, "SLOW_OPERATION_MS": 10_000}
    with override_settings(SESSIONSTORES=settings):
        for start in range(0, participants, per_session):
            code = stores.create_session()
            for number in range(min(per_session, participants - start)):
                board = stores.get(Board, code, f"participant-{number}")
                board.dispatch(Board.move, "card-03", "drop")


def figures(alias: str, participants: int) -> Callable[[], None]:
    """Return a callable that asks for the figures and checks them."""
    backend = get_backend(blocking=True, alias=alias)

    def ask() -> None:
        stats = run(gather(backend, stores=0))
        assert stats.participants == participants
        assert stats.bytes > 500 * participants

    return ask


def compare(place: str, caches: dict[str, Any]) -> Row:
    """Ask for the figures of many and of few in turn."""
    with override_settings(CACHES=caches):
        fill("few", FEW)
        fill("many", MANY)
        spent = interleaved(ROUNDS, few=figures("few", FEW), many=figures("many", MANY))
    few, many = spent["few"] * 1e3, spent["many"] * 1e3
    return Row(
        f"stats(), {place}, {MANY:,} participants",
        f"{FEW} participants {few:.2f} ms",
        f"{many:.1f} ms",
        f"{many / few:.0f}",
        f"≤ {AIM_MS} ms",
        many <= AIM_MS,
    )


def main() -> None:
    """Print the rows."""
    with registry.isolated(Board), valkey() as store:
        redis = "django.core.cache.backends.redis.RedisCache"
        locmem = "django.core.cache.backends.locmem.LocMemCache"
        server = store.url.rpartition("/")[0]
        show(
            compare("LocMem", {name: {"BACKEND": locmem} for name in ("few", "many")}),
            compare(
                "Valkey",
                {
                    name: {"BACKEND": redis, "LOCATION": f"{server}/{number}"}
                    for number, name in enumerate(("few", "many"))
                },
            ),
        )


if __name__ == "__main__":
    main()
