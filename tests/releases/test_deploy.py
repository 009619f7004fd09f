"""A release of a site beside the one before it: nothing is lost that either knows."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sessionstores.keys import generate_code
from sessionstores.participants.participant import Participant
from tests.faults.sites import on_redis
from tests.faults.tabs import eventually
from tests.faults.workers import PUBSUB, ROOT
from tests.integration.tab import Tab
from tests.releases.test_releases import (
    HEARTBEAT,
    RELEASE,
    PinnedTab,
    Program,
    SiteWorker,
)
from tests.servers import Valkey

ROUNDS = 40
IDS = ["ada", "bob", "cleo", "7"]


class Site(NamedTuple):
    """What runs of one release of the site: a server, and a program."""

    worker: SiteWorker
    program: Program


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """The server that both releases share."""
    server = Valkey()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def environments(
    valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    """The environments of both releases of the site, the older first."""
    return [
        {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.releases.deploy",
            "SITE_STATES": states,
            "SITE_REDIS": valkey.url,
            "SITE_LAYER": PUBSUB,
            "SITE_HEARTBEAT": HEARTBEAT,
            "SITE_MEMCACHED": "127.0.0.1:0",
            "SITE_DATABASE": str(tmp_path_factory.mktemp("database") / "site.sqlite3"),
            "PYTHONPATH": str(ROOT),
        }
        for states in ("before", "after")
    ]


@pytest.fixture(scope="module")
def sites(environments: list[dict[str, str]]) -> Iterator[tuple[Site, Site]]:
    """Both releases of the site, on one Valkey."""
    before, after = (
        Site(SiteWorker(environment), Program(ROOT, environment))
        for environment in environments
    )
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(SiteWorker.start, (before.worker, after.worker)))
        yield before, after
    finally:
        for site in (before, after):
            site.worker.stop()
            site.program.stop()


@pytest.fixture
def scores(environments: list[dict[str, str]]) -> Iterator[tuple[Program, Program]]:
    """Both releases, where a state is also of another type and version."""
    before, after = (
        Program(ROOT, {**environment, "SITE_SCORES": "1"})
        for environment in environments
    )
    yield before, after
    for program in (before, after):
        program.stop()


@pytest.fixture
def on_valkey(valkey: Valkey, settings: Any) -> None:
    """Let this process issue tokens that both releases take."""
    settings.CACHES = on_redis(valkey.port)["CACHES"]


class SiteTab(PinnedTab):
    """A tab of a site whose states have other fields than lines."""

    def __init__(self, participant: Participant, site: Site) -> None:
        super().__init__(participant, site.worker, participant.token())

    def _look(self, doc: str, *, whole: bool = True) -> None:
        pass

    def _answer(self, frame: dict[str, Any]) -> None:
        Tab._answer(self, frame)


@asynccontextmanager
async def connected(*tabs: SiteTab) -> AsyncIterator[None]:
    """Keep tabs connected until the block ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(tab.run()) for tab in tabs]
        await eventually(lambda: all(tab.caught_up for tab in tabs), "all tabs")
        yield
        for task in tasks:
            task.cancel()


class Model:
    """What both releases have done, and what therefore each must see."""

    def __init__(self) -> None:
        self.step = 1
        self.title = self.heading = self.text = ""
        self.gone: list[str] = []
        self.tags: set[str] = set()
        self.players: dict[str, dict[str, Any]] = {}

    def deed(self, rng: random.Random, number: int) -> tuple[int, str, dict[str, Any]]:
        """Draw which release does what, and note its effect."""
        who, action = rng.choice(
            [
                *[(0, name) for name in ("advance", "call", "drop", "enter")],
                *[(1, name) for name in ("advance", "head", "write", "tag", "rate")],
                *[(0, "arrange"), (1, "arrange"), (1, "enter")],
            ]
        )
        id, name = rng.choice(IDS), f"{action} {number}"
        player = {"score": 0.0, "name": ""}
        match action:
            case "advance":
                self.step += 1
                return who, action, {}
            case "arrange":
                turned = who == 0
                self.players = dict(sorted(self.players.items(), reverse=turned))
                return who, action, {}
            case "enter":
                self.players.setdefault(id, player)["name"] = name
                return who, action, {"id": id, "name": name}
            case "rate":
                self.players.setdefault(id, player)["score"] = number / 2
                return who, action, {"id": id, "score": number / 2}
            case "drop":
                self.gone.append(name)
                return who, action, {"line": name}
            case "tag":
                self.tags.add(name)
            case "call":
                self.title = name
            case "head":
                self.heading = name
            case "write":
                self.text = name
                return who, action, {"text": name}
        return who, action, {"name": name}

    def before(self) -> dict[str, Any]:
        """Return the state as the older release decodes it."""
        names = {id: {"name": player["name"]} for id, player in self.players.items()}
        return {
            "gone": self.gone,
            "players": names,
            "step": self.step,
            "title": self.title,
        }

    def after(self) -> dict[str, Any]:
        """Return the state as the newer release decodes it."""
        return {
            "heading": self.heading,
            "players": self.players,
            "step": self.step,
            "tags": self.tags,
            "text": self.text,
        }


def order(state: dict[str, Any]) -> list[str]:
    """Return the players in their order."""
    return [id for id in state["players"] if not id.isdigit()]


