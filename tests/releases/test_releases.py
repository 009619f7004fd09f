"""The release before this one, beside it: same surface, same records, same frames."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sessionstores.participants.participant import Participant
from sessionstores.testing import tab as page_tab
from tests.faults.history import Operation
from tests.faults.sites import on_redis
from tests.faults.tabs import LiveTab, agree, eventually
from tests.faults.workers import PUBSUB, ROOT, Worker
from tests.integration.tab import Pending
from tests.servers import Memcached, Server, Valkey, missing

HERE = Path(__file__).parent
(RELEASE,) = HERE.glob("sessionstores-*.tar.xz")
SURFACE = HERE / "surface.json"
# Neither beats nor leases run out while a test runs: what arrives is what was sent.
HEARTBEAT = "20"
TIMES = 40


class Program:
    """A process of one release that does what it is asked; see `program`."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.releases.program"],
            env=environment,
            # Python looks here first.
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, do: str, cache: str = "default", **arguments: Any) -> None:
        """Ask for something, to be heard later."""
        assert self.process.stdin is not None
        self.process.stdin.write(
            json.dumps({"do": do, "cache": cache, **arguments}) + "\n"
        )
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the answer to the oldest question."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, cache: str = "default", **arguments: Any) -> Any:
        """Return the result of something; fail on an error."""
        self.start(do, cache, **arguments)
        return self.hear()["result"]

    def error(self, do: str, cache: str = "default", **arguments: Any) -> str:
        """Return the code of the error that something ends with."""
        self.start(do, cache, **arguments)
        code: str = self.hear()["error"]
        return code

    def stop(self) -> None:
        """Let it end."""
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


class SiteWorker(Worker):
    """A server process of one release."""

    def start(self, **options: Any) -> None:
        """See `Server.start`."""
        Server.start(self, env=self.environment, **options)


class Release(NamedTuple):
    """What runs of one release: a server, and a program."""

    folder: Path
    worker: SiteWorker
    program: Program


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package of the old release."""
    folder = tmp_path_factory.mktemp("release")
    with tarfile.open(RELEASE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Valkey, Memcached | None]]:
    """The servers that both releases share; no memcached where there is none.

    The tests that need one then say so; see `cache`.
    """
    valkey = Valkey()
    memcached = None if missing(Memcached) else Memcached()
    with ExitStack() as stack:
        for server in (valkey, memcached):
            if server is not None:
                stack.callback(server.stop)
                server.start()
        yield valkey, memcached


@pytest.fixture(scope="module")
def releases(
    unpacked: Path,
    servers: tuple[Valkey, Memcached | None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Release, Release]]:
    """Both releases, the old one first, on the same caches."""
    valkey, memcached = servers
    shared = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.releases.settings",
        "SITE_REDIS": valkey.url,
        "SITE_LAYER": PUBSUB,
        "SITE_HEARTBEAT": HEARTBEAT,
        "SITE_MEMCACHED": f"127.0.0.1:{memcached.port if memcached else 0}",
        "SITE_DATABASE": str(tmp_path_factory.mktemp("database") / "site.sqlite3"),
    }
    both = []
    for folder in (unpacked, ROOT):
        environment = {**shared, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        program, worker = Program(folder, environment), SiteWorker(environment)
        both.append(Release(folder, worker, program))
    old, new = both
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(SiteWorker.start, (old.worker, new.worker)))
        new.program.ask("create_table")
        yield old, new
    finally:
        for release in both:
            release.worker.stop()
            release.program.stop()


@pytest.fixture(params=["default", "memcached", "database"])
def cache(request: pytest.FixtureRequest) -> str:
    """The alias of a cache that several processes share."""
    alias: str = request.param
    if alias == "memcached":
        request.getfixturevalue(alias)
    return alias


# The surface


def surface_of(folder: Path) -> Any:
    """Return the surface of the package in a folder, found by another process."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.releases.surface"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        },
        capture_output=True,
        # Python looks here first.
        cwd=folder,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield what of one surface is missing or different in another; more is no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(before, list) and isinstance(after, list):
        for each in before:
            if all(any(lost(each, other)) for other in after):
                yield f"{path}/{each}"
    elif before != after:
        yield f"{path}: {before} became {after}"


