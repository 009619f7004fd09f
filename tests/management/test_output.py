"""What commands print of a sweep."""

from __future__ import annotations

import pytest

from sessionstores.management.output import summary
from sessionstores.monitoring.sweeps import Sweep


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Sweep(finished=True), "There was nothing to remove. It took 0 s."),
        (
            Sweep(participants=1_234, bytes=2_048, seconds=2, finished=True),
            "Removed 1,234 participants (2 KB). It took 2 s.",
        ),
        (
            Sweep(sessions=1, lost=1, readmitted=2, left=1, finished=True),
            "Removed 1 session (0 B); 1 record had been lost; 2 records entered in the "
            "index again; 1 participant had left unnoticed. It took 0 s.",
        ),
        (
            Sweep(participants=2, bytes=9, failed=1, finished=True),
            "Removed 2 participants (9 B); 1 session could not be swept. It took 0 s.",
        ),
        (
            Sweep(visited=3, due=10),
            "stopped after 3 of 10 sessions. It took 0 s.",
        ),
    ],
)
def test_figures_summary(done: Sweep, said: str) -> None:
    assert summary(done) == said
