"""Dispatch, access and memory on Redis, beside redis-py with a minimal script."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import django
import msgspec
import redis
import redis.asyncio

from benchmarks._rows import Row, interleaved, show
from benchmarks.bench_dispatch import Cards, accesses, p99
from benchmarks.servers import PEERS, valkey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.test import override_settings  # noqa: E402

from benchmarks.states import BOARD_1K, BOARD_10K, Board  # noqa: E402
from sessionstores import stores  # noqa: E402
from sessionstores.backends import get_backend  # noqa: E402
from sessionstores.backends.base import run  # noqa: E402
from sessionstores.state.declaration import registry  # noqa: E402
from sessionstores.store.store import Store  # noqa: E402

ROUNDS = 7
CALLS = 500
# Of all coroutines together.
CONCURRENT_CALLS = 3_000
IDLE_PARTICIPANTS = 10_000
SCRIPT = (PEERS / "compare_and_set.lua").read_text()


class Floor:
    """The floor: commits to a state of known rev, by plain redis-py."""

    def __init__(self, client: redis.Redis, key: str, board: dict[str, Any]) -> None:
        self.key = f"floor:{key}"
        self.sha = client.script_load(SCRIPT)
        self.state = msgspec.msgpack.encode(board)
        self.rev = 0
        client.hset(self.key, mapping={"rev": "0", "state": self.state})

    def commit(self, client: Any) -> Any:
        """Call the script; from a client of redis.asyncio, await the answer."""
        base, self.rev = self.rev, self.rev + 1
        arguments = (base, self.rev, self.state, 600_000, self.rev, self.key)
        return client.evalsha(self.sha, 2, self.key, "floor:index", *arguments)

    def read(self, client: redis.Redis) -> None:
        """Read the rev and the state that `commit` builds on."""
        rev: Any
        state: Any
        rev, state = client.hmget(self.key, "rev", "state")
        self.rev, self.state = int(rev), state


def filled(name: str, board: dict[str, Any]) -> Store[Cards]:
    """Return the store of a participant whose state is `board`."""

    def fill(cards: Cards) -> None:
        cards.deck = list(board["deck"])
        cards.piles = {pile: list(names) for pile, names in board["piles"].items()}

    store = stores.get(Cards, "K7Q2ZD", name)
    store.dispatch(fill)
    return store


def turned(turn: int) -> tuple[str, str]:
    """Return the piles that the top card is moved from and to: there and back."""
    return ("keep", "drop") if turn % 2 else ("drop", "keep")


def forget() -> None:
    """Empty this process's cache of records, which goes with its backends."""
    with override_settings(SESSIONSTORES={}):
        pass
    stores.get(Cards, "K7Q2ZD", "alice").snapshot()


def row(what: str, floor: str, medians: dict[str, float], aim: float) -> Row:
    """Make a row of the medians of `CALLS` calls each."""
    least, ours = (medians[name] / CALLS * 1e6 for name in ("floor", "ours"))
    return Row(
        f"dispatch, Redis, {what}",
        f"{floor} {least:.0f} µs",
        f"{ours:.0f} µs",
        f"{ours / least:.2f}",
        f"≤ {aim}",
        ours / least <= aim,
    )


def known(client: redis.Redis, size: str, board: dict[str, Any], aim: float) -> Row:
    """Dispatch from synchronous code, the state known by its rev."""
    cards, least = filled("alice", board), Floor(client, "alice", board)

    def floor() -> None:
        for _ in range(CALLS):
            assert least.commit(client)

    def ours() -> None:
        for turn in range(CALLS):
            cards.dispatch(Cards.move, *turned(turn))

    medians = interleaved(ROUNDS, floor=floor, ours=ours)
    return row(f"{size}, sync", "EVALSHA", medians, aim)


def cold(client: redis.Redis) -> Row:
    """Dispatch where the process does not know the state: it has to read it first."""
    people = [f"p{number}" for number in range(CALLS)]
    cards = [filled(name, BOARD_1K) for name in people]
    least = [Floor(client, name, BOARD_1K) for name in people]
    rounds = itertools.count()

    def floor() -> None:
        for each in least:
            each.read(client)
            assert each.commit(client)

    def ours() -> None:
        forget()
        pair = turned(next(rounds))
        for each in cards:
            each.dispatch(Cards.move, *pair)

    medians = interleaved(ROUNDS, floor=floor, ours=ours)
    return row("1 KB, cold", "HMGET+EVALSHA", medians, 1.3)