def test_surface_of_the_release_is_still_there() -> None:
    before, after = json.loads(SURFACE.read_text()), surface_of(ROOT)
    assert list(lost(before, after)) == []
    # A tab of the old release does not send what is new.
    for kind, fields in before["wire"]["inbound"].items():
        new = after["wire"]["inbound"][kind].items() - fields.items()
        assert [name for name, required in new if required] == [], kind


def test_recorded_surface_is_that_of_the_release(unpacked: Path) -> None:
    assert json.loads(SURFACE.read_text()) == surface_of(unpacked)


def test_a_lost_part_of_the_surface_is_found() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": "e"}
    assert list(lost(before, {**before, "new": 1})) == []
    after = {"a": {"b": 2, "c": [2, 3]}}
    assert list(lost(before, after)) == ["/a/b: 1 became 2", "/a/c/1", "/d"]
    assert list(lost([{"a": 1}], [{"a": 1, "new": 2}])) == []
    assert list(lost([{"a": 1}], [{"a": 2}, {"new": 1}])) == ["/{'a': 1}"]


# Records


def test_each_process_runs_its_release(releases: tuple[Release, Release]) -> None:
    old, new = releases
    for release in releases:
        assert Path(release.program.ask("where")).parent.parent == release.folder
    assert old.folder != new.folder
    assert (old.folder / "sessionstores" / "hub.py").exists()
    assert not (new.folder / "sessionstores" / "hub.py").exists()


@pytest.mark.parametrize("oldest_first", [True, False], ids=["old-new", "new-old"])
def test_records_of_one_release_are_read_and_changed_by_the_other(
    releases: tuple[Release, Release], cache: str, oldest_first: bool
) -> None:
    one, other = (each.program for each in (releases[:: 1 if oldest_first else -1]))
    code = one.ask("create", cache, label="Team day", keep=3_600)
    who = {"code": code, "participant": "alice"}
    one.ask("write", cache, **who, line="one")
    assert other.ask("look", cache, **who) == one.ask("look", cache, **who)
    other.ask("write", cache, **who, line="other")
    one.ask("write", cache, **who, line="one again")
    rev, lines = other.ask("look", cache, **who)
    assert [rev, lines] == one.ask("look", cache, **who)
    assert lines == ["one", "other", "one again"]

    seen = other.ask("overview", cache, code=code)
    assert seen == one.ask("overview", cache, code=code)
    assert (seen[0], seen[1], seen[3]) == ("Team day", 1, True)

    link = one.ask("link", cache, **who)
    if not oldest_first:
        # The release before looks for the claims under another name.
        link = link.replace("?ss_participant=", "?participant=")
    assert other.ask("visitor", cache, url=link, code=code) == "alice"
    one.ask("lock", cache, code=code)
    stranger = {"code": code, "participant": "stranger", "line": ""}
    assert other.error("write", cache, **stranger) == "session_locked"
    other.ask("end", cache, code=code)
    assert one.error("write", cache, **who, line="") == "session_ended"
    assert one.ask("visitor", cache, url=link, code=code) is None


def test_both_releases_write_to_one_record_at_once(
    releases: tuple[Release, Release], cache: str
) -> None:
    old, new = (each.program for each in releases)
    code = old.ask("create", cache, label="", keep=0)
    who = {"code": code, "participant": "alice"}
    old.start("write_many", cache, **who, by="old", times=TIMES)
    new.start("write_many", cache, **who, by="new", times=TIMES)
    assert "result" in old.hear()
    assert "result" in new.hear()
    rev, lines = old.ask("look", cache, **who)
    assert [rev, lines] == new.ask("look", cache, **who)
    for by in ("old", "new"):
        own = [line for line in lines if line.startswith(by)]
        assert own == [f"{by} {number}" for number in range(TIMES)]
    assert len(lines) == 2 * TIMES


