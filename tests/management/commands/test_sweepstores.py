"""`manage.py sweepstores` on every kind of cache, healthy, failing and stopped.

As a process where exit codes, streams or signals are the point: each takes a second to
start.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import StringIO
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.test import override_settings
from django.utils import timezone

from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.keys import cache_key
from sessionstores.management import output
from sessionstores.management.commands.sweepstores import Command
from sessionstores.manager import stores
from sessionstores.monitoring.sweeps import last_sweep
from tests.caches import SHARED, cache_on
from tests.databases import database
from tests.faults.sites import Site, on_database, on_memcached, on_redis
from tests.servers import PATIENCE, Postgres, Valkey, free_port
from tests.workshop.states import Board

CODE = "K7Q2ZD"
ROOT = Path(__file__).parents[3]
NOTHING = r"There was nothing to remove\. It took \S+ m?s\.\n"
FIGURES = {
    "cache",
    "participants",
    "sessions",
    "lost",
    "readmitted",
    "left",
    "bytes",
    "seconds",
    "finished",
    "dry_run",
    "visited",
    "due",
    "failed",
}
# A site needs no more than this to be swept, and starts the sooner.
APPS = ["sessionstores", "tests.workshop"]


class Shell:
    """Runs the command on one site, as a process."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        site = {"INSTALLED_APPS": APPS, **site}
        lines = [f"{name} = {value!r}" for name, value in site.items()]
        text = "\n".join(["from tests.settings import *", *lines, ""])
        (folder / "swept_site.py").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it; the output is to be read."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", "sweepstores", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "swept_site",
                "PYTHONPATH": os.fspath(self.folder),
            },
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        process = self.start(*arguments)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def close(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture(autouse=True)
def _open(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let the command close what is old of connections that other tests opened."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[Site], Shell]]:
    """Make a `Shell` on a site with these settings."""
    made: list[Shell] = []

    def make(site: Site) -> Shell:
        made.append(Shell(tmp_path, site))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def place(
    request: pytest.FixtureRequest, settings: Any, shell: Callable[[Site], Shell]
) -> Iterator[Shell]:
    """A site on the kind of cache that the test is run with; Valkey by default."""
    kind = getattr(request, "param", "valkey")
    with cache_on(kind, request, settings) as site:
        yield shell(site)


everywhere = pytest.mark.parametrize("place", SHARED, indirect=True)
OnSite = Callable[[Site], Shell]


def fill(code: str, count: int) -> None:
    for number in range(count):
        stores.get(Board, code, f"p{number}").snapshot()


def here(*arguments: str, **options: Any) -> str:
    """Run the command in this process, which takes no time; return its output."""
    out = StringIO()
    call_command("sweepstores", *arguments, **{"stdout": out, **options})
    return out.getvalue()


class Signalling(StringIO):
    """Output that sends this process a signal, some time after it has so many lines."""

    def __init__(self, number: int, *, lines: int = 1, after: float = 0.0) -> None:
        super().__init__()
        self.lines = lines
        self.timer = threading.Timer(after, os.kill, [os.getpid(), number])

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= self.lines and not self.timer.ident:
            self.timer.start()
        return written


def figures(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    assert found.keys() == FIGURES
    return found


# On every kind of cache


@everywhere
def test_what_is_in_use_stays_and_what_is_idle_goes(place: Shell) -> None:
    assert re.fullmatch(NOTHING, here())
    fill(CODE, 3)
    fill("ELSE23", 2)
    size = sum(each.bytes for each in run(get_backend(blocking=True).summaries()))
    out = here("--idle", "0", "--dry-run")
    assert out.startswith("Would remove 5 participants and 2 sessions (")
    assert figures(here("--json"))["participants"] == 0
    assert stores.participant_count() == 5
    code, out, errors = place.run("--json", "--idle", "0")
    assert (code, errors) == (0, "")
    done = figures(out)
    assert (done["participants"], done["sessions"]) == (5, 2)
    assert (done["bytes"], done["finished"], done["dry_run"]) == (size, True, False)
    assert stores.sessions() == []
    last = run(last_sweep(get_backend(blocking=True)))
    assert last is not None
    assert last.by.startswith("sweepstores, ")
    assert last.sweep.participants == 5


def test_nothing_to_do_and_a_dry_run_end_with_0(place: Shell) -> None:
    code, out, errors = place.run()
    assert (code, errors) == (0, "")
    assert re.fullmatch(NOTHING, out)
    fill(CODE, 3)
    code, out, errors = place.run("--idle", "0", "--dry-run")
    assert (code, errors) == (0, "")
    assert out.startswith("Would remove 3 participants and 1 session (")
    assert stores.participant_count() == 3


@pytest.mark.parametrize(
    ("place", "number"),
    [
        ("valkey", signal.SIGINT),
        ("memcached", signal.SIGTERM),
        ("sqlite", signal.SIGINT),
        ("postgres", signal.SIGTERM),
    ],
    indirect=["place"],
)
def test_first_signal_ends_it_with_its_batch(place: Shell, number: int) -> None:
    fill(CODE, 30)
    process = place.start("--idle", "0", "--batch-size", "5", "--pause", "1h")
    wait_until(lambda: stores.participant_count() == 25, process)
    process.send_signal(number)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert re.fullmatch(
        r"Removed 5 participants \(\S+ B\); stopped after 0 of 1 session\. "
        r"It took \S+ m?s\.\n",
        out,
    )
    assert stores.participant_count() == 25


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "site",
    [
        on_redis(free_port()),
        on_memcached(free_port()),
        on_database({"ENGINE": "django.db.backends.sqlite3", "NAME": "/no/such/file"}),
        on_database(
            {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "none",
                "HOST": "127.0.0.1",
                "PORT": free_port(),
            }
        ),
    ],
    ids=SHARED,
)
def test_stopped_server_is_one_line_and_no_traceback(site: Site, shell: OnSite) -> None:
    code, out, errors = shell(site).run()
    assert (code, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("CommandError: ")


def test_cache_in_the_memory_of_another_process_is_said_to_be_out_of_sight(
    shell: OnSite,
) -> None:
    code, out, errors = shell({}).run()
    assert (code, out) == (3, "")
    (line,) = errors.splitlines()
    assert "in the memory of the process that serves the site" in line
    assert "AUTO_SWEEP" in line
    for option in ("--dry-run", "--loop"):
        with pytest.raises(CommandError, match="AUTO_SWEEP") as caught:
            here(option)
        assert caught.value.returncode == 3


# What it prints


def test_verbosity_goes_from_nothing_to_every_key(place: Shell) -> None:
    def swept(verbosity: str, *more: str) -> list[str]:
        fill(CODE, 2)
        fill("ELSE23", 1)
        return here("--idle", "0", "-v", verbosity, *more).splitlines()

    assert swept("0") == []
    (line,) = swept("1")
    assert re.fullmatch(r"Removed 3 participants and 2 sessions \(\d+ B\)\. .*", line)
    sessions = [
        r"ELSE23  1 idle, 1 empty, \d+ B",
        r"K7Q2ZD  2 idle, 1 empty, \d+ B",
    ]
    assert all(map(re.fullmatch, [*sessions, "Removed.*"], swept("2")))
    keys = [
        r"ELSE23:p0  idle  \d+ B",
        r"ELSE23:\*  empty  0 B",
        sessions[0],
        r"K7Q2ZD:p[01]  idle  \d+ B",
        r"K7Q2ZD:p[01]  idle  \d+ B",
        r"K7Q2ZD:\*  empty  0 B",
        sessions[1],
    ]
    lines = swept("3")
    assert len(lines) == 8
    assert all(map(re.fullmatch, [*keys, "Removed.*"], lines)), lines


def test_json_stands_alone_on_stdout(place: Shell) -> None:
    fill(CODE, 2)
    talk = StringIO()
    out = here("--idle", "0", "--json", "-v", "3", stderr=talk)
    assert figures(out)["participants"] == 2
    assert talk.getvalue().splitlines()[-1].startswith("K7Q2ZD  2 idle, 1 empty")


def test_long_pass_shows_a_bar_on_a_terminal_and_takes_it_away(
    place: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock by which each look at it comes half a second after the one before.
    ticks = count(step=0.5)
    clock = SimpleNamespace(monotonic=lambda: next(ticks))
    monkeypatch.setattr(output, "time", clock)
    fill(CODE, 4)
    ours, theirs = pty.openpty()
    with open(theirs, "w") as screen:
        out = here("--idle", "0", "--batch-size", "1", stderr=screen)
    drawn = b""
    # Linux says that it is closed only once all is read.
    with suppress(OSError):
        while some := os.read(ours, 10_000):
            drawn += some
    os.close(ours)
    assert out.startswith("Removed 4 participants")
    assert re.search(rb"\r\[#* *\] +\d+%, \d removed", drawn)
    assert drawn.endswith(b"\r\x1b[K")


# Arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--everything"], "--everything"),
        (["--idle", "5x"], "'5x' is not a duration"),
        (["--idle", "-5"], "'-5' is not a duration"),
        (["--session", "no"], "'no' is not a session code"),
        (["--session", CODE, "--participant", "a:b"], "not a participant id"),
        (["--participant", "alice"], "--participant needs --session"),
        (["--batch-size", "0"], "'0' is not a whole number above 0"),
        (["--interval", "60"], "--interval needs --loop"),
        (["--loop", "--interval", "0"], "it must be more than 0"),
        (["--cache", "elsewhere"], "CACHES has no alias 'elsewhere'. It has: default"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], said: str, place: Shell
) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        here(*arguments)


@pytest.mark.parametrize("option", ["--participant=alice", "--cache=elsewhere"])
def test_arguments_that_make_no_sense_end_with_2(option: str, shell: OnSite) -> None:
    with pytest.raises(CommandError) as caught:
        here(option)
    assert caught.value.returncode == 2


def test_unknown_argument_ends_with_2(shell: OnSite) -> None:
    code, out, errors = shell(on_redis(free_port())).run("--everything")
    assert (code, out) == (2, "")
    assert "--everything" in errors
    assert "Traceback" not in errors


def test_one_session_or_one_participant_may_be_chosen(place: Shell) -> None:
    fill(CODE, 2)
    fill("ELSE23", 2)
    options = ["--idle", "0", "--json", "--session", CODE]
    done = figures(here(*options, "--participant", "p1"))
    assert (done["participants"], done["sessions"]) == (1, 0)
    done = figures(here(*options))
    assert (done["participants"], done["sessions"]) == (1, 1)
    assert stores.sessions() == ["ELSE23"]


def test_another_cache_may_be_chosen(place: Shell, memcached: Any) -> None:
    fill(CODE, 2)
    caches = {"other": on_memcached(memcached.port)["CACHES"]["default"]}
    with override_settings(CACHES={"default": caches["other"]}):
        fill(CODE, 3)
    with override_settings(CACHES=settings.CACHES | caches):
        done = figures(here("--cache", "other", "--idle", "0", "--json"))
    assert (done["cache"], done["participants"]) == ("other", 3)
    assert stores.participant_count() == 2


def test_cache_cannot_be_chosen_where_a_setting_names_the_server() -> None:
    caches = on_redis(free_port())["CACHES"]
    placed = {"REDIS": {"url": f"redis://127.0.0.1:{free_port()}/0"}}
    with (
        override_settings(
            CACHES=caches | {"other": caches["default"]}, SESSIONSTORES=placed
        ),
        pytest.raises(CommandError, match="cannot choose another place") as caught,
    ):
        here("--cache", "other")
    assert caught.value.returncode == 2


def test_settings_that_cannot_be_used_are_one_line(shell: OnSite) -> None:
    code, _, errors = shell({"SESSIONSTORES": {"IDLE_TIMEOU": 5}}).run()
    assert code == 1
    (line,) = errors.splitlines()
    assert "Did you mean 'IDLE_TIMEOUT'" in line


def test_pass_may_be_limited_in_time(place: Shell) -> None:
    fill(CODE, 3)
    arguments = ["--idle", "0", "--batch-size", "1", "--max-seconds", "0", "--json"]
    done = figures(here(*arguments))
    assert (done["participants"], done["finished"]) == (1, False)


def test_orphans_alone_are_mended(place: Shell, valkey: Valkey) -> None:
    fill(CODE, 3)
    with valkey.client() as client:
        assert client.delete(cache_key("ss", CODE, "p", "p1")) == 1
    done = figures(here("--idle", "0", "--orphans-only", "--json"))
    assert (done["lost"], done["participants"]) == (1, 0)
    assert stores.participants(CODE) == ["p0", "p2"]


def test_warning_ends_with_4_and_is_printed(place: Shell) -> None:
    assert re.fullmatch(NOTHING, here("--fail-on-leak"))
    large = Board(notes="x" * 250_000)
    board = stores.get(Board, CODE, "alice")
    board.replace(large, base=board.snapshot().rev)
    out, talk = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        here("--fail-on-leak", stdout=out, stderr=talk)
    assert ended.value.code == 4
    assert re.fullmatch(NOTHING, out.getvalue())
    assert "K7Q2ZD:alice" in talk.getvalue()


# Corrupt data and outages


def spoil(valkey: Valkey, code: str, kind: str = "i") -> None:
    """Let another program have written where something of a session's was."""
    with valkey.client() as client:
        client.set(cache_key("ss", code, kind), "junk")


@everywhere
def test_who_is_not_there_is_said_not_to_be(place: Shell) -> None:
    fill(CODE, 2)
    elsewhere = "K7Q2ZX"
    assert here("--session", elsewhere) == (
        "There is no session K7Q2ZX. Nothing was removed.\n"
    )
    assert here("--session", elsewhere, "--participant", "p1").startswith("There is no")
    assert here("--session", CODE, "--participant", "p7") == (
        "Session K7Q2ZD has no participant p7. Nothing was removed.\n"
    )
    # Who is there and in use is not due.
    for chosen in ([], ["--participant", "p1"]):
        assert re.fullmatch(NOTHING, here("--session", CODE, *chosen))
    # What this very pass removes was there.
    out = here("--session", CODE, "--idle", "0")
    assert out.startswith("Removed 2 participants and 1 session (")
    assert json.loads(here("--session", CODE, "--json"))["sessions"] == 0


@pytest.mark.parametrize("kind", ["i", "c", "o", "g", "f"])
def test_corrupt_session_is_skipped_and_the_others_are_swept(
    kind: str, place: Shell, valkey: Valkey
) -> None:
    fill(CODE, 3)
    fill("ELSE23", 2)
    spoil(valkey, CODE, kind)
    out, talk = StringIO(), StringIO()
    with suppress(SystemExit):
        here("--idle", "0", "--json", stdout=out, stderr=talk)
    assert stores.participant_count("ELSE23") == 0
    failed = figures(out.getvalue())["failed"]
    assert talk.getvalue().count(f"{CODE} cannot be swept: ") == failed <= 1
    assert talk.getvalue().count("\n") == failed


def test_session_that_cannot_be_swept_is_named_and_ends_it_with_1(
    place: Shell, valkey: Valkey
) -> None:
    fill(CODE, 3)
    fill("ELSE23", 2)
    spoil(valkey, CODE)
    code, out, errors = place.run("--idle", "0", "--json")
    assert code == 1
    assert (figures(out)["failed"], figures(out)["participants"]) == (1, 2)
    (line,) = errors.splitlines()
    assert line.startswith(f"{CODE} cannot be swept: ")


def test_loop_names_a_session_that_cannot_be_swept_once(
    place: Shell, valkey: Valkey
) -> None:
    fill(CODE, 1)
    spoil(valkey, CODE)
    talk = StringIO()
    arguments = ["--loop", "--interval", "20ms", "--idle", "0", "--json"]
    here(*arguments, stdout=Signalling(signal.SIGINT, lines=3), stderr=talk)
    assert talk.getvalue().count("cannot be swept") == 1


def test_full_server_is_swept_all_the_same(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Valkey()
    server.start()
    try:
        settings.CACHES = on_redis(server.port)["CACHES"]
        fill(CODE, 50)
        with server.client() as client:
            info: Any = client.info("memory")
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", info["used_memory"] - 100_000)
        assert figures(here("--idle", "0", "--json"))["participants"] == 50
        assert "raise maxmemory" in caplog.text
    finally:
        server.stop()


def test_loop_outlives_a_server_that_takes_no_writes(
    shell: OnSite, settings: Any
) -> None:
    server = Valkey()
    server.start()
    try:
        site = on_redis(server.port)
        settings.CACHES = site["CACHES"]
        fill(CODE, 3)
        with server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            arguments = ["--loop", "--interval", "50ms", "--idle", "0", "--json"]
            process = shell(site).start(*arguments)
            said = lines_of(process, errors=True)
            while "Trying again." not in (line := next(said)):
                pass
            assert "READONLY" in line
            client.execute_command("REPLICAOF", "NO", "ONE")
        lines = lines_of(process)
        assert figures(next(lines))["participants"] == 3
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert "Traceback" not in errors
    finally:
        server.stop()


def test_closed_pipe_ends_it_without_a_message(place: Shell) -> None:
    process = place.start("--loop", "--interval", "10ms", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(PATIENCE) == 0


def test_dry_run_tells_of_lost_records_too(place: Shell, valkey: Valkey) -> None:
    fill(CODE, 3)
    with valkey.client() as client:
        assert client.delete(cache_key("ss", CODE, "p", "p1")) == 1
    foreseen = figures(here("--idle", "0", "--dry-run", "--json"))
    done = figures(here("--idle", "0", "--json"))
    for name in ("participants", "sessions", "lost", "readmitted"):
        assert foreseen[name] == done[name]
    assert done["lost"] == 1


# In a loop


def lines_of(process: subprocess.Popen[str], *, errors: bool = False) -> Iterator[str]:
    stream = process.stderr if errors else process.stdout
    assert stream is not None
    for _ in range(100):
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        assert ready, "it said nothing"
        yield stream.readline()


def test_loop_prints_one_object_a_line_and_ends_with_the_first_signal(
    place: Shell,
) -> None:
    process = place.start(
        "--loop",
        "--interval",
        "50ms",
        "--idle",
        "0",
        "--json",
    )
    lines = lines_of(process)
    assert figures(next(lines))["participants"] == 0
    fill(CODE, 3)
    removed = 0
    while removed < 3:
        removed += figures(next(lines))["participants"]
    last = run(last_sweep(get_backend(blocking=True)))
    assert last is not None
    assert last.interval == 0.05
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    for line in out.splitlines():
        figures(line)


def test_loop_keeps_quiet_about_passes_without_anything(place: Shell) -> None:
    fill(CODE, 2)
    out = Signalling(signal.SIGINT, after=0.3)
    here("--loop", "--interval", "20ms", "--idle", "0", stdout=out)
    (line,) = out.getvalue().splitlines()
    assert line.startswith("Removed 2 participants")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_wait_for_the_next_pass(place: Shell, number: int) -> None:
    # It waits by then; if not, it is not to wait at all.
    out = Signalling(number, after=0.1)
    here("--loop", "--interval", "1h", "--json", stdout=out)
    assert len(out.getvalue().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_it_at_once_without_a_traceback(
    place: Shell, valkey: Valkey, number: int
) -> None:
    process = place.start("--loop", "--interval", "1h", "--json")
    next(lines_of(process))
    # Stopped, it gets both before it can do anything about the first.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors
    assert process.returncode in (0, -number)


def test_second_signal_does_not_wait_for_a_batch_that_hangs(shell: OnSite) -> None:
    server = Valkey()
    server.start()
    try:
        process = shell(on_redis(server.port)).start(
            "--loop", "--interval", "10ms", "--json"
        )
        next(lines_of(process))
        with server.paused():
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, -signal.SIGTERM)
        assert "Traceback" not in errors
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["valkey", "postgres"])
def test_loop_outlives_its_server(kind: str, shell: OnSite) -> None:
    server = Valkey() if kind == "valkey" else Postgres()
    server.start()
    try:
        if isinstance(server, Postgres):
            site = shell(on_database(server.database, "swept"))
            with database("swept", server.database):
                pass
        else:
            site = shell(on_redis(server.port))
        process = site.start("--loop", "--interval", "50ms", "--json", "-v", "0")
        lines = lines_of(process)
        next(lines)
        server.kill()
        assert process.stderr is not None
        assert "Trying again." in process.stderr.readline()
        server.start()
        assert "The cache answers again." in process.stderr.readline()
        next(lines)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (0, "")
    finally:
        server.stop()


# In the documentation


def test_documentation_lists_each_option_and_no_other() -> None:
    text = (ROOT / "docs" / "sweeping.md").read_text()
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `-"))
    parser = Command().create_parser("manage.py", "sweepstores")
    options = {
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    everywhere = {
        option
        for action in BaseCommand().create_parser("manage.py", "any")._actions
        for option in action.option_strings
    }
    assert set(re.findall(r"`(--[a-z-]+)", table)) == options - everywhere


def test_task_in_the_documentation_sweeps_and_sees_to_the_next_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = pytest.importorskip("django.tasks", reason="Django 6 is not installed")
    dummy = "django.tasks.backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": dummy}}
    text = (ROOT / "docs" / "sweeping.md").read_text()
    code = text.partition("### Django Tasks")[2].partition("```python\n")[2]
    module: Any = ModuleType("swept_tasks")
    # A task is found by its name.
    monkeypatch.setitem(sys.modules, "swept_tasks", module)
    exec(code.partition("```")[0], vars(module))
    fill(CODE, 2)
    with override_settings(SESSIONSTORES={"IDLE_TIMEOUT": 1e-9}):
        module.sweep.call()
    assert stores.participant_count() == 0
    (queued,) = tasks.default_task_backend.results
    assert queued.task.run_after > timezone.now()


# From code


def test_code_may_call_it(place: Shell) -> None:
    fill(CODE, 2)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert figures(here(idle=0, json=True))["participants"] == 2
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert after == handlers
    with pytest.raises(CommandError, match="needs --session"):
        call_command("sweepstores", participant="alice")
