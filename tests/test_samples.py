"""Samples of a soak: level figures pass, and a leak of any of them does not."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SECONDS = 3_600.0
CYCLES = 1_000


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, imported as the soak does: from its folder."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("samples")


def course(samples: Any, **leaks: float) -> list[Any]:
    """Return an hour that is level but for noise and what leaks by its end."""
    noise = random.Random(1)
    cycles = []
    for number in range(CYCLES):
        part = number / CYCLES
        cycles.append(
            samples.Sample(
                at=part * SECONDS,
                rss=int(75e6 + noise.gauss(0, 1e5) + part * leaks.get("rss", 0)),
                objects=int(9e4 + noise.gauss(0, 500) + part * leaks.get("objects", 0)),
                cache=int(5e3 + noise.gauss(0, 2e3) + part * leaks.get("cache", 0)),
            )
        )
    return cycles


def test_noise_is_level(samples: Any) -> None:
    assert samples.judge(course(samples))


@pytest.mark.parametrize(
    "leak", [{"rss": 10e6}, {"objects": 3e3}, {"cache": 1e6}], ids=str
)
def test_a_leak_is_not(samples: Any, leak: dict[str, float]) -> None:
    assert not samples.judge(course(samples, **leak))


def test_warming_up_is_not_a_leak(samples: Any) -> None:
    cycles = [
        each._replace(rss=int(min(each.rss, 60e6 + each.at / SECONDS * 50e6)))
        for each in course(samples)
    ]
    assert samples.judge(cycles)


def test_samples_are_read_as_they_were_written(samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "soak.csv"
    path.write_text("at,rss,objects,cache\n0.5,70,3,9\n1.25,71,4,8\n")
    assert samples.read(path) == [(0.5, 70, 3, 9), (1.25, 71, 4, 8)]


def test_each_figure_is_drawn(samples: Any) -> None:
    drawn = samples.draw(course(samples), "An hour")
    assert drawn.count("<polyline") == 3
    assert "An hour" in drawn
