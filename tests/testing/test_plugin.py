"""A site's suite is isolated by the plugin, in any order, in parallel, on any cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.servers import Valkey

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SITE = Path(__file__).parent / "site"
# What a site's runs would find installed, but do without.
WITHOUT = [f"-pno:{name}" for name in ("hypothesispytest", "playwright", "pytest_cov")]
TESTS = 26


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's directory, with this package installed as its metadata say."""
    root = tmp_path / "site"
    shutil.copytree(SITE, root, ignore=shutil.ignore_patterns("__pycache__"))
    installed = tmp_path / "installed" / "sessionstores_as_it_is-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: sessionstores-as-it-is\nVersion: 0\n"
    )
    lines = []
    for group, entries in PROJECT["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {at}" for name, at in entries.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    # By these, pytest knows whose assertions it is to explain.
    files = ("sessionstores/__init__.py", "sessionstores/testing/plugin.py")
    (installed / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return root


def run(site: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a site's directory, as no part of this run of pytest."""
    own = {name: v for name, v in os.environ.items() if "PYTEST" not in name}
    own.pop("DJANGO_SETTINGS_MODULE", None)
    path = os.pathsep.join(map(str, (site.parent / "installed", ROOT)))
    return subprocess.run(
        [sys.executable, *words],
        cwd=site,
        env={**own, **environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_pytest(site: Path, *words: str, **environ: str) -> str:
    """Run pytest there; return what it prints."""
    ran = run(site, "-m", "pytest", "-q", *WITHOUT, *words, **environ)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("cache", ["locmem", "valkey", "table"])
def test_a_suite_passes_in_random_order_and_in_parallel_on(
    cache: str, site: Path, request: pytest.FixtureRequest
) -> None:
    environ = {"SITE_CACHE": cache}
    server: Valkey | None = None
    if cache == "valkey":
        server = request.getfixturevalue("valkey")
        environ["SITE_REDIS_URL"] = server.url
    told = run_pytest(site, "-n=2", **environ)
    assert f"\n{TESTS} passed" in told, told
    if server is not None:
        with server.client() as client:
            assert client.keys() == []


def test_djangos_own_runner_has_the_mixin(site: Path) -> None:
    words = ("-W", "error", "manage.py", "test", "poker", "--shuffle")
    ran = run(site, *words, SITE_CACHE="table")
    assert "Ran 8 tests" in ran.stderr, ran.stderr
    assert "OK" in ran.stderr.splitlines(), ran.stderr


FAULTY = """
import pytest
from django.test import TestCase
from sessionstores import stores
from sessionstores.testing import participant

@pytest.fixture(scope="module")
def of_the_module():
    return stores.create_session()

def test_module(of_the_module):
    pass

@pytest.fixture(scope="class")
def of_the_class():
    return stores.create_session()

class TestClass:
    def test_one(self, of_the_class):
        assert stores.sessions() == [of_the_class]
        stores.create_session()

    def test_two(self, of_the_class):
        assert stores.sessions() == [of_the_class]

def test_plain():
    assert stores.sessions() == []

@pytest.mark.sessionstores_cache
def test_no_database():
    pass

@pytest.mark.sessionstores_cache
@pytest.mark.django_db
def test_in_atomic():
    pass

@pytest.mark.sessionstores_cache
def test_by_fixture(transactional_db):
    assert stores.sessions() == []

@pytest.mark.sessionstores_cache
@pytest.mark.django_db(transaction=True)
async def test_in_a_coroutine():
    participant()

@pytest.mark.sessionstores_cache
class InAtomic(TestCase):
    def test_one(self):
        pass
"""


def test_what_it_refuses_says_the_way_out(site: Path) -> None:
    (site / "test_poker.py").write_text(FAULTY)
    told = run_pytest(site, "-pno:randomly", "-rA", SITE_CACHE="table")
    assert "\n1 failed, 4 passed, 4 errors" in told, told
    assert "FAILED test_poker.py::test_in_a_coroutine" in told
    assert "In a coroutine: await aparticipant(…)" in told
    summary = told.partition("short test summary info")[2]
    for name, words in {
        "test_module": "Stores are fresh in every test, and this is outside of one",
        "test_no_database": "transaction=True",
        "test_in_atomic": "transaction=True",
        "InAtomic::test_one": "TransactionTestCase",
    }.items():
        assert f"ERROR test_poker.py::{name}" in summary
        assert words in told
    for name in ("TestClass::test_one", "TestClass::test_two", "test_by_fixture"):
        assert f"PASSED test_poker.py::{name}" in summary


OTHERS = """
import sys

def test_nothing():
    from django.conf import settings
    assert not settings.configured
    assert "sessionstores.testing.plugin" in sys.modules
    assert "channels" not in sys.modules
"""


def test_where_django_is_not_configured_it_does_nothing(site: Path) -> None:
    other = site.parent / "other"
    other.mkdir()
    shutil.move(site.parent / "installed", other / "installed")
    alone = other / "alone"
    alone.mkdir()
    (alone / "test_other.py").write_text(OTHERS)
    (alone / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    words = ("-pno:asyncio", "-pno:django")
    told = run_pytest(alone, *words)
    assert "\n1 passed" in told, told
    assert "sessionstores_cache: keep the stores" in run_pytest(
        alone, *words, "--markers"
    )
