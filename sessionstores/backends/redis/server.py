"""The server as a whole, and the values that all sessions share, on Redis or Valkey."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ... import conf
from ...keys import shared_key
from ..record_cache import RecordCache
from ..types import MEASURED_TRIPS, Finding, ServerInfo, Value
from .report import info_of, report, server_of
from .scripts import RedisCommands

# A round trip to a server nearby takes a tenth of that.
SLOW_MS = 10


class RedisServer(RedisCommands):
    """What is not of one session."""

    _recent: RecordCache

    # Shared values

    async def value(self, name: str) -> Value:
        """See `Backend.value`. The token is what was seen."""
        return (await self.values([name]))[name]

    async def values(self, names: Sequence[str]) -> dict[str, Value]:
        """See `Backend.values`."""
        wanted = list(dict.fromkeys(names))
        held = await self._send_all([("GET", self._value(name)) for name in wanted])
        return {
            name: Value(data, b"-" if data is None else b"+" + data)
            for name, data in zip(wanted, held, strict=True)
        }

    async def swap_value(
        self, name: str, token: Any, data: bytes, *, seconds: float
    ) -> bool:
        """See `Backend.swap_value`."""
        arguments = token, data, seconds
        return bool(
            await self._call("swap", (self._value(name),), arguments, again=False)
        )

    def _value(self, name: str) -> str:
        return shared_key(conf.get().key_prefix, "v", name)

    # The server

    async def examine(self) -> list[Finding]:
        """See `Backend.examine`."""
        took = min([await self._trip_ms() for _ in range(MEASURED_TRIPS)])
        infos = await self._infos()
        speed = Finding("ok", f"Round trip {took:.1f} ms")
        if took > SLOW_MS:
            speed = Finding(
                "warning",
                f"A round trip takes {took:.0f} ms; each dispatch is one.",
                "Put the server nearer to the workers.",
            )
        return [*report(infos), speed]

    async def _trip_ms(self) -> float:
        started = time.monotonic()
        await self.now()
        return (time.monotonic() - started) * 1000

    async def _infos(self, *sections: str) -> list[Mapping[str, Any]]:
        """Return INFO of the server, or of each of the cluster's primaries."""
        return [info_of(told) for told in await self._ask_all("INFO", *sections)]

    async def server(self) -> ServerInfo | None:
        """See `Backend.server`."""
        return server_of(await self._infos())

    async def run_name(self) -> str:
        """See `Backend.run_name`. Of a cluster, the runs of all its primaries."""
        runs = sorted(info["run_id"] for info in await self._infos("server"))
        return blake2b(" ".join(runs).encode(), digest_size=4).hexdigest()

    async def clear(self) -> None:
        """See `Backend.clear`."""
        self._recent.clear()
        keys = await self._scan("*")
        await self._send_all([("UNLINK", key) for key in keys])
