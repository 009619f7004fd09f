"""Workers: what each process that serves the site tells of itself."""

from __future__ import annotations

import msgspec


class Worker(msgspec.Struct, frozen=True):
    """A process that has tabs, or has acted within the last `PRESENCE_LEASE`.

    `tabs`: connections that it serves; `since`: when it began to count; `version`: its
    release of sessionstores; `load`: its CPU time as a share of one core, since the
    heartbeat before; `rss`: its resident memory in bytes; `seen`: its last heartbeat.
    Times are those of the backend's clock; None: not known.
    """

    host: str
    pid: int
    tabs: int
    since: float
    version: str
    load: float | None
    rss: int | None
    seen: float