def alone(
    runner: asyncio.Runner,
    client: redis.Redis,
    native: redis.asyncio.Redis,
    size: str,
    board: dict[str, Any],
    aim: float,
) -> Row:
    """Dispatch from one coroutine, the state known by its rev."""
    cards, least = filled("alice", board), Floor(client, "alice", board)

    async def floor() -> None:
        for _ in range(CALLS):
            assert await least.commit(native)

    async def ours() -> None:
        for turn in range(CALLS):
            await cards.adispatch(Cards.move, *turned(turn))

    medians = interleaved(
        ROUNDS, floor=lambda: runner.run(floor()), ours=lambda: runner.run(ours())
    )
    return row(f"{size}, async", "EVALSHA, redis.asyncio", medians, aim)


def together(
    runner: asyncio.Runner,
    client: redis.Redis,
    pools: dict[str, redis.asyncio.Redis],
    coroutines: int,
) -> Row:
    """Dispatch from many coroutines at once, each to a participant of its own."""
    people = [f"p{number}" for number in range(coroutines)]
    cards = [filled(name, BOARD_1K) for name in people]
    least = [Floor(client, name, BOARD_1K) for name in people]
    turns = CONCURRENT_CALLS // coroutines

    async def commit(each: Floor, pool: redis.asyncio.Redis) -> None:
        for _ in range(turns):
            assert await each.commit(pool)

    async def dispatch(each: Store[Cards]) -> None:
        for turn in range(turns):
            await each.adispatch(Cards.move, *turned(turn))

    async def all_of(works: list[Awaitable[None]]) -> None:
        await asyncio.gather(*works)

    def floor(pool: redis.asyncio.Redis) -> Callable[[], None]:
        return lambda: runner.run(all_of([commit(each, pool) for each in least]))

    medians = interleaved(
        ROUNDS,
        ours=lambda: runner.run(all_of([dispatch(each) for each in cards])),
        **{name: floor(pool) for name, pool in pools.items()},
    )
    rates = {name: turns * coroutines / spent for name, spent in medians.items()}
    times = rates["ours"] / max(rates[name] for name in pools)
    return Row(
        f"dispatch, Redis, {coroutines} coroutines",
        "EVALSHA, redis.asyncio: "
        + ", ".join(f"{name} {rates[name]:.0f}/s" for name in pools),
        f"{rates['ours']:.0f}/s",
        f"{times:.1f} times as many",
        "≥ 2",
        times >= 2,
    )


def access() -> list[Row]:
    """Access states, the first time and later, while 50 participants are active."""
    accesses()
    names = ("first access", "access")
    milliseconds = [p99(times) * 1e3 for times in accesses()]
    return [
        Row(
            f"{name}, Redis, p99, 50 active",
            "the origin's 5 ms",
            f"{spent:.2f} ms",
            f"{spent / 5:.2f}",
            "≤ 2 ms",
            spent <= 2,
        )
        for name, spent in zip(names, milliseconds, strict=True)
    ]


def memory(client: redis.Redis) -> Row:
    """Fill the server with participants who acted once."""
    backend = get_backend(blocking=True)
    run(backend.clear())
    client.flushall()
    codes = [stores.create_session() for _ in range(IDLE_PARTICIPANTS // 50)]
    before = int(client.info("memory")["used_memory"])
    for code in codes:
        for number in range(50):
            board = stores.get(Board, code, f"participant-{number}")
            board.dispatch(Board.move, "card-03", "drop")
    taken = (int(client.info("memory")["used_memory"]) - before) / IDLE_PARTICIPANTS
    total = sum(summary.bytes for summary in run(backend.summaries()))
    encoded = total / IDLE_PARTICIPANTS
    return Row(
        "memory, idle participant, Redis",
        f"encoded state {encoded:.0f} B",
        f"{taken:.0f} B",
        f"{taken / encoded:.2f}",
        "≤ 1.8",
        taken / encoded <= 1.8,
    )


def main() -> None:
    """Print the rows."""
    with valkey() as store, registry.isolated(Cards, Board), asyncio.Runner() as runner:
        cache = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": store.url,
        }
        client = redis.Redis.from_url(store.url)
        pools = {
            # At redis-py's own limit, a coroutine past the hundredth is refused.
            "pool": redis.asyncio.Redis.from_url(store.url, max_connections=1_000),
            "blocking pool": redis.asyncio.Redis(
                connection_pool=redis.asyncio.BlockingConnectionPool.from_url(store.url)
            ),
        }
        native = pools["pool"]
        with override_settings(CACHES={"default": cache}):
            show(
                known(client, "1 KB", BOARD_1K, 1.4),
                known(client, "10 KB", BOARD_10K, 2),
                cold(client),
                alone(runner, client, native, "1 KB", BOARD_1K, 1.4),
                alone(runner, client, native, "10 KB", BOARD_10K, 2),
                *(together(runner, client, pools, many) for many in (50, 500)),
                *access(),
                memory(client),
            )
        for pool in pools.values():
            runner.run(pool.aclose())


if __name__ == "__main__":
    main()
