"""All figures of the project, each beside its floor or peer in the same run.

`python benchmarks/run.py [NAME ...]` runs all of them, or those named.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "diff",
    "dispatch",
    "redis",
    "delivery",
    "memory",
    "sweep",
    "stats",
    "admin",
    "consumer",
    "flood",
    "workers",
    "crowd",
    "client",
)


def main(names: list[str]) -> int:
    """Run the benchmarks one after the other: each needs the machine for itself."""
    failed = 0
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    for name in names or NAMES:
        script = HERE / f"bench_{name}.py"
        if not script.exists():
            print(f"Unknown benchmark {name!r}. Benchmarks: {', '.join(NAMES)}.")
            return 2
        print(f"== {name}", flush=True)
        command = [sys.executable, str(script)]
        failed |= subprocess.run(command, env=environment).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
