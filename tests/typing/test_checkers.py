"""Types as sites see them: three checkers judge a site from outside of the package."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).parent / "embedding"
PYRIGHT = ROOT / "node_modules" / "pyright" / "index.js"
# What is installed beside the package at a site that has no stubs of Django.
PACKAGES = ("django", "channels", "msgspec", "asgiref")

Place = tuple[str, int]
Complaints = dict[Place, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the site in it, and an environment as its author would have."""
    folder = tmp_path_factory.mktemp("typed")
    shutil.copytree(SITE, folder / "embedding")
    venv.create(folder / "env")
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (packages / "sessionstores").symlink_to(ROOT / "sessionstores")
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        assert found
        assert found.origin
        (packages / name).symlink_to(Path(found.origin).parent)
    return folder


def run(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        # Their configuration is the folder's, and nothing else is on their path.
        env={key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    output: str = done.stdout
    return output


def by_mypy(folder: Path) -> Complaints:
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    python = folder / "env" / "bin" / "python"
    options = ("--cache-dir=.cache", "--output=json", "--python-executable", python)
    said = run(folder, sys.executable, "-m", "mypy", *options, "embedding")
    found = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {
        (Path(each["file"]).name, each["line"]): each["message"]
        for each in found
        if each["severity"] == "error"
    }


def by_pyright(folder: Path) -> Complaints:
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"include": ["embedding"], "typeCheckingMode": "strict"})
    )
    python = folder / "env" / "bin" / "python"
    node = shutil.which("node")
    assert node
    said = run(folder, node, PYRIGHT, "--outputjson", "--pythonpath", python)
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1): each["message"]
        for each in json.loads(said)["generalDiagnostics"]
        if each["severity"] == "error"
    }


def by_pyrefly(folder: Path) -> Complaints:
    python = folder / "env" / "bin" / "python"
    (folder / "pyrefly.toml").write_text(
        f'project-includes = ["embedding/*.py"]\npreset = "strict"\n'
        f'python-interpreter-path = "{python}"\n'
        # A matter of taste, which not every site's Python can express.
        "[errors]\nmissing-override-decorator = false\n"
    )
    said = run(
        folder, sys.executable, "-m", "pyrefly", "check", "--output-format", "json"
    )
    return {
        (Path(each["path"]).name, each["line"]): each["description"]
        for each in json.loads(said)["errors"]
        if each["severity"] == "error"
    }


def refused() -> set[Place]:
    """Return the places that say that they are refused."""
    return {
        (file.name, number)
        for file in SITE.glob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(r"# refused: ", line)
    }


# In a CI run its absence is a failure.
needs_pyright = pytest.mark.skipif(
    not (PYRIGHT.exists() or os.environ.get("CI") == "true"),
    reason="pyright is not installed (npm install)",
)


@pytest.mark.parametrize(
    "check", [by_mypy, pytest.param(by_pyright, marks=needs_pyright), by_pyrefly]
)
def test_sites_get_the_types_that_they_should(
    site: Path, check: Callable[[Path], Complaints]
) -> None:
    found, wanted = check(site), refused()
    assert {place: said for place, said in found.items() if place not in wanted} == {}
    assert wanted - found.keys() == set()
