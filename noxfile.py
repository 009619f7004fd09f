"""Run `make test` and `make lint` on each supported pair of Python and Django.

`nox --list` names the sessions; `nox -s "tests(python='3.13', django='6.1')"` runs
one. On a developer's machine, pairs whose interpreter is missing are skipped; where
`CI` is set, nox counts them as failed.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import nox

# Django 5.2 supports 3.14 from 5.2.8 on; 6.0 and 6.1 need Python 3.12.
PYTHONS = {
    "5.2": ["3.11", "3.12", "3.13", "3.14"],
    "6.0": ["3.12", "3.13", "3.14"],
    "6.1": ["3.12", "3.13", "3.14"],
}
REQUIREMENTS = {
    "5.2": "Django>=5.2.8,<5.3",
    "6.0": "Django>=6.0,<6.1",
    "6.1": "Django>=6.1,<6.2",
}
PAIRS = [(python, django) for django in PYTHONS for python in PYTHONS[django]]

nox.needs_version = ">=2026.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.reuse_existing_virtualenvs = True


def make(session: nox.Session, target: str, django: str) -> None:
    """Let make install into the session's environment and run a target there."""
    environment = Path(session.virtualenv.location)
    # Tells make that the environment exists. Touched once: a newer mark would have
    # everything installed again.
    mark = environment / ".python"
    if not mark.exists():
        mark.touch()
    session.run(
        "make",
        target,
        f"VENV={environment}",
        f"DJANGO={REQUIREMENTS[django]}",
        f"ARGS={shlex.join(session.posargs)}",
        external=True,
    )


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def tests(session: nox.Session, django: str) -> None:
    """Run `make test`; what follows `--` goes to pytest."""
    make(session, "test", django)


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def lint(session: nox.Session, django: str) -> None:
    """Run `make lint`."""
    make(session, "lint", django)
