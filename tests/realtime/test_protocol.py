from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores import conf
from sessionstores.backends.types import MAX_META_BYTES
from sessionstores.realtime import (
    consumers,
    frame_head,
    frame_throttle,
    lobby,
    protocol,
)
from sessionstores.realtime.frame_head import FrameHead
from sessionstores.realtime.frame_numbers import MAX_HUGE
from sessionstores.realtime.people_frames import presence_frame, self_frame
from sessionstores.realtime.protocol import BadCode, BadFrame, Close, parse
from sessionstores.realtime.watch_frames import UnwatchFrame, WatchFrame
from sessionstores.state.json_rules import MAX_DEPTH
from sessionstores.state.revisions import Rev

REV = "7f3a.45-9f3ac21b"


def action(args: str = "{}", **more: str) -> str:
    fields = {"id": "18", "state": '"board"', "action": '"move"', "args": args, **more}
    inner = ",".join(f'"{name}":{value}' for name, value in fields.items())
    return f'{{"type":"action",{inner}}}'


def nested(levels: int) -> str:
    """Return an action frame of so many levels, its own included."""
    return action("[" * (levels - 1) + "]" * (levels - 1))


def refusal(text: Any, **limits: int) -> str:
    with pytest.raises(BadFrame) as caught:
        parse(text, **limits)
    assert caught.value.hint
    return caught.value.code


def test_hello_carries_token_client_and_what_the_tab_has() -> None:
    frame = parse(
        f'{{"type":"hello","token":"t","client":"c8f2","have":{{"me":"{REV}"}}}}'
    )
    assert frame == protocol.HelloFrame("t", "c8f2", {"me": REV})