def test_each_release_sweeps_what_the_other_left_idle(
    releases: tuple[Release, Release], cache: str
) -> None:
    old, new = (each.program for each in releases)
    for one, other in ((old, new), (new, old)):
        code = one.ask("create", cache, label="", keep=0)
        for participant in ("alice", "bob"):
            one.ask("write", cache, code=code, participant=participant, line="a")
        assert other.ask("sweep", cache, code=code) == 2
        assert one.ask("look", cache, code=code, participant="alice") is None
        assert one.ask("sweep", cache, code=code) == 0


@pytest.mark.parametrize("founder", ["old", "new"])
def test_who_wrote_with_either_release_is_kept_by_the_sweeps_of_this_one(
    releases: tuple[Release, Release], cache: str, founder: str
) -> None:
    old, new = (each.program for each in releases)
    code = (old if founder == "old" else new).ask("create", cache, label="", keep=600)
    for release, who in ((old, "alice"), (new, "bob"), (old, "carol")):
        release.ask("visit", cache, code=code, participant=who)
    old.ask("write", cache, code=code, participant="alice", line="a")
    old.ask("write", cache, code=code, participant="bob", line="b")
    for release in (new, old):
        release.ask("write", cache, code=code, participant="alice", line="a")
    assert new.ask("sweep", cache, code=code) == 1
    for who, lines in (("alice", ["a", "a", "a"]), ("bob", ["b"])):
        _, found = old.ask("look", cache, code=code, participant=who)
        assert found == lines
    assert new.ask("look", cache, code=code, participant="carol") is None
    assert new.ask("sweep", cache, code=code) == 0


def test_the_release_before_is_not_in_the_way_of_a_kick(
    releases: tuple[Release, Release], cache: str
) -> None:
    old, new = (each.program for each in releases)
    code = old.ask("create", cache, label="", keep=3_600)
    alice, bob = ({"code": code, "participant": id} for id in ("alice", "bob"))
    for who in (alice, bob):
        old.ask("write", cache, **who, line="a")
    link = new.ask("link", cache, **alice)
    assert new.ask("kick", cache, **alice) is True
    assert new.error("write", cache, **alice, line="b") == "kicked"
    assert new.ask("visitor", cache, url=link, code=code) is None
    # It reads and writes what it knows as before.
    assert old.ask("look", cache, **alice) is None
    old.ask("write", cache, **bob, line="b")
    assert new.ask("look", cache, **bob)[1] == ["a", "b"]
    assert old.ask("overview", cache, code=code) == new.ask(
        "overview", cache, code=code
    )
    # What it cannot know: it lets her in. This one does not, and removes her again.
    assert old.ask("visitor", cache, url=link.replace("ss_", ""), code=code) == "alice"
    old.ask("write", cache, **alice, line="old")
    assert new.ask("visitor", cache, url=link, code=code) is None
    assert new.ask("kick", cache, **alice) is True
    assert old.ask("look", cache, **alice) is None
    assert new.error("visit", cache, **alice) == "kicked"
    assert new.ask("readmit", cache, **alice) is True
    new.ask("write", cache, **alice, line="again")
    assert old.ask("look", cache, **alice)[1] == ["again"]
    old.ask("end", cache, code=code)
    assert new.error("visit", cache, **alice) == "session_ended"