@pytest.mark.usefixtures("on_valkey")
@pytest.mark.parametrize("seed", [1, 2])
async def test_fields_added_removed_and_renamed_at_one_version_are_lost_by_nobody(
    sites: tuple[Site, Site], seed: int
) -> None:
    rng, model, code = random.Random(seed), Model(), generate_code()
    who = {"code": code, "participant": "alice"}
    alice = Participant(code, "alice")
    tabs = [SiteTab(alice, site) for site in sites]

    async def ask(site: Site, do: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(site.program.ask, do, **arguments, **who)

    async with connected(*tabs):
        for number in range(ROUNDS):
            release, action, arguments = model.deed(rng, number)
            site, tab = sites[release], tabs[release]
            if rng.random() < 0.5:
                given = {"state": "sheet", "action": action, "arguments": arguments}
                await ask(site, "act", **given)
            else:
                tab.act("sheet", action, arguments)
                await eventually(lambda tab=tab: not tab.pending, action)
            if rng.random() < 0.3:
                # Shown by a page, and to a tab that comes anew.
                await ask(rng.choice(sites), "page")
            if rng.random() < 0.1:
                async with connected(SiteTab(alice, rng.choice(sites))):
                    pass

        seen = await ask(sites[0], "look_at", state="sheet")
        assert seen == model.before()
        assert order(seen) == order(model.before())
        seen = await ask(sites[1], "look_at", state="sheet")
        assert {**seen, "tags": set(seen["tags"])} == model.after()
        assert order(seen) == order(model.after())

        # At one rev, every page and every tab shows the same, in the same order.
        for site in sites:
            rev, states = await ask(site, "page")
            shown = json.dumps(states["sheet"])
            for tab in tabs:
                await eventually(
                    lambda tab=tab, rev=rev: tab.revs["me"] == rev, "the last rev"
                )
                assert json.dumps(tab.docs["me"]["sheet"]) == shown
        assert [tab.resets for tab in tabs] == [{"me": 0, "session": 0}] * 2


def test_a_type_changed_with_its_version_is_migrated_once_and_not_undone(
    scores: tuple[Program, Program],
) -> None:
    before, after = scores
    who = {"code": generate_code(), "participant": "bob"}
    earn = {"state": "score", "action": "earn", "arguments": {}, **who}
    before.ask("act", **earn)
    before.ask("act", **earn)
    after.ask("act", **earn)
    assert after.ask("look_at", state="score", **who) == {"points": [1, 1, 1]}
    # The older release leaves it alone, and goes on with what it can read.
    assert before.error("act", **earn) == "state_corrupt"
    assert before.error("page", **who) == "state_corrupt"
    deed = {"state": "sheet", "action": "call", "arguments": {"name": "t"}, **who}
    before.ask("act", **deed)
    after.ask("act", **earn)
    assert after.ask("look_at", state="score", **who) == {"points": [1, 1, 1, 1]}
    assert before.ask("look_at", state="sheet", **who)["title"] == "t"


@pytest.fixture
def archived(
    tmp_path: Path, environments: list[dict[str, str]]
) -> Iterator[tuple[Program, Program]]:
    """A program on the old release of the package, and one on this; one site."""
    with tarfile.open(RELEASE) as archive:
        archive.extractall(tmp_path, filter="data")
    paths = f"{tmp_path}{os.pathsep}{ROOT}", str(ROOT)
    folders = tmp_path, ROOT
    old, new = (
        Program(folder, {**environments[1], "PYTHONPATH": path})
        for folder, path in zip(folders, paths, strict=True)
    )
    yield old, new
    for program in (old, new):
        program.stop()


def test_what_the_old_package_stored_of_a_state_with_a_set_is_read_by_this_one(
    archived: tuple[Program, Program],
) -> None:
    old, new = archived
    assert old.ask("where") != new.ask("where")
    who = {"code": generate_code(), "participant": "dan"}

    def act(program: Program, action: str, **arguments: Any) -> None:
        program.ask("act", state="sheet", action=action, arguments=arguments, **who)

    act(old, "enter", id="bob", name="Bob")
    act(old, "enter", id="ada", name="Ada")
    for tag in ("b", "a", "c"):
        act(old, "tag", name=tag)
    rev, states = old.ask("page", **who)
    assert new.ask("page", **who) == [rev, states]
    seen = new.ask("look_at", state="sheet", **who)
    assert seen["players"]["bob"] == {"score": 0.0, "name": "Bob"}
    act(new, "tag", name="0")
    act(new, "rate", id="cleo", score=1.5)
    act(old, "rate", id="bob", score=2.5)
    for program in archived:
        seen = program.ask("look_at", state="sheet", **who)
        assert sorted(seen["tags"]) == ["0", "a", "b", "c"]
        assert {id: each["score"] for id, each in seen["players"].items()} == {
            "ada": 0.0,
            "bob": 2.5,
            "cleo": 1.5,
        }


def test_looking_settles_once_however_often_both_releases_look(
    sites: tuple[Site, Site],
) -> None:
    before, after = (site.program for site in sites)
    who = {"code": generate_code(), "participant": "carol"}
    enter = {"state": "sheet", "action": "enter", "arguments": {"id": "a", "name": "A"}}
    before.ask("act", **enter, **who)
    after.ask("look_at", state="sheet", **who)
    rev = after.ask("page", **who)[0]
    for program in (after, before, after):
        program.ask("look_at", state="sheet", **who)
    assert after.ask("page", **who)[0] == rev