def test_an_action_keeps_its_arguments_as_they_were_sent() -> None:
    frame = parse(action('{"card": "ace"}', client='"c8f2"'))
    assert isinstance(frame, protocol.ActionFrame)
    assert (frame.id, frame.state, frame.action) == (18, "board", "move")
    assert frame.client == "c8f2"
    assert bytes(frame.args) == b'{"card": "ace"}'


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        (f'{{"type":"sync","doc":"me","rev":"{REV}"}}', protocol.SyncFrame("me", REV)),
        ('{"type":"sync","doc":"me"}', protocol.SyncFrame("me")),
        ('{"type":"pong","visible":false}', protocol.PongFrame(visible=False)),
        ('{"type":"pong"}', protocol.PongFrame()),
        ('{"type":"token","token":"t"}', protocol.TokenFrame("t")),
        (
            '{"type":"bye","because":["unknown fields","are ignored"]}',
            protocol.ByeFrame(),
        ),
        ('{"rev":null,"doc":"me","type":"sync"}', protocol.SyncFrame("me")),
        ('{"type":"meta","data":{"name":"Al"}}', protocol.MetaFrame({"name": "Al"})),
        ('{"type":"watch","participant":"b-1_"}', WatchFrame("b-1_")),
        ('{"type":"watch","participant":"*"}', WatchFrame("*")),
        ('{"type":"unwatch","participant":"bob"}', UnwatchFrame("bob")),
    ],
)
def test_every_other_frame_is_read(text: str, frame: protocol.Frame) -> None:
    assert parse(text) == frame


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_json"),
        ("hello", "bad_json"),
        ('{"type":"bye"', "bad_json"),
        ('{"type":"bye"} {}', "bad_json"),
        ("{'type':'bye'}", "bad_json"),
        (action("{,}"), "bad_json"),
        (action("[01]"), "bad_json"),
        ("[]", "bad_frame"),
        ('[{"type":"bye"}]', "bad_frame"),
        ("null", "bad_frame"),
        ("5", "bad_frame"),
        ('"bye"', "bad_frame"),
        ("{}", "bad_frame"),
        ('{"type":null}', "bad_frame"),
        ('{"type":["bye"]}', "bad_frame"),
        (b'{"type":"bye"}', "bad_frame"),
        (None, "bad_frame"),
        (action("[NaN]"), "bad_value"),
        (action("[Infinity]"), "bad_value"),
        (action("[-Infinity]"), "bad_value"),
        (action('["\\ud800"]'), "bad_value"),
        (action('["\\uDC00 and more"]'), "bad_value"),
        (action('["\\ud83dx"]'), "bad_value"),
        (action('["\ud800"]'), "bad_value"),
        (action('{"\\ud800":1}'), "bad_value"),
        (action("[9007199254740992]"), "bad_value"),
        (action("[-9007199254740992]"), "bad_value"),
        (action(f"[{'9' * 400}]"), "bad_value"),
        (action(f"[{'9' * 5000}]"), "bad_value"),
        (action("[1e400]"), "bad_value"),
        (action("[-1E+400]"), "bad_value"),
        (action('{"deep":[{"er":9007199254740992}]}'), "bad_value"),
        (action(more="12345678901234567890"), "bad_value"),
        (action(id="9007199254740992"), "bad_value"),
        ('{"type":"bye","n":9007199254740992}', "bad_value"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":"observe","participant":"bob"}', "unknown_type"),
        ('{"type":"watch"}', "bad_frame"),
        ('{"type":"watch","participant":""}', "bad_frame"),
        ('{"type":"watch","participant":"**"}', "bad_frame"),
        ('{"type":"watch","participant":"bob\\n"}', "bad_frame"),
        ('{"type":"watch","participant":"b\u00f6b"}', "bad_frame"),
        ('{"type":"watch","participant":"__proto__"}', "bad_frame"),
        (f'{{"type":"unwatch","participant":"{"b" * 65}"}}', "bad_frame"),
        ('{"type":"Bye"}', "unknown_type"),
        ('{"type":""}', "unknown_type"),
        (action(id='"18"'), "bad_frame"),
        (action(id="true"), "bad_frame"),
        (action(id="0"), "bad_frame"),
        (action(id="-1"), "bad_frame"),
        (action(id="1.5"), "bad_frame"),
        (action(state="1"), "bad_frame"),
        (action(state='""'), "bad_frame"),
        (action(state=f'"{"a" * 101}"'), "bad_frame"),
        (action(action="null"), "bad_frame"),
        (action(client='"a b"'), "bad_frame"),
        (action(client='"a\\n"'), "bad_frame"),
        ('{"type":"action","id":1}', "bad_frame"),
        ('{"type":"hello","token":"t"}', "bad_frame"),
        ('{"type":"hello","token":"","client":"c"}', "bad_frame"),
        ('{"type":"hello","token":5,"client":"c"}', "bad_frame"),
        ('{"type":"hello","token":"t","client":""}', "bad_frame"),
        ('{"type":"hello","token":"t","client":"c","have":{"me":"x"}}', "bad_frame"),
        ('{"type":"hello","token":"t","client":"c","have":[]}', "bad_frame"),
        ('{"type":"sync","doc":"me","rev":"7f3a.1-0b77e2d1\\n"}', "bad_frame"),
        ('{"type":"sync"}', "bad_frame"),
        ('{"type":"pong","visible":"yes"}', "bad_frame"),
        ('{"type":"token"}', "bad_frame"),
        ('{"type":"hello","token":"t","client":"c","meta":[]}', "bad_frame"),
        ('{"type":"meta"}', "bad_meta"),
        ('{"type":"meta","data":null}', "bad_meta"),
        ('{"type":"meta","data":[{}]}', "bad_meta"),
        ('{"type":"meta","data":{"at":9007199254740992}}', "bad_meta"),
        (f'{{"type":"meta","data":{{"deep":{"[" * 40}{"]" * 40}}}}}', "bad_meta"),
    ],
)
def test_a_bad_frame_is_refused_with_its_code(text: Any, code: str) -> None:
    assert refusal(text) == code


# Each is read some hundred times as slowly as another number.
HUGE = ("1e300", "-9E305", "1.5e+308", "2e0290")