def test_names_and_roles_outlast_what_the_release_before_does_to_their_records(
    releases: tuple[Release, Release], cache: str
) -> None:
    old, new = (each.program for each in releases)
    code = old.ask("create", cache, label="Team day", keep=600)
    # Records of either release, by who has written to them.
    for release, who in ((old, "alice"), (new, "bob"), (old, "carol")):
        release.ask("visit", cache, code=code, participant=who)
    new.ask("write", cache, code=code, participant="alice", line="new")
    expected = {}
    for who in ("alice", "bob", "carol"):
        given = {"name": f"{who} Łovelace 👩🏽‍💻", "role": "facilitator"}
        assert new.ask("introduce", cache, code=code, participant=who, **given)
        expected[who] = [given["name"], given["role"]]
    assert new.ask("people", cache, code=code) == expected
    for _ in range(2):
        for release in (old, new):
            for who in ("alice", "bob"):
                release.ask("write", cache, code=code, participant=who, line="a")
            release.ask("visit", cache, code=code, participant="carol")
            release.ask("extend", cache, code=code, seconds=3_600)
            assert new.ask("people", cache, code=code) == expected
    old.ask("lock", cache, code=code)
    assert old.ask("overview", cache, code=code)[:2] == ["Team day", 3]
    assert new.ask("sweep", cache, code=code) == 0
    assert new.ask("people", cache, code=code) == expected
    # With the record, they go.
    assert old.ask("cleanup", cache, code=code, participant="alice")
    del expected["alice"]
    assert new.ask("people", cache, code=code) == expected


# Tabs


class PinnedTab(LiveTab):
    """A tab that is connected once, to one worker, with the other release's token."""

    def __init__(self, participant: Participant, worker: Worker, token: str) -> None:
        super().__init__(participant, [worker])
        self.token = token
        self.messages: list[str] = []
        # What it was told of itself, and of everybody.
        self.own: list[str] = []
        self.people: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """See `LiveTab.read`."""
        frame = super().read()
        if frame["type"] == "message":
            self.messages.append(frame["data"]["words"])
        elif frame["type"] == "self":
            self.own.append(f"{frame['name']} {frame['role']}")
        elif frame["type"] == "presence":
            self.people |= frame.get("people", {})
        return frame

    async def run(self) -> None:
        """Connect, and note with which code the server closes."""
        self.closes.append(await self._serve())


