"""What a run says of tests that the machine cannot run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BROWSER = "tests/browser/test_look.py"
MEMCACHED = (
    "tests/management/commands/test_sweepstores.py::test_another_cache_may_be_chosen"
)


def run_without_programs(
    folder: Path, *arguments: str, ci: bool = False
) -> tuple[int, list[str]]:
    """Run pytest with nothing on the PATH; return its exit code and its last lines."""
    mine = ("PYTEST_", "CI", "COV_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--color=no", *arguments],
        cwd=ROOT,
        env={**kept, "PATH": str(folder), **({"CI": "true"} if ci else {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.returncode, run.stdout.splitlines()


def test_missing_program_is_one_line_in_a_run_of_several_processes(
    tmp_path: Path,
) -> None:
    code, lines = run_without_programs(tmp_path, "-n", "1", BROWSER, MEMCACHED)
    assert code == 0
    said = [line for line in lines if "not installed" in line]
    assert len(said) == 2, lines
    chromium = (
        r"\d+ tests were skipped: chromium is .* \(Debian: apt install chromium\)"
    )
    assert re.fullmatch(chromium, said[0])
    memcached = "memcached is not installed (Debian: apt install memcached)"
    assert said[1] == f"1 test was skipped: {memcached}"


def test_in_ci_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    code, lines = run_without_programs(tmp_path, BROWSER, MEMCACHED, ci=True)
    assert code == 1
    assert re.match(r"\d+ errors in ", lines[-1])
