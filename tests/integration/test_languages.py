"""Each tab is told things in the language of its page, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from django.test import override_settings
from django.utils import translation
from django.utils.translation import get_language, gettext, gettext_lazy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sessionstores import ActionRejected, Participant, State, action, field, stores
from sessionstores.backends import get_backend
from sessionstores.exceptions import MESSAGES, StoreUnavailable
from sessionstores.keys import StoreKey
from sessionstores.participants.messages import END_MESSAGES
from sessionstores.realtime import protocol
from sessionstores.realtime.dispatcher import _FAILED
from sessionstores.realtime.heartbeat import Heartbeat
from sessionstores.realtime.languages import language_of
from sessionstores.realtime.protocol import Close
from sessionstores.state.declaration import registry
from sessionstores.store.record_queue import LoopQueues, RecordQueue, holding
from tests.serving import serving
from tests.sockets import CODE, until
from tests.workshop.states import Board

SESSION = StoreKey.of_session(CODE)
# In the catalogs of Django or of ours, so that no test needs one of its own.
SAVE = {"en": "Save", "de": "Sichern"}


class Tab:
    """A tab over a WebSocket, whose page was in a language."""

    def __init__(self, socket: ClientConnection, participant: str, role: str) -> None:
        self.socket = socket
        self.token = Participant(CODE, participant, role).token()

    async def hello(self, **more: Any) -> Tab:
        """Say hello, and take the welcome."""
        hello = {"type": "hello", "token": self.token, "client": "c1", **more}
        await self.say(**hello)
        self.client = (await self.expect("welcome"))["client"]
        return self

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def act(self, id: int, name: str, **args: Any) -> None:
        await self.say(type="action", id=id, state="wall", action=name, args=args)

    async def expect(self, kind: str) -> dict[str, Any]:
        """Return the next frame of a type; others are passed over."""
        while True:
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            if frame["type"] == kind:
                return frame

    async def closed(self) -> int | None:
        """Return the code of the close, with which the server goes on."""
        with suppress(ConnectionClosed):
            while True:
                await self.socket.recv()
        return self.socket.close_code


@asynccontextmanager
async def tab(
    url: str, participant: str, *, role: str = "participant", **hello: Any
) -> AsyncIterator[Tab]:
    options: dict[str, Any] = {"compression": None, "proxy": None}
    protocols: Any = [protocol.SUBPROTOCOL]
    async with connect(
        url, origin="http://testserver", subprotocols=protocols, **options
    ) as socket:
        yield await Tab(socket, participant, role).hello(**hello)


@pytest.fixture
def wall() -> Iterator[type[State]]:
    """A session's state on which actions write in the language that is active."""
    with registry.isolated(Board):

        class Wall(State, scope="session"):
            lines: list[str] = field(default_factory=list[str])

            @action
            def write(self) -> str:
                self.lines.append(f"{get_language()}: {gettext('Save')}")
                return gettext("Save")

            @action
            def refuse(self) -> None:
                raise ActionRejected(gettext_lazy("Save"), code="lazy")

            @action
            def refuse_at_once(self) -> None:
                raise ActionRejected(gettext("Save"), code="at_once")

            @action
            def fail(self) -> None:
                raise ValueError("secret")

            @action
            def lack(self) -> None:
                raise StoreUnavailable("No answer from 10.0.0.7.", refused=True)

            @action(role="facilitator")
            def lead(self) -> None:
                self.lines.clear()

        yield Wall


def in_language(language: str, text: Any) -> str:
    with translation.override(language):
        return str(text)


def is_long(queue: RecordQueue, count: int) -> bool:
    return len(queue.waiting or ()) == count