@pytest.mark.parametrize("number", HUGE)
def test_numbers_that_take_long_to_read_are_few(number: str) -> None:
    few = ",".join([number] * MAX_HUGE)
    parse(action(f"[{few}]"))
    assert refusal(action(f"[{few},{number}]")) == "bad_value"
    # They are not read at all, whatever the frame is.
    assert refusal(f'{{"type":"pong","more":[{few},{number}]}}') == "bad_value"
    assert refusal(f'{{"type":"meta","data":[{few},{number}') == "bad_meta"


def test_texts_that_look_like_numbers_that_take_long_are_read() -> None:
    text = " ".join(HUGE * MAX_HUGE)
    parse(action(json.dumps({"text": text, text: [text]})))
    parse(action(f"[{','.join(['1e99', '1e-300', '0.1e10'] * MAX_HUGE)}]"))


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("[" + "[]," * 5_000 + "1]", None),
        (json.dumps("[{" * 5_000), None),
        ("]" * 5_000, "bad_json"),
        ("[" * 5_000, "too_deep"),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "too_deep"),
        ("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), None),
    ],
    ids=["wide", "text", "closing", "opening", "too deep", "deep"],
)
def test_levels_are_counted_however_many_brackets_there_are(
    args: str, code: str | None
) -> None:
    if code is None:
        parse(action(args))
    else:
        assert refusal(action(args)) == code


def test_a_meta_that_is_too_large_for_a_frame_is_not_taken_for_an_action() -> None:
    assert refusal('{"type":"meta","data":{}}', limit=10) == "bad_meta"
    assert refusal('{"type":"bye"}', limit=10) == "too_large"


def test_hello_may_bring_what_the_tab_shows_of_itself() -> None:
    frame = parse('{"type":"hello","token":"t","client":"c","meta":{"name":"Al"}}')
    assert frame == protocol.HelloFrame("t", "c", meta={"name": "Al"})


def test_the_largest_integers_pass() -> None:
    assert parse(action("[9007199254740991, -9007199254740991, 1e99]"))


def test_digits_in_strings_are_not_numbers() -> None:
    assert parse(action('["12345678901234567890", "1e400", "{[{["]'))


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse(action('["\\ud83d\\ude00"]'))


def test_thirty_two_levels_pass_and_forty_do_not() -> None:
    assert parse(nested(32))
    assert refusal(nested(33)) == "too_deep"
    assert refusal(nested(40)) == "too_deep"
    assert refusal("[" * 60_000) == "too_deep"


def test_brackets_in_strings_and_beside_each_other_are_not_depth() -> None:
    assert parse(action(json.dumps(["[" * 100, '"{' * 100, "\\" * 9, []])))
    assert parse(action(json.dumps([[]] * 100)))


def test_a_frame_of_64_kib_is_too_large_and_one_byte_less_is_not() -> None:
    padding = 65_536 - len(action('[""]'))
    assert refusal(action(f'["{"x" * padding}"]')) == "too_large"
    assert parse(action(f'["{"x" * (padding - 1)}"]'))


def test_size_is_counted_in_bytes() -> None:
    text = action('["ééé"]')
    assert parse(text, limit=len(text) + 4)
    assert refusal(text, limit=len(text) + 3) == "too_large"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
frames = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["hello", "action", "sync", "pong", "token", "bye"])
        | json_values
    },
    optional=dict.fromkeys(
        ["id", "state", "action", "args", "client", "doc", "rev", "token", "have"],
        json_values,
    ),
)


@given(
    st.text()
    | st.binary()
    | json_values.map(json.dumps)
    | frames.map(json.dumps)
    | st.text(alphabet='{}[]":,\\ud8-1e9.NaInfity', max_size=200)
)
def test_whatever_arrives_is_a_frame_or_refused(text: str | bytes) -> None:
    read: object
    try:
        read = parse(text)
    except BadFrame as bad:
        read = bad
    assert isinstance(read, protocol.Frame | BadFrame)
    if isinstance(read, BadFrame):
        assert msgspec.json.decode(protocol.error(read.code, read.hint))


def is_rev(text: str) -> bool:
    try:
        return str(Rev.parse(text)) == text
    except ValueError:
        return False