@asynccontextmanager
async def connected(*tabs: PinnedTab) -> AsyncIterator[None]:
    """Keep tabs connected until the block ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(tab.run()) for tab in tabs]
        await eventually(lambda: all(tab.caught_up for tab in tabs), "all tabs")
        yield
        for task in tasks:
            task.cancel()


@pytest.fixture
def on_valkey(servers: tuple[Valkey, Memcached | None], settings: Any) -> None:
    """Let this process look at the records of both releases."""
    settings.CACHES = on_redis(servers[0].port)["CACHES"]


def tabs_at_both(
    releases: tuple[Release, Release], code: str, *participants: str
) -> list[PinnedTab]:
    """Make a tab of each participant at each release."""
    return [
        PinnedTab(
            Participant(code, id),
            at.worker,
            of.program.ask("token", code=code, participant=id),
        )
        for at, of in (releases, releases[::-1])
        for id in participants
    ]


@pytest.mark.usefixtures("on_valkey")
async def test_tabs_at_both_releases_see_the_same(
    releases: tuple[Release, Release],
) -> None:
    code = releases[0].program.ask("create", label="", keep=0)
    tabs = tabs_at_both(releases, code, "alice", "bob")
    everybody = {"alice": 2, "bob": 2}

    def present(tab: PinnedTab) -> dict[str, int]:
        return {id: len(shown) for id, shown in tab.present.items()}

    async with connected(*tabs):
        for tab in tabs:
            await eventually(lambda tab=tab: present(tab) == everybody, "presence")
        for number, tab in enumerate(tabs):
            tab.add("me", f"me {number}")
            tab.add("session", f"session {number}")
            await agree(tabs)
        for release in releases:
            line = {"participant": "alice", "line": str(release.folder)}
            await asyncio.to_thread(release.program.ask, "write", code=code, **line)
            final = await agree(tabs)
        assert len(final[tabs[0].keys["me"]]) == 4
        assert len(final[tabs[1].keys["me"]]) == 2
        assert len(final[tabs[0].keys["session"]]) == 4
        # All of it arrived as patches; none was missed and asked for.
        assert [tab.snapshots for tab in tabs] == [0] * 4
        for tab in tabs:
            for number in range(TIMES):
                tab.add("session", f"{id(tab)} {number}")
        final = await agree(tabs)
        lines = final[tabs[0].keys["session"]]
        assert len(lines) == len(set(lines)) == 4 + 4 * TIMES
        assert [tab.refused for tab in tabs] == [[]] * 4


@pytest.mark.usefixtures("on_valkey")
async def test_tabs_at_both_releases_learn_what_either_does(
    releases: tuple[Release, Release],
) -> None:
    code = releases[0].program.ask("create", label="", keep=0)
    # By participant: who does what to them, and how their tabs are closed.
    deeds = {
        f"{do}-{number}": (release.program, do, close)
        for number, release in enumerate(releases)
        for do, close in (("cleanup", 4004), ("disconnect", 4006), ("revoke", 4100))
    }
    tabs = tabs_at_both(releases, code, "alice", *deeds)
    async with connected(*tabs):
        for tab in tabs:
            await eventually(
                lambda tab=tab: tab.present.keys() == {"alice", *deeds}, "everybody"
            )
        for release in releases:
            words = str(release.folder)
            await asyncio.to_thread(release.program.ask, "send", code=code, words=words)
        for tab in tabs:
            await eventually(lambda tab=tab: len(tab.messages) == 2, "the messages")
            assert set(tab.messages) == {str(release.folder) for release in releases}
        for id, (program, do, close) in deeds.items():
            closed = [tab for tab in tabs if tab.participant.id == id]
            assert await asyncio.to_thread(program.ask, do, code=code, participant=id)
            await eventually(lambda closed=closed: all(t.closes for t in closed), id)
            assert [tab.closes for tab in closed] == [[close], [close]]
        rest = [tab for tab in tabs if tab.participant.id == "alice"]
        for tab in rest:
            await eventually(lambda tab=tab: [*tab.present] == ["alice"], "the leaves")
            assert sorted(tab.left) == sorted(deeds)
        await asyncio.to_thread(releases[0].program.ask, "end", code=code)
        await eventually(lambda: all(tab.closes for tab in rest), "the end")
        assert [tab.closes for tab in rest] == [[4004], [4004]]


@pytest.mark.usefixtures("on_valkey")
async def test_tabs_at_both_releases_close_when_their_participant_is_kicked(
    releases: tuple[Release, Release],
) -> None:
    code = releases[0].program.ask("create", label="", keep=0)
    tabs = tabs_at_both(releases, code, "alice", "bob")
    async with connected(*tabs):
        kicked = [tab for tab in tabs if tab.participant.id == "alice"]
        others = [tab for tab in tabs if tab.participant.id == "bob"]
        for tab in tabs:
            await eventually(
                lambda tab=tab: tab.present.keys() == {"alice", "bob"}, "everybody"
            )
        who = {"code": code, "participant": "alice"}
        assert await asyncio.to_thread(releases[1].program.ask, "kick", **who)
        await eventually(lambda: all(tab.closes for tab in kicked), "the end")
        # The release before knows no other code for who was removed.
        assert [tab.closes for tab in kicked] == [[4004], [4007]]
        for tab in others:
            await eventually(lambda tab=tab: [*tab.present] == ["bob"], "the leave")
            assert tab.left == ["alice"]
            assert not tab.closes


@pytest.mark.usefixtures("on_valkey")
async def test_names_reach_the_tabs_of_this_release_from_another_process(
    releases: tuple[Release, Release],
) -> None:
    code = releases[0].program.ask("create", label="", keep=0)
    tabs = tabs_at_both(releases, code, "alice", "bob")
    async with connected(*tabs):
        for tab in tabs:
            await eventually(lambda tab=tab: len(tab.present) == 2, "presence")
        given = {"name": "Ada", "role": "facilitator"}
        # No beat comes: hints alone have to bring it.
        await asyncio.to_thread(
            releases[1].program.ask,
            "introduce",
            code=code,
            participant="alice",
            **given,
        )
        for tab in tabs:
            if tab.worker is releases[1].worker:
                await eventually(
                    lambda tab=tab: tab.people.get("alice") == given, "the name"
                )
        for tab in tabs:
            is_hers = tab.participant.id == "alice"
            is_new = tab.worker is releases[1].worker
            assert tab.own[-1:] == ["Ada facilitator"] * (is_hers and is_new)
            tab.add("session", f"session {id(tab)}")
        # Those of the release before go on as ever.
        final = await agree(tabs)
        assert len(final[tabs[0].keys["session"]]) == 4
        assert [tab.closes for tab in tabs] == [[]] * 4


@pytest.mark.usefixtures("on_valkey")
async def test_an_action_is_run_once_though_sent_to_both_releases(
    releases: tuple[Release, Release],
) -> None:
    code = releases[0].program.ask("create", label="", keep=0)
    for number, tab in enumerate(tabs_at_both(releases, code, "alice")):
        line = f"once {number}"
        async with connected(tab):
            tab.add("me", line)
            (sent,) = tab.pending.values()
            await eventually(lambda tab=tab: not tab.pending, "the answer")
        # As if the answer had been lost with the connection.
        del tab.answers[sent.id]
        tab.pending[sent.id] = Pending(sent.id, sent.frame, sent.client)
        tab.sent[sent.id] = Operation(tab.keys["me"], line)
        tab.workers = [
            each.worker for each in releases if each.worker is not tab.worker
        ]
        async with connected(tab):
            await eventually(lambda tab=tab: not tab.pending, "the second answer")
            final = await agree([tab])
        assert tab.answers[sent.id]["type"] == "ack"
        assert "result" not in tab.answers[sent.id]
        assert final[tab.keys["me"]].count(line) == 1


@pytest.mark.usefixtures("on_valkey")
async def test_what_the_release_before_does_is_shown_to_whoever_watches(
    releases: tuple[Release, Release],
) -> None:
    old, _ = releases
    code = old.program.ask("create", label="", keep=0)
    ada = Participant(code, "ada", "facilitator")
    bob = {"code": code, "participant": "bob"}

    def shown() -> list[str]:
        lines: list[str] = desk.watched("bob", "log")["lines"]
        return lines

    # No beat comes: hints alone have to bring it.
    at_old, at_new = (f"http://{each.worker.address}" for each in releases)
    async with page_tab(ada, url=at_new) as desk:
        await desk.watch()
        for number in range(2):
            line = f"old {number}"
            await asyncio.to_thread(old.program.ask, "write", **bob, line=line)
            await desk.wait_until(lambda: desk.rev("p:bob"), "bob")
            await desk.wait_until(lambda number=number: len(shown()) == number + 1)
        assert shown() == ["old 0", "old 1"]
        async with page_tab(Participant(code, "bob"), url=at_old) as page:
            await page.dispatch("log", "write", {"line": "at the old one"})
            await desk.wait_until(lambda: desk.rev("p:bob") == page.rev())
        await asyncio.to_thread(old.program.ask, "cleanup", **bob)
        await desk.wait_until(lambda: desk.gone.get("bob") == "cleanup", "the removal")
    # It does not know the frame, and says so.
    async with page_tab(ada, url=at_old) as desk:
        desk._say({"type": "watch", "participant": "bob"})
        unknown = {"type": "error", "code": "unknown_type"}.items()
        await desk.wait_until(
            lambda: any(unknown <= frame.items() for frame in desk.frames)
        )
        await desk.dispatch("log", "write", {"line": "goes on"})
