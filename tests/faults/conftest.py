"""What the tests of faults share: the seed, processes that write, the table."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionstores import event_bus
from sessionstores.keys import CODE_ALPHABET, CODE_LENGTH
from sessionstores.state.declaration import registry

from .counts import FULL, Row, table
from .writers import Ledger, Roll, Writer


def _seed(config: pytest.Config) -> int:
    # Else that of pytest-randomly, which all of a run's processes share; it may be off.
    drawn = getattr(config.option, "randomly_seed", 0)
    return int(os.environ.get("SESSIONSTORES_SEED") or drawn)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Draws the same in every run with the same seed, whatever other tests draw."""
    seed = _seed(request.config)
    request.node.add_report_section("setup", "seed", f"SESSIONSTORES_SEED={seed}")
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture
def code(rng: random.Random) -> str:
    """The code of a session that no other test uses."""
    return "".join(rng.choices(CODE_ALPHABET, k=CODE_LENGTH))


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Put a row into the table; what is not given is 0."""

    def put(fault: str, backend: str, times: int, **figures: int) -> None:
        row: dict[str, Any] = dict.fromkeys(Row.__annotations__, 0)
        row |= {"fault": fault, "backend": backend, "times": times, **figures}
        request.node.user_properties.append(("fault", row))

    return put


@pytest.fixture
def ledgers() -> Iterator[None]:
    """Declare in this process too what the writers do, and let it listen as they do."""
    with registry.isolated(Ledger, Roll), event_bus.bus.restored():
        yield


@pytest.fixture
def start() -> Iterator[Callable[..., Writer]]:
    """Start a writer; none outlives its test."""
    writers: list[Writer] = []

    def one(*arguments: Any) -> Writer:
        writers.append(Writer(*arguments))
        return writers[-1]

    yield one
    for writer in writers:
        writer.kill()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, whichever process its rows come from."""
    rows = [
        row
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
        for name, row in report.user_properties
        if name == "fault"
    ]
    if rows:
        counts = "full counts" if FULL else "a tenth of the full counts"
        terminalreporter.section(
            f"faults, {counts}, SESSIONSTORES_SEED={_seed(config)}"
        )
        for line in table(rows):
            terminalreporter.line(line)
