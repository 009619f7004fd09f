"""`manage.py exportsession`: what it writes, where, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sessionstores.admin.export import BOM
from sessionstores.backends import get_backend
from sessionstores.exceptions import StoreUnavailable
from sessionstores.manager import stores
from tests.caches import cache_on
from tests.faults.sites import Site, on_redis
from tests.servers import free_port
from tests.workshop.states import Board

CODE = "K7Q2ZD"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(request: pytest.FixtureRequest, settings: Any) -> Iterator[Site]:
    """A site whose records other processes see, with two people."""
    with cache_on("valkey", request, settings) as site:
        for name in ("alice", "bob"):
            stores.get(Board, CODE, name).dispatch(Board.note, f"secret of {name}")
        stores.set_name(CODE, "alice", "Älice")
        yield site


def shell(
    folder: Path, site: Site, *arguments: str, without: str = ""
) -> tuple[int, bytes, str]:
    """Run the command as a process; return exit code, output and errors."""
    lines = [f"{name} = {value!r}" for name, value in site.items()]
    if without:
        lines += [
            f"INSTALLED_APPS = [each for each in INSTALLED_APPS if each != {without!r}]"
        ]
    text = "\n".join(["from tests.settings import *", *lines, ""])
    (folder / "told_site.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "manage.py", "exportsession", *arguments],
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "told_site",
            "PYTHONPATH": os.fspath(folder),
            # As a terminal of another encoding has it.
            "PYTHONIOENCODING": "ascii",
        },
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def written(*arguments: str) -> tuple[str, str]:
    """Return the output and the errors of the command, run in this process."""
    out, errors = StringIO(newline=""), StringIO()
    call_command("exportsession", *arguments, stdout=out, stderr=errors)
    return out.getvalue(), errors.getvalue()


def test_another_process_writes_what_the_admin_does(site: Site, tmp_path: Path) -> None:
    code, out, errors = shell(tmp_path, site, CODE)
    assert (code, errors) == (0, "")
    text = out.decode()
    assert text.startswith(BOM)
    assert text.count("\r\n") == text.count("\n") == 3
    alice, bob = csv.DictReader(StringIO(text.removeprefix(BOM), newline=""))
    assert (alice["name"], bob["person"]) == ("Älice", "bob")
    assert json.loads(alice["board.deck"])[0] == "ace"
    assert "secret" not in text


def test_a_site_without_the_admin_has_the_command(site: Site, tmp_path: Path) -> None:
    code, out, errors = shell(tmp_path, site, CODE, without="django.contrib.admin")
    assert (code, errors) == (0, "")
    assert out.count(b"\r\n") == 3


@pytest.mark.usefixtures("site")
def test_nothing_is_left_out_if_that_is_asked_for() -> None:
    for options in (
        ["--format", "csv", "--layout", "wide"],
        ["--format", "csv", "--layout", "long"],
        ["--format", "json", "--layout", "wide"],
        ["--format", "json", "--layout", "long"],
    ):
        hidden, _errors = written(CODE, *options)
        assert "secret of" not in hidden
        whole, _errors = written(CODE, *options, "--unredacted")
        assert "secret of alice" in whole
        assert "secret of bob" in whole
        if "json" in options:
            json.loads(whole)


@pytest.mark.usefixtures("site")
def test_a_file_is_replaced_once_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "team.json"
    file.write_text("before")
    with monkeypatch.context() as patched:

        async def fail(*args: object) -> None:
            raise StoreUnavailable("No answer from cache.example within 1 s.")

        patched.setattr(get_backend(blocking=True), "read_records", fail)
        with pytest.raises(CommandError, match=r"cache\.example") as caught:
            written(CODE, "--output", str(file))
    assert caught.value.returncode == 1
    assert [each.name for each in tmp_path.iterdir()] == ["team.json"]
    assert file.read_text() == "before"
    out, errors = written(CODE, "--format", "json", "--output", str(file))
    assert (out, errors) == ("", f"{file} was written: 2 participants.\n")
    assert [*json.loads(file.read_text())["people"][0]][:2] == ["person", "name"]
    assert [each.name for each in tmp_path.iterdir()] == ["team.json"]
    with pytest.raises(CommandError, match="cannot be written"):
        written(CODE, "--output", str(tmp_path / "none" / "team.json"))
    assert written(CODE, "--output", os.devnull, "-v", "0") == ("", "")
    assert not Path(os.devnull).is_file()


@pytest.mark.usefixtures("site")
def test_a_session_that_is_not_there_is_said_to_be_unknown_or_over() -> None:
    with pytest.raises(CommandError, match="There is no session ZZZZZZ") as caught:
        written("ZZZZZZ")
    assert caught.value.returncode == 1
    stores.end_session(CODE)
    with pytest.raises(CommandError, match=f"Session {CODE} has ended") as caught:
        written(CODE)
    assert caught.value.returncode == 1


def test_a_cache_in_memory_is_out_of_sight() -> None:
    with pytest.raises(CommandError, match="Export the session on its page") as caught:
        written(CODE)
    assert caught.value.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["k7q2zd"], "k7q2zd"),
        ([CODE, "--format", "xml"], "xml"),
        ([CODE, "--layout", "tall"], "tall"),
        ([CODE, "--cache", "nowhere"], "nowhere"),
    ],
)
def test_unusable_arguments_end_it_with_2(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    code, out, errors = shell(tmp_path, {}, *arguments)
    assert (code, out) == (2, b"")
    assert word in errors


def test_an_outage_is_one_line_and_speaks_of_no_writing(tmp_path: Path) -> None:
    code, out, errors = shell(tmp_path, on_redis(free_port()), CODE)
    assert (code, out) == (1, b"")
    assert errors.startswith("CommandError: ")
    assert errors.count("\n") == 1
    assert "written" not in errors