async def test_each_dispatch_of_a_group_runs_and_is_answered_in_its_own_language(
    wall: type[State],
) -> None:
    backend = get_backend(blocking=False)
    async with (
        serving() as url,
        tab(url, "alice", lang="de") as alice,
        tab(url, "bob", lang="en") as bob,
        tab(url, "cleo") as cleo,
    ):
        tabs = {"de": alice, "en": bob, "en-us": cleo}
        before = await stores.get(wall, CODE).asnapshot()
        for id, name in enumerate(["write", "refuse", "refuse_at_once", "fail"], 1):
            # What arrives while the record is held makes one group.
            async with holding(backend, SESSION):
                queue = backend.memory.of(LoopQueues).find(backend, SESSION)
                for count, each in enumerate(tabs.values(), 1):
                    await each.act(id, name)
                    await until(partial(is_long, queue, count), "the group")
            for language, each in tabs.items():
                save = SAVE[language[:2]]
                if name == "write":
                    ack = await each.expect("ack")
                    assert (ack["result"], "ops" in ack) == (save, False), "no group"
                    continue
                told = in_language(language, _FAILED) if name == "fail" else save
                assert (await each.expect("reject"))["message"] == told
    after = await stores.get(wall, CODE).asnapshot()
    assert sorted(after.state.lines) == ["de: Sichern", "en-us: Save", "en: Save"]
    assert counter(after.rev) == counter(before.rev) + 1


def counter(rev: str) -> int:
    return int(str(rev).partition(".")[2].partition("-")[0])


@pytest.mark.parametrize("language", ["en", "de"])
async def test_refusals_of_ours_are_in_the_language_of_the_page(
    wall: type[State], language: str
) -> None:
    async with serving() as url, tab(url, "alice", lang=language) as alice:
        for id, (name, args, code) in enumerate(
            [
                ("lead", {}, "forbidden"),
                ("nothing", {}, "unknown_action"),
                ("write", {"extra": 1}, "invalid_arguments"),
                ("lack", {}, "store_unavailable"),
            ],
            1,
        ):
            await alice.act(id, name, **args)
            reject = await alice.expect("reject")
            assert reject == {
                "type": "reject",
                "id": id,
                "code": code,
                "message": in_language(language, MESSAGES[code]),
            }
        # The commit takes the refusals along; they are told again from memory.
        await alice.act(5, "write")
        await alice.expect("ack")
        resent = {"id": 2, "state": "wall", "action": "write", "client": alice.client}
        await alice.say(type="action", **resent)
        told = in_language(language, MESSAGES["unknown_action"])
        assert (await alice.expect("reject"))["message"] == told
        for text in ("{", '{"type":"dance"}', '{"type":"sync","doc":"nothing"}'):
            await alice.socket.send(text)
            error = await alice.expect("error")
            assert error["message"] == in_language(language, MESSAGES[error["code"]])
            assert "hint" not in error


@pytest.mark.parametrize(
    ("call", "reason", "close"),
    [
        ("aend_session", "ended", Close.ENDED),
        ("adisconnect", "disconnected", Close.DISCONNECTED),
        ("acleanup_session", "cleanup", Close.ENDED),
    ],
)
async def test_who_is_put_out_is_told_why_and_what_to_do_in_their_language(
    call: str, reason: str, close: Close
) -> None:
    async with (
        serving() as url,
        tab(url, "alice", lang="de") as alice,
        tab(url, "bob", lang="en") as bob,
    ):
        await getattr(stores, call)(CODE)
        for language, each in (("de", alice), ("en", bob)):
            end = await each.expect("end")
            told = in_language(language, END_MESSAGES[reason])
            assert (end["reason"], end["message"]) == (reason, told)
            assert await each.closed() == close


async def test_a_revoked_token_is_told_by_the_process_in_the_language_of_the_tab() -> (
    None
):
    async with (
        serving() as url,
        tab(url, "alice", lang="de") as alice,
        tab(url, "bob", lang="en") as bob,
    ):
        await stores.arevoke(CODE)
        for language, each in (("de", alice), ("en", bob)):
            error = await each.expect("error")
            told = in_language(language, MESSAGES["invalid_token"])
            assert (error["code"], error["message"]) == ("invalid_token", told)
            assert await each.closed() == Close.TOKEN


