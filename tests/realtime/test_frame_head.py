"""An error names the frame that it answers, however broken that is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.realtime.frame_head import NO_HEAD, FrameHead, read_head
from sessionstores.realtime.protocol import BadFrame, head_of, parse
from sessionstores.state.json_rules import MAX_INTEGER

KINDS = ["hello", "action", "sync", "pong", "token", "meta", "watch", "unwatch", "bye"]
LIMIT = 65_536


def named(kind: str, id: int | None) -> FrameHead:
    return FrameHead(id=id) if kind == "action" and id else FrameHead(of=kind)


def head_found(text: str) -> FrameHead:
    """Return the head that an answer to a frame names, whether it is read or not."""
    try:
        return head_of(parse(text, LIMIT))
    except BadFrame as bad:
        return bad.head


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, FrameHead]:
    """Draw a frame as a client writes it that no server takes, and its head.

    Type and id come first, in either order; what follows is broken in one way or
    another.
    """
    kind = draw(st.sampled_from(KINDS) | st.sampled_from(["observe", "dance", "x y"]))
    id = draw(st.integers(1, MAX_INTEGER))
    members = [("type", kind), ("id", id)]
    if draw(st.booleans()):
        members.reverse()
    extra = draw(st.sampled_from([[], [("client", 'c"1')], [("n", -5)], [("b", True)]]))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    head = f",{space}".join(
        f"{json.dumps(key)}{space}:{space}{json.dumps(value)}"
        for key, value in [*extra, *members]
    )
    rest = draw(
        st.sampled_from(
            [
                '"a":[NaN]}',
                '"a":"\\ud800"}',
                '"a":"\ud800"}',
                '"a":12345678901234567890}',
                '"a":1e999}',
                '"a":"never ends',
                '"a":{"type":"bye","id":7}',
                '"a":"\\"type\\":\\"bye\\",\\"id\\":7"',
                f'"a":{"[" * 40}{"]" * 40}}}',
                f'"a":{"[" * 60_000}',
                f'"a":"{"x" * LIMIT}"}}',
                f'"a":"{"é" * (LIMIT // 2)}"}}',
            ]
        )
    )
    return f"{space}{{{head},{rest}", named(kind, id)


@given(spoilt())
def test_a_broken_frame_is_named(case: tuple[str, FrameHead]) -> None:
    text, head = case
    with pytest.raises(BadFrame) as caught:
        parse(text, LIMIT)
    assert caught.value.head == head
    assert (caught.value.code == "bad_meta") == (head.of == "meta")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(KINDS),
    st.none() | st.integers(1, MAX_INTEGER),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "state", "action", "args", "doc", "rev", "client"]),
            json_values,
        ),
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_a_frame_that_is_whole_is_named_wherever_its_type_stands(
    kind: str, id: int | None, others: list[tuple[str, Any]], random: Any
) -> None:
    members = [("type", kind), *([("id", id)] if id else []), *others]
    random.shuffle(members)
    text = json.dumps(dict(members))
    head = head_found(text)
    if "NaN" in text or "Infinity" in text or "\\ud" in text:
        # It may be no JSON: then it is read as far as its first members are plain.
        assert head in (named(kind, id), FrameHead(of=kind), NO_HEAD)
    else:
        assert head == named(kind, id)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (None, NO_HEAD),
        (b'{"type":"meta"}', NO_HEAD),
        ("", NO_HEAD),
        ("[]", NO_HEAD),
        ('[{"type":"meta"}]', NO_HEAD),
        ('"type":"meta"', NO_HEAD),
        ('{"type":5}', NO_HEAD),
        ('{"type":null,"id":5}', NO_HEAD),
        ('{"type":["meta"]}', NO_HEAD),
        ('{"a":{"type":"meta"}}', NO_HEAD),
        ('{"a":{"type":"meta"},', NO_HEAD),
        ('{"a":"{\\"type\\":\\"meta\\"}","b":', NO_HEAD),
        ('{"id":5}', NO_HEAD),
        ('{"type":"action"}', FrameHead(of="action")),
        ('{"type":"action","id":0}', FrameHead(of="action")),
        ('{"type":"action","id":-1}', FrameHead(of="action")),
        ('{"type":"action","id":1.5}', FrameHead(of="action")),
        ('{"type":"action","id":1e3}', FrameHead(of="action")),
        ('{"type":"action","id":"5"}', FrameHead(of="action")),
        ('{"type":"action","id":true}', FrameHead(of="action")),
        ('{"type":"action","id":{"a":5}}', FrameHead(of="action")),
        (f'{{"type":"action","id":{MAX_INTEGER + 1}}}', FrameHead(of="action")),
        (f'{{"type":"action","id":{"9" * 400}}}', FrameHead(of="action")),
        ('{"type":"action","id":5', FrameHead(id=5)),
        ('{"type":"action","id":5,', FrameHead(id=5)),
        ('{"type":"meta","id":5}', FrameHead(of="meta")),
        ('{"type":"pong","type":"meta"}', FrameHead(of="meta")),
        ('{"type":"dance"}', FrameHead(of="dance")),
        (f'{{"type":"{"d" * 1000}"}}', FrameHead(of="d" * 40)),
        ('{"type":"d\ud800"', FrameHead(of="d\ufffd")),
    ],
)
def test_what_is_not_certain_is_not_named(text: Any, head: FrameHead) -> None:
    assert read_head(text, LIMIT) == head


@given(st.text() | st.text('{}[]":,\\typeid 0159\ud800acn', max_size=700))
def test_of_any_text_the_head_is_what_can_be_sent_in_an_error(text: str) -> None:
    head = read_head(text, LIMIT)
    assert head.id is None or 1 <= head.id <= MAX_INTEGER
    assert head.of is None or len(head.of.encode()) <= 160
    assert head.id is None or head.of is None


def test_of_a_frame_that_is_too_large_only_the_beginning_is_read() -> None:
    rest = f'"type":"meta","b":"{"x" * LIMIT}"}}'
    assert read_head(f'{{"a":"{"x" * 400}",{rest}', LIMIT) == FrameHead(of="meta")
    assert read_head(f'{{"a":"{"x" * 600}",{rest}', LIMIT) == NO_HEAD
