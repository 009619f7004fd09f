"""Errors name what they answer: the real client and a real server blame nobody else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, get_args

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from playwright._impl._driver import compute_driver_executable

from sessionstores import Participant, stores
from sessionstores.backends import get_backend
from sessionstores.realtime.frame_head import FrameHead
from sessionstores.realtime.protocol import BadCode
from tests.realtime.test_frame_head import spoilt
from tests.realtime.test_protocol import is_rev, rev_texts
from tests.serving import serving
from tests.sockets import CODE, PATIENCE, Socket, token
from tests.workshop.states import Board

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "sessionstores/static/sessionstores/client.js"
# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]

Step = tuple[str, str]

# What a tab may do that costs an error, and what that error names.
RAW: dict[str, tuple[str, str | None]] = {
    "{": ("bad_json", None),
    "[]": ("bad_frame", None),
    '{"type":"dance"}': ("unknown_type", "dance"),
    '{"type":"sync","doc":"nothing"}': ("bad_frame", "sync"),
    '{"type":"sync","doc":"me","rev":"7f3a.045-9f3ac21b"}': ("bad_frame", "sync"),
    '{"type":"meta","data":{"name":"\\ud800"}}': ("bad_meta", "meta"),
    '{"type":"meta","data":{"since":1152921504606846976}}': ("bad_meta", "meta"),
    '{"type":"meta","data":{"constructor":1}}': ("bad_meta", "meta"),
    '{"type":"meta","data":[}': ("bad_meta", "meta"),
    '{"type":"token","token":"forged"}': ("invalid_token", "token"),
    '{"type":"watch","participant":"bob"}': ("forbidden", "watch"),
    '{"type":"watch","participant":"**"}': ("bad_frame", "watch"),
    '{"type":"hello","token":"t","client":"c"}': ("bad_frame", "hello"),
    '{"type":"action","id":"first","state":"board"}': ("bad_frame", "action"),
}
BROKEN = {
    "surrogate": "bad_value",
    "huge": "bad_value",
    "deep": "too_deep",
    "large": "too_large",
}

steps = st.lists(
    st.tuples(st.just("dispatch"), st.text("ab", max_size=3))
    | st.tuples(st.just("broken"), st.sampled_from(sorted(BROKEN)))
    | st.tuples(st.just("nameless"), st.just(""))
    | st.tuples(st.just("raw"), st.sampled_from(sorted(RAW)))
    | st.tuples(st.just("meta"), st.sampled_from(["Al", "surrogate", "huge", "deep"])),
    # One after the other twenty bad frames are a reason to close.
    max_size=18,
)


async def run_tab(url: str, steps: list[Step]) -> dict[str, Any]:
    """Run a tab in Node.js that takes these steps; return what it met."""
    participant = Participant(CODE, "alice")
    config = await participant.aconfig()
    told = {"client": CLIENT.as_uri(), "config": {**config, "url": url}, "steps": steps}
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "node_tab.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(3 * PATIENCE):
            output, complaints = await process.communicate(json.dumps(told).encode())
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, complaints.decode()
    met: dict[str, Any] = json.loads(output)
    return met


@given(steps)
@example([step for text in RAW for step in (("raw", text), ("dispatch", "a"))])
@example([("meta", "surrogate"), ("dispatch", "a"), ("meta", "huge"), ("meta", "deep")])
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_each_action_gets_its_own_answer_whatever_else_is_refused(
    steps: list[Step],
) -> None:
    await get_backend(blocking=False).clear()
    async with serving() as url:
        met = await run_tab(url, steps)
    outcomes, named, thrown = [], [], []
    for kind, value in steps:
        if kind == "dispatch":
            outcomes.append("fulfilled")
        elif kind in ("broken", "nameless"):
            outcomes.append(BROKEN.get(value, "bad_frame"))
            # The client does not send what is too large.
            if value != "large":
                named.append((outcomes[-1], len(outcomes)))
        elif kind == "raw":
            named.append(RAW[value])
        elif value in BROKEN:
            thrown.append("RangeError")
    assert met["outcomes"] == outcomes
    assert met["thrown"] == thrown
    told = [(each["code"], each.get("id", each.get("of"))) for each in met["errors"]]
    assert told == named
    assert (met["pending"], met["status"]) == (0, "live")
    snapshot = await stores.get(Board, CODE, "alice").asnapshot()
    assert snapshot.state.notes == "the end"


@given(spoilt())
@settings(max_examples=30)
async def test_every_broken_frame_gets_an_answer_that_names_it(
    case: tuple[str, FrameHead],
) -> None:
    text, head = case
    await get_backend(blocking=False).clear()
    alice = await Socket().hello()
    before, stranger = alice.snapshots["me"]["rev"], Socket()
    await stranger.open()
    for socket in (alice, stranger):
        await socket.say_text(text)
        error = await socket.expect("error")
        named = FrameHead(*(error.get(name) for name in FrameHead._fields))
        assert named == head
        assert error["code"] in get_args(BadCode)
        assert error["message"]
    # It costs nothing else: the one goes on, and the other may still come in.
    await alice.say(type="sync", doc="me", rev=before)
    await alice.expect("snapshot", rev=before)
    await stranger.say(type="hello", token=token("bob"), client="c1")
    await stranger.expect("welcome")
    await alice.drop()
    await stranger.drop()


@given(st.lists(rev_texts, min_size=1, max_size=12))
@example(["7f3a.045-9f3ac21b", "7f3a.00-9f3ac21b", "7f3a.1234567890123456-9f3ac21b"])
@example(["7f3a.0-9f3ac21b", "7f3a.999999999999999-9f3ac21b"])
@settings(max_examples=30)
async def test_a_rev_of_any_form_is_a_position_or_refused_wherever_it_comes(
    revs: list[str],
) -> None:
    await get_backend(blocking=False).clear()
    alice = await Socket().hello()
    for rev in revs:
        await alice.say(type="sync", doc="me", rev=rev)
        if is_rev(rev):
            await alice.expect("snapshot", doc="me", reset=True)
        else:
            await alice.expect("error", code="bad_frame", of="sync")
    await alice.drop()
    for rev in revs[:3]:
        newcomer = Socket()
        await newcomer.open()
        known = {"have": {"me": rev}, "runs": {"me": rev}}
        for runs in (known["runs"], {}):
            frame = {"type": "hello", "token": token("bob"), "client": "c2"}
            await newcomer.say(**frame, have=known["have"], runs=runs)
            if is_rev(rev) and not runs:
                await newcomer.expect("welcome")
            else:
                await newcomer.expect("error", code="bad_frame", of="hello")
        await newcomer.drop()