rev_texts = st.text(max_size=30) | st.builds(
    lambda place, cut, extra: REV[:place] + extra + REV[place + cut :],
    st.integers(0, len(REV)),
    st.integers(0, 2),
    st.text("0123456789abcdefA.-+_ \n\u0660\uff11", max_size=3),
)


@given(rev_texts)
@example("7f3a.045-9f3ac21b")
@example("7f3a.1234567890123456-9f3ac21b")
@example("7f3a.45-9f3ac21b\n")
def test_a_rev_that_passes_is_one_and_every_rev_passes(text: str) -> None:
    frames = {
        "sync": {"type": "sync", "doc": "me", "rev": text},
        "hello": {"type": "hello", "token": "t", "client": "c", "have": {"me": text}},
    }
    for kind, frame in frames.items():
        if is_rev(text):
            assert parse(json.dumps(frame))
            continue
        with pytest.raises(BadFrame) as caught:
            parse(json.dumps(frame))
        assert caught.value.code == "bad_frame"
        assert caught.value.head == FrameHead(of=kind)


@pytest.mark.parametrize("client", ["__proto__", "constructor", "prototype"])
def test_a_client_id_that_browsers_refuse_as_a_key_is_refused(client: str) -> None:
    assert refusal(action(client=f'"{client}"')) == "bad_frame"
    assert parse(action(client=f'"{client}_"'))


@given(json_values)
def test_what_passes_as_an_argument_is_portable_json(value: Any) -> None:
    text = json.dumps(value)
    try:
        frame = parse(action(text))
    except BadFrame:
        return
    assert isinstance(frame, protocol.ActionFrame)
    again = msgspec.json.decode(frame.args)
    assert again == value