@pytest.mark.parametrize("language", ["en", "de"])
async def test_who_is_not_let_in_is_told_why_in_the_language_of_the_page(
    language: str,
) -> None:
    code = await stores.acreate_session(keep=60)
    await stores.alock(code)
    bob = Participant(CODE, "bob").token()
    await stores.arevoke(CODE)
    tokens = {"session_ended": Participant(code, "eve").token(), "invalid_token": bob}
    await stores.aend_session(code)
    async with serving() as url:
        for expected, token in tokens.items():
            async with connect(
                url, origin="http://testserver", compression=None, proxy=None
            ) as socket:
                hello = {"type": "hello", "token": token, "client": "c"}
                await socket.send(json.dumps({**hello, "lang": language}))
                error = json.loads(await socket.recv())
                told = in_language(language, MESSAGES[expected])
                assert (error["code"], error["message"]) == (expected, told)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=80),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        ),
        max_leaves=4,
    )
    | st.from_regex(r"\A[a-z]{2}([-_][a-z]{2,8}){0,3}\Z")
)
@example("")
@example("xx")
@example("de-AT-1901")
@example("DE")
@example("de" * 4_000)
@example("../../etc/passwd")
@example(None)
@example(["de"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_a_tab_calls_its_language_it_is_let_in(lang: Any) -> None:
    # What other tests have activated.
    translation.deactivate()
    with override_settings(LANGUAGE_CODE="de"):
        async with serving() as url, tab(url, "alice", lang=lang) as alice:
            await alice.act(1, "write")
            told = (await alice.expect("reject"))["message"]
        expected = language_of(lang)
        assert told == in_language(expected, MESSAGES["unknown_state"])
        known = isinstance(lang, str) and len(lang) < 40 and lang[:2].isalpha()
        assert expected == "de" or known


async def test_a_language_that_the_site_does_not_speak_gives_way_to_its_own() -> None:
    translation.deactivate()
    with override_settings(
        LANGUAGES=[("de", "German"), ("en", "English")], LANGUAGE_CODE="de"
    ):
        async with serving() as url, tab(url, "alice", lang="fr") as alice:
            await alice.act(1, "write")
            told = (await alice.expect("reject"))["message"]
    assert told == in_language("de", MESSAGES["unknown_state"])


async def test_a_newer_token_leaves_the_language_as_it_is(wall: type[State]) -> None:
    async with serving() as url, tab(url, "alice", lang="de") as alice:
        await alice.say(type="token", token=Participant(CODE, "alice").token())
        await alice.act(1, "refuse")
        assert (await alice.expect("reject"))["message"] == "Sichern"
        await alice.say(type="token", token="forged")
        error = await alice.expect("error")
        assert error["message"] == in_language("de", MESSAGES["invalid_token"])


async def test_a_page_brings_its_language_and_what_the_client_tells_by_itself() -> None:
    for language, offline in (("de", "Offline."), ("en", "You are offline.")):
        with translation.override(language):
            config = await Participant(CODE, "alice").aconfig()
        assert config["lang"] == language
        assert config["messages"]["offline"].startswith(offline)
        json.dumps(config)


@pytest.mark.parametrize("debug", [True, False])
async def test_hints_reach_tabs_while_debugging_only(
    wall: type[State], debug: bool
) -> None:
    with override_settings(DEBUG=debug):
        async with serving() as url, tab(url, "alice") as alice:
            hints = []
            for id, name in enumerate(["lead", "lack", "fail", "refuse_at_once"], 1):
                await alice.act(id, name)
                frame = await alice.expect("reject")
                hints.append(frame.get("hint"))
            await alice.socket.send("{")
            hints.append((await alice.expect("error")).get("hint"))
            await stores.arevoke(CODE)
            hints.append((await alice.expect("error")).get("hint"))
    if not debug:
        assert hints == [None] * 6
        return
    role, cache, error, refusal, frame, token = hints
    assert "'participant'" in role
    assert "10.0.0.7" in cache
    assert "wall.fail raised ValueError('secret')" in error
    # It would be the message once more.
    assert refusal is None
    assert frame
    assert f"{CODE}:alice were revoked" in token


async def test_what_a_process_does_for_all_tabs_has_the_language_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beats: list[str | None] = []
    pulse = Heartbeat.pulse

    async def noting(self: Heartbeat) -> None:
        beats.append(get_language())
        await pulse(self)

    monkeypatch.setattr(Heartbeat, "pulse", noting)
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.01, "AUTO_SWEEP": False}):
        async with serving() as url, tab(url, "alice", lang="de"):
            await until(lambda: beats, "a heartbeat")
    assert set(beats) == {"en-us"}
