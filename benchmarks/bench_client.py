"""Size of the client: its modules beside their budgets, all of it beside its peers."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

from benchmarks._rows import Row, show
from benchmarks.servers import PEERS

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "sessionstores/static/sessionstores"
CLIENTS = PEERS / "clients"
OURS = ("ours", "ours with React hooks")
# Modules and their budget in KB, minified and gzipped; as written, it is twice that.
BUDGETS: dict[str, tuple[tuple[str, ...], float]] = {
    "core": (("patch", "document", "outbox", "connection", "subscribers", "client"), 6),
    "predict": (("predict",), 1),
    "presence": (("presence",), 1.1),
    "watch": (("watch",), 1.5),
    "react": (("react",), 1.5),
    "htmx": (("htmx",), 0.5),
}


def modules() -> list[Row]:
    """Measure the modules; without npm only those rows that need no minifier."""
    rows = []
    for what, (names, budget) in BUDGETS.items():
        paths = [STATIC / f"{name}.js" for name in names]
        if shutil.which("npx"):
            minified = b"".join(map(_minified, paths))
            rows.append(_row(f"{what}, minified and gzipped", minified, budget))
        written = b"".join(path.read_bytes() for path in paths)
        rows.append(_row(f"{what}, as written, gzipped", written, 2 * budget))
    return rows


def peers() -> list[Row]:
    """Measure what a bundler makes of ours and of others, as pages load them."""
    if shutil.which("npm") is None:
        print("npm is not installed: the peers are not measured")
        return []
    if not (CLIENTS / "node_modules").exists():
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run([*install, "--silent"], check=True, cwd=CLIENTS)
    done = subprocess.run(
        ["node", "sizes.js"], check=True, capture_output=True, cwd=CLIENTS
    )
    sizes: dict[str, int] = json.loads(done.stdout)
    rows = []
    for ours in OURS:
        for name in sizes.keys() - {*OURS}:
            ratio = sizes[ours] / sizes[name]
            rows.append(
                Row(
                    f"bundled, gzipped, {ours}",
                    f"{name} {sizes[name] / 1024:.1f} KB",
                    f"{sizes[ours] / 1024:.1f} KB",
                    f"{ratio:.2f}",
                    "",
                    ok=True,
                )
            )
    return sorted(rows, key=lambda row: (row.what, float(row.ratio)))


def main() -> None:
    """Print the rows."""
    show(*modules())
    if rows := peers():
        show(*rows)


def _minified(path: Path) -> bytes:
    command = ["npx", "--yes", "terser@5.51.2", "--module", "-c", "-m", "--", str(path)]
    return subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout


def _row(what: str, text: bytes, budget: float) -> Row:
    size = len(gzip.compress(text, 9)) / 1024
    ratio = f"{size / budget:.2f}"
    return Row(what, "", f"{size:.2f} KB", ratio, f"≤ {budget:g} KB", size <= budget)


if __name__ == "__main__":
    main()