def test_close_codes_say_by_range_what_to_do() -> None:
    ranges: dict[int, set[str]] = {}
    for close in Close:
        ranges.setdefault(close // 100, set()).add(close.name)
    assert ranges == {
        10: {"NORMAL"},
        40: {
            "TOO_MANY_BAD_FRAMES",
            "UNKNOWN_PROTOCOL",
            "FORBIDDEN",
            "ENDED",
            "LIMIT",
            "DISCONNECTED",
            "KICKED",
        },
        41: {"TOKEN"},
        42: {
            "HELLO_TIMEOUT",
            "UNAVAILABLE",
            "SLOW",
            "INTERNAL",
            "TOO_MANY_CONNECTIONS",
            "TOO_MANY_FRAMES",
        },
    }


def test_outgoing_frames_read_as_designed() -> None:
    other = "7f3a.46-51d0aa37"
    odd = 'say "\u2028\\'
    written = {
        protocol.welcome(
            session="K7Q2ZD",
            participant="alice",
            role=odd,
            client="c8f2",
            ping=10,
            rate=(20, 40),
            frame=65_536,
            now=1_700_000_000.5,
        ): {
            "type": "welcome",
            "session": "K7Q2ZD",
            "participant": "alice",
            "role": odd,
            "name": None,
            "client": "c8f2",
            "ping": 10,
            "now": 1_700_000_000.5,
            "limits": {"rate": [20, 40], "frame": 65_536},
        },
        protocol.snapshot("me", REV, {"board": msgspec.Raw(b'{"a":1}')}): {
            "type": "snapshot",
            "doc": "me",
            "rev": REV,
            "states": {"board": {"a": 1}},
            "reset": False,
        },
        protocol.snapshot("me", REV, {}, done={}): {
            "type": "snapshot",
            "doc": "me",
            "rev": REV,
            "states": {},
            "done": {},
            "reset": False,
        },
        protocol.snapshot("me", REV, None, done={"c8f2": 18}, run="9c"): {
            "type": "snapshot",
            "doc": "me",
            "rev": REV,
            "done": {"c8f2": 18},
            "run": "9c",
            "reset": False,
        },
        protocol.snapshot("me", REV, None, reset=True): {
            "type": "snapshot",
            "doc": "me",
            "rev": REV,
            "reset": True,
        },
        protocol.patch("me", REV, other, b"[1]"): {
            "type": "patch",
            "doc": "me",
            "base": REV,
            "rev": other,
            "ops": [1],
        },
        protocol.ack(18, "me", REV, other, b"[1]", b"null"): {
            "type": "ack",
            "id": 18,
            "doc": "me",
            "base": REV,
            "rev": other,
            "ops": [1],
            "result": None,
        },
        protocol.ack(18, "me", REV, REV, b"[]", None): {
            "type": "ack",
            "id": 18,
            "doc": "me",
            "base": REV,
            "rev": REV,
            "ops": [],
        },
        protocol.reject(18, "rejected", odd): {
            "type": "reject",
            "id": 18,
            "code": "rejected",
            "message": odd,
        },
        protocol.ping({"me": REV}): {"type": "ping", "heads": {"me": REV}},
        protocol.ping(None): {"type": "ping"},
        protocol.message(b"[1]"): {"type": "message", "data": [1]},
        presence_frame({"bob": [b'{"name":"Bob"}', b""], "al": [b""]}, ["eve"]): {
            "type": "presence",
            "joined": {"bob": [{"name": "Bob"}, {}], "al": [{}]},
            "left": ["eve"],
        },
        presence_frame({}, []): {"type": "presence", "joined": {}, "left": []},
        presence_frame({}, [], {"bob": (odd, "guest"), "al": (None, odd)}): {
            "type": "presence",
            "joined": {},
            "left": [],
            "people": {
                "bob": {"name": odd, "role": "guest"},
                "al": {"name": None, "role": odd},
            },
        },
        self_frame(odd, "guest"): {"type": "self", "name": odd, "role": "guest"},
        protocol.token(odd): {"type": "token", "token": odd},
        protocol.end("ended"): {"type": "end", "reason": "ended", "retry": False},
        protocol.error("bad_frame", odd): {
            "type": "error",
            "code": "bad_frame",
            "message": odd,
        },
        protocol.error("bad_frame", odd, FrameHead(id=18)): {
            "type": "error",
            "code": "bad_frame",
            "message": odd,
            "id": 18,
        },
        protocol.error("bad_meta", odd, FrameHead(of="meta")): {
            "type": "error",
            "code": "bad_meta",
            "message": odd,
            "of": "meta",
        },
        # Whatever a site's action made them of.
        protocol.reject(18, "no\ud800", "\udfff!"): {
            "type": "reject",
            "id": 18,
            "code": "no\ufffd",
            "message": "\ufffd!",
        },
    }
    for text, frame in written.items():
        assert json.loads(text) == frame


def test_the_docs_name_each_code_and_each_bound() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    told = dict(re.findall(r"^\| (\d+) `(\w+)` \|", page, re.MULTILINE))
    assert told == {str(close.value): close.name for close in Close}
    assert {code for code in get_args(BadCode) if f"`{code}`" not in page} == set()
    rate, burst = conf.Conf().rate_limit or (0, 0)
    frames = frame_throttle.FRAMES_PER_SECOND, frame_throttle.FRAME_BURST
    reads = frame_throttle.READS_PER_SECOND, frame_throttle.READ_BURST
    for row in (
        f"| actions | {rate:g} | {burst:g} |",
        f"| frames in all | {frames[0] + rate:g} | {frames[1] + burst:g} |",
        f"which the cache is read for | {reads[0]:g} | {reads[1]:g} |",
        f"{frames[0]:g} frames a second, {frames[1]:g} at once",
        f"for each {frame_throttle.CHARACTERS:,} characters",
        f"{lobby.MAX_OF_NETWORK:,} of one network",
        f"{lobby.MAX_WAITING:,} in all",
        f"More than {consumers.MAX_BAD_FRAMES} such frames in a minute",
        f"the first {frame_head.MAX_SCANNED} characters",
        f"more than {MAX_META_BYTES} bytes",
    ):
        assert row in page
    assert (frame_throttle.MAX_WAITING, consumers.HELLO_SECONDS) == (60, 5)
