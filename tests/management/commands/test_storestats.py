"""`manage.py storestats`: what it prints, for people and programs, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from sessionstores import ActionRejected
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import ServerInfo
from sessionstores.keys import cache_key
from sessionstores.management.commands.storestats import (
    BLOCKS,
    WIDTH,
    chart,
    last_sweep,
    overview,
    printable,
    table,
)
from sessionstores.manager import stores
from sessionstores.monitoring.alerts import Alert, recent_alerts
from sessionstores.monitoring.history import sample
from sessionstores.monitoring.stats import Stats
from sessionstores.monitoring.workers import Worker
from tests.caches import SHARED, cache_on
from tests.faults.sites import Site, on_database, on_memcached, on_redis
from tests.monitoring.test_diagnosis import NOW, samples, server, summary
from tests.servers import PATIENCE, Valkey, free_port
from tests.workshop.states import Board

CODE = "K7Q2ZD"
ROOT = Path(__file__).parents[3]


class Shell:
    """Runs the command on one site, as a process."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.folder = folder
        lines = [f"{name} = {value!r}" for name, value in site.items()]
        text = "\n".join(["from tests.settings import *", *lines, ""])
        (folder / "told_site.py").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it; the output is to be read."""
        return subprocess.Popen(
            [sys.executable, "manage.py", "storestats", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "told_site",
                "PYTHONPATH": os.fspath(self.folder),
            },
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        process = self.start(*arguments)
        try:
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        return process.returncode, out, errors


@pytest.fixture
def place(
    request: pytest.FixtureRequest, settings: Any, tmp_path: Path
) -> Iterator[Shell]:
    """A site on the kind of cache that the test is run with; Valkey by default."""
    kind = getattr(request, "param", "valkey")
    with cache_on(kind, request, settings) as site:
        yield Shell(tmp_path, site)


def fill() -> None:
    for name in ("alice", "bob"):
        stores.get(Board, CODE, name).dispatch(Board.note, "x" * 1_000)
    stores.create_session(label="Team day", keep=60)


def printed(*arguments: str, **options: Any) -> list[str]:
    """Return the lines of the command, run in this process."""
    out = StringIO()
    call_command(
        "storestats",
        *arguments,
        stdout=out,
        stderr=StringIO(),
        no_color=True,
        **options,
    )
    return out.getvalue().splitlines()


@pytest.mark.parametrize("place", SHARED, indirect=True)
def test_another_process_sees_the_figures_of_a_shared_cache(place: Shell) -> None:
    code, out, errors = place.run("--json")
    assert (code, errors) == (0, "")
    assert json.loads(out)["participants"] == 0
    fill()
    code, out, errors = place.run("--json")
    assert (code, errors) == (0, "")
    figures = json.loads(out)
    assert (figures["scope"], figures["cache"]) == ("shared", "default")
    assert (figures["sessions"], figures["participants"]) == (2, 2)
    assert figures["bytes"] == stores.stats().bytes > 2_000
    assert [each["code"] for each in figures["summaries"]] == stores.sessions()
    code, out, errors = place.run()
    assert (code, errors) == (0, "")
    assert "participants  2, 0 of them online with 0 connections\n" in out
    assert f"\n{CODE} " in out


def test_a_local_cache_is_said_to_be_out_of_sight(tmp_path: Path) -> None:
    code, out, errors = Shell(tmp_path, {}).run("--json")
    assert code == 0
    assert json.loads(out)["scope"] == "process"
    assert errors.startswith("This cache is in the memory of the process that serves")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--quux"], "--quux"),
        (["--watch", "soon"], "soon"),
        (["--watch", "0"], "more than 0"),
        (["--sessions", "0"], "not a whole number above 0"),
    ],
)
def test_unknown_arguments_end_it_with_2(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    code, out, errors = Shell(tmp_path, {}).run(*arguments)
    assert (code, out) == (2, "")
    assert word in errors


def test_an_unknown_cache_is_a_wrong_argument() -> None:
    with pytest.raises(CommandError, match="CACHES has no alias 'nowhere'") as caught:
        call_command("storestats", "--cache", "nowhere")
    assert caught.value.returncode == 2


def test_another_cache_may_be_chosen_and_is_named(place: Shell, memcached: Any) -> None:
    fill()
    other = on_memcached(memcached.port)["CACHES"]["default"]
    with override_settings(CACHES={**settings.CACHES, "other": other}):
        head, sessions, *_ = printed("--cache", "other")
        assert json.loads(printed("--cache", "other", "--json")[0])["cache"] == "other"
    assert head.startswith("other (MemcachedBackend), all processes")
    assert sessions == "sessions      0"


def test_a_cache_cannot_be_chosen_where_a_setting_names_the_server() -> None:
    caches = on_redis(free_port())["CACHES"]
    placed = {"REDIS": {"url": f"redis://127.0.0.1:{free_port()}/0"}}
    with (
        override_settings(
            CACHES=caches | {"other": caches["default"]}, SESSIONSTORES=placed
        ),
        pytest.raises(CommandError, match="cannot choose another place") as caught,
    ):
        printed("--cache", "other")
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    "site",
    [
        on_redis(free_port()),
        on_memcached(free_port()),
        on_database({"ENGINE": "django.db.backends.sqlite3", "NAME": "/no/such/file"}),
    ],
    ids=["valkey", "memcached", "sqlite"],
)
def test_an_outage_is_one_line_and_speaks_of_no_writing(
    site: Site, tmp_path: Path
) -> None:
    code, out, errors = Shell(tmp_path, site).run()
    assert (code, out) == (1, "")
    assert errors.startswith("CommandError: ")
    assert errors.count("\n") == 1
    assert "written" not in errors


@pytest.mark.parametrize("kind", ["i", "c", "g"])
def test_a_session_that_cannot_be_read_costs_only_itself(
    kind: str, place: Shell, valkey: Valkey
) -> None:
    stores.get(Board, "ELSE23", "eve").snapshot()
    fill()
    with valkey.client() as client:
        client.set(cache_key("ss", CODE, kind), "junk")
    out, talk = StringIO(), StringIO()
    code: Any = 0
    try:
        call_command("storestats", "--json", stdout=out, stderr=talk)
    except SystemExit as ended:
        code = ended.code
    figures = json.loads(out.getvalue())
    said = [line.partition(" ")[0] for line in talk.getvalue().splitlines()]
    assert said == list(figures["unreadable"])
    assert code == len(said)
    assert {each["code"] for each in figures["summaries"]} | {
        *figures["unreadable"]
    } == set(stores.sessions())
    (line,) = [each for each in figures["summaries"] if each["code"] == "ELSE23"]
    assert line["participants"] == 1
    assert line["bytes"] > 0


def test_a_watch_names_a_session_that_cannot_be_read_once(
    place: Shell, valkey: Valkey
) -> None:
    fill()
    with valkey.client() as client:
        client.set(cache_key("ss", CODE, "i"), "junk")
    process = place.start("--json", "--watch", "10ms")
    assert process.stdout is not None
    try:
        for _ in range(3):
            assert CODE in json.loads(process.stdout.readline())["unreadable"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, errors.count("cannot be read")) == (0, 1)


def test_a_closed_pipe_ends_it_without_a_message(place: Shell) -> None:
    process = place.start("--json", "--watch", "10ms")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    try:
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_prints_a_line_for_each_look_until_a_signal(
    place: Shell, number: int
) -> None:
    process = place.start("--json", "--watch", "10ms")
    assert process.stdout is not None
    try:
        first = json.loads(process.stdout.readline())
        fill()
        while json.loads(process.stdout.readline())["participants"] != 2:
            assert process.poll() is None
        process.send_signal(number)
        rest, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert first["participants"] == 0
    assert (process.returncode, errors) == (0, "")
    assert all(json.loads(line) for line in rest.splitlines())


def test_a_watch_survives_an_outage(tmp_path: Path) -> None:
    valkey = Valkey()
    try:
        valkey.start()
        process = Shell(tmp_path, on_redis(valkey.port)).start("--json", "--watch=10ms")
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert json.loads(process.stdout.readline())
            valkey.kill()
            assert process.stderr.readline().endswith("Trying again.\n")
            valkey.start()
            # What came before the outage first.
            pid = {json.loads(process.stdout.readline())["process"]["pid"]}
            for _ in range(20):
                pid.add(json.loads(process.stdout.readline())["process"]["pid"])
            assert pid == {process.pid}
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 0
    finally:
        valkey.stop()


def test_the_text_of_an_empty_site() -> None:
    head, *lines = printed()
    assert head.startswith("default (LocMemBackend), this process alone, ")
    assert lines == [
        "sessions      0",
        "participants  0, 0 of them online with 0 connections",
        "state         0 B",
        "last sweep    none yet",
        *lines[4:],
    ]
    assert [line.split()[0] for line in lines[4:]] == [
        "actions",
        "refused",
        "errors",
        "delivery",
        "workers",
    ]


def test_the_text_names_processes_that_fell_silent_with_open_tabs() -> None:
    stats = stores.stats()
    silent = Worker("web-1", 9, 3, stats.at - 900, "1.0", 0.25, None, stats.at - 61)
    assert "lost" not in dict(overview(stats))
    lines = dict(overview(msgspec.structs.replace(stats, lost=(silent,))))
    assert lines["lost"] == "web-1 pid 9 (3 tabs, 25% of a core), silent for 1 min"


def test_the_text_has_actions_refusals_errors_and_processes() -> None:
    board = stores.get(Board, CODE, "alice")
    board.dispatch(Board.note, "x")
    for _ in range(2):
        with pytest.raises(ActionRejected):
            board.dispatch(Board.move, "no such card", pile="keep")
    with pytest.raises(ZeroDivisionError):
        board.dispatch(lambda board: 1 / 0)
    text = "\n".join(printed())
    # The rate is that of a process as old as the run of the tests.
    actions = r"^actions +4 in .*, [\d.]+ a minute now; p50 \S+ ms, p95 "
    assert re.search(actions, text, re.MULTILINE)
    assert re.search(r"^refused +2: no_such_card 2$", text, re.MULTILINE)
    assert re.search(
        r"^errors +1; latest: ZeroDivisionError in board\.<lambda> "
        r"\(tests/management/commands/test_storestats\.py:\d+\) 1$",
        text,
        re.MULTILINE,
    )
    assert re.search(
        r"^delivery +0 conflicts, \d+ slow, 0 reconnects, 0 mess", text, re.M
    )
    assert f"pid {os.getpid()} (0 tabs" in text


def test_the_text_lists_sessions_the_largest_first_and_warnings_last() -> None:
    fill()
    stores.sweep()
    with override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_200}):
        lines = printed("--sessions", "1")
    head = lines.index(next(line for line in lines if line.startswith("SESSION")))
    assert lines[head + 1].split()[0] == CODE
    assert lines[head + 2] == "… and 1 smaller ones"
    rest = lines[head + 3 :]
    assert [line.partition(":")[0] for line in rest if line] == [
        "near_limit",
        "Beyond it, changes are refused (StateTooLarge). Store less, or raise it.",
    ]
    assert "Team day" in "\n".join(printed())


def test_figures_are_read_only() -> None:
    fill()
    before = run(get_backend(blocking=True).summaries())
    printed()
    printed("--json")
    assert run(get_backend(blocking=True).summaries()) == before


def as_of(**values: Any) -> Stats:
    fill()
    run(sample(get_backend(blocking=True)))
    plain = stores.stats()
    values = {"at": NOW, **values}
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    return Stats(**{**fields, **values})


def test_figures_of_a_server_are_those_that_it_reports() -> None:
    shown = dict(overview(as_of(server=server(evicted=7))))
    assert shown["server"] == (
        "Valkey 9.1.2, 10 MB used, limit 100 MB, 7 evicted, noeviction"
    )
    silent = ServerInfo("memcached 1.6.18", None, None, None, None)
    assert dict(overview(as_of(server=silent)))["server"] == (
        "memcached 1.6.18, no limit"
    )


def test_the_last_sweep_and_the_next_are_shown() -> None:
    stores.sweep()
    stats = as_of()
    last = stats.last_sweep
    assert last is not None
    later = as_of(at=last.at + 40)
    assert last_sweep(later).startswith("40 s ago (stores.sweep, ")
    assert "0 participants and 0 sessions removed" in last_sweep(later)


def test_the_hour_is_drawn_with_gaps_where_nothing_was_seen() -> None:
    points = [(each.at, each.bytes) for each in samples(0, 50, 100, minutes=30)]
    drawn = chart(points, NOW - 3_600, NOW)
    assert len(drawn) == WIDTH
    assert drawn.strip()[0] == BLOCKS[0]
    assert drawn[-1] == BLOCKS[-1]
    assert drawn.count(" ") == WIDTH - 3
    assert chart([(NOW, 0)], NOW - 3_600, NOW).strip() == BLOCKS[0]
    hour = as_of(series=tuple(samples(1, 2, 3)))
    assert {"online, 1 h", "state, 1 h"} <= set(dict(overview(hour)))


def test_what_would_steer_a_terminal_is_not_printed() -> None:
    evil = summary(label="\x1b[2J\x9b31m\r\nTeam", largest=("*", 7), locked=True)
    head, line = table([evil], NOW)
    assert line.isprintable()
    assert "?[2J?31m??Team" in line
    assert "K7Q2ZD (locked)" in line
    assert "the session's own" in line
    assert printable("x" * 100) == "x" * (WIDTH - 1) + "…"
    assert head.index("IDLE") + len("IDLE") == len(head)


# A watch closes old connections, which may be there from tests before.
@pytest.mark.django_db
def test_a_terminal_is_cleared_between_two_looks() -> None:
    class Terminal(StringIO):
        looks = 0

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.looks += text.startswith("\x1b[H\x1b[2J")
            if self.looks == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().write(text)

    out = Terminal()
    call_command("storestats", watch=0.001, stdout=out, stderr=StringIO())
    assert out.getvalue().count("participants") == 3


def test_a_leak_is_shown_with_what_to_do() -> None:
    alert = Alert("slow", "It is slow.", "Make it fast.", "")
    recent_alerts(get_backend(blocking=True)).add(alert)
    assert printed()[-2:] == ["slow: It is slow.", "Make it fast."]
