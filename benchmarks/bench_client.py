"""Size of the client: minified and gzipped, and as written."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

from benchmarks._rows import Row, show

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "sessionstores/static/sessionstores"
PEERS = "Phoenix 8.5, Socket.IO 14.8, Liveblocks 60 KB"
# Modules and their budget in KB, minified and gzipped; as written, it is twice that.
BUDGETS: dict[str, tuple[tuple[str, ...], float]] = {
    "client": (("patch", "document", "outbox", "connection", "client"), 8.5),
    "predict": (("predict",), 1),
    "presence": (("presence",), 1),
}


def main() -> None:
    """Print the rows; without npm only those that need no minifier."""
    rows = []
    for what, (names, budget) in BUDGETS.items():
        paths = [STATIC / f"{name}.js" for name in names]
        if shutil.which("npx"):
            minified = b"".join(map(_minified, paths))
            rows.append(_row(f"{what}, minified and gzipped", minified, budget))
        written = b"".join(path.read_bytes() for path in paths)
        rows.append(_row(f"{what}, as written, gzipped", written, 2 * budget))
    show(*rows)


def _minified(path: Path) -> bytes:
    command = ["npx", "--yes", "terser@5.51.2", "--module", "-c", "-m", "--", str(path)]
    return subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout


def _row(what: str, text: bytes, budget: float) -> Row:
    size = len(gzip.compress(text, 9)) / 1024
    figure, ratio = f"{size:.2f} KB", f"{size / 8.5:.2f} of Phoenix's"
    return Row(what, PEERS, figure, ratio, f"≤ {budget:g} KB", size <= budget)


if __name__ == "__main__":
    main()
