"""The demo's workers, as one of them sees and kills them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from project.workers import WorkerStatus, kill, pidfile, worker_statuses


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKSHOP_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_worker_is_killed_and_one_that_has_ended_already_is_left_alone(
    directory: Path,
) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfile(directory, 1).write_text(str(worker.pid))
    pidfile(directory, 2).write_text("")
    assert worker_statuses() == [WorkerStatus(1, worker.pid), WorkerStatus(2, None)]
    kill(1)
    assert worker.wait(10) == -9
    assert worker.stdin
    worker.stdin.close()
    # Until the supervisor notes that it has ended, its pid is still there.
    kill(1)
    kill(2)
