"""Size of the client: minified and gzipped, and as written."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

from benchmarks._rows import Row, show

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "sessionstores/static/sessionstores/client.js"
PEERS = "Phoenix 8.5, Socket.IO 14.8, Liveblocks 60 KB"


def main() -> None:
    """Print the rows; without npm only those that need no minifier."""
    written = len(gzip.compress(CLIENT.read_bytes(), 9)) / 1024
    rows = []
    if shutil.which("npx"):
        command = ["npx", "--yes", "terser@5.51.2", "--module", "-c", "-m"]
        minified = subprocess.run(
            [*command, "--", str(CLIENT)], check=True, capture_output=True, cwd=ROOT
        ).stdout
        size = len(gzip.compress(minified, 9)) / 1024
        rows.append(
            Row(
                "client, minified and gzipped",
                PEERS,
                f"{size:.2f} KB",
                f"{size / 8.5:.2f} of Phoenix's",
                "≤ 6 KB",
                size <= 6,
            )
        )
    rows.append(
        Row(
            "client, as written, gzipped",
            PEERS,
            f"{written:.2f} KB",
            f"{written / 8.5:.2f} of Phoenix's",
            "≤ 12 KB",
            written <= 12,
        )
    )
    show(*rows)


if __name__ == "__main__":
    main()
