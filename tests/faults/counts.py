"""How often each fault happens, and the table of what it did."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypedDict

FULL = os.environ.get("SESSIONSTORES_FAULTS") == "full"


def count(full: int) -> int:
    """Return `full` in `make faults`, a tenth of it elsewhere."""
    return full if FULL else max(1, full // 10)


class Row(TypedDict):
    """What a fault did: `times` it happened, and the updates that suffered by it.

    `lost`: acknowledged and not there; `doubled`: there twice; `torn`: half there.
    `unknown` to the caller; `tries` is how often actions ran in all.
    """

    fault: str
    backend: str
    times: int
    lost: int
    doubled: int
    torn: int
    unknown: int
    conflicts: int
    tries: int


def table(rows: Iterable[Row]) -> list[str]:
    """Return the lines of a table with a heading, in columns as wide as needed."""
    heading = list(Row.__annotations__)
    lines = [heading, *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            # Words to the left, numbers to the right.
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
