"""Revs, and the ring of those that led to a record's position."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores.state.revisions import RING_LENGTH, History, Rev

revs = st.builds(
    Rev,
    st.text("0123456789abcdef", min_size=4, max_size=4),
    st.integers(1, 10**15 - 1),
    st.text("0123456789abcdef", min_size=8, max_size=8),
)


@given(revs)
def test_a_revs_text_gives_it_back(rev: Rev) -> None:
    assert Rev.parse(str(rev)) == rev
    assert str(rev).isascii()


# Texts that come close: one that is right, with something in it changed.
near = st.builds(
    lambda text, place, cut, extra: text[:place] + extra + text[place + cut :],
    revs.map(str),
    st.integers(0, 30),
    st.integers(0, 2),
    st.text("0123456789abcdefABCDEF.-+_ \n\u0660\uff11", max_size=3),
)


@given(st.text() | near)
@example("7f3a.045-9f3ac21b")
@example("7f3a.00-9f3ac21b")
@example("7f3a.0-9f3ac21b")
def test_no_rev_has_two_spellings(text: str) -> None:
    try:
        rev = Rev.parse(text)
    except ValueError:
        return
    assert str(rev) == text


def test_a_rev_reads_as_incarnation_counter_and_tail() -> None:
    rev = Rev.parse("7f3a.45-9f3ac21b")
    assert rev == Rev("7f3a", 45, "9f3ac21b")
    assert str(rev) == "7f3a.45-9f3ac21b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7f3a.45",
        "7F3A.45-9f3ac21b",
        "7f3a.045-9f3ac21b",
        "7f3a.-1-9f3ac21b",
        "7f3a.45-9f3ac21b\n",
        " 7f3a.45-9f3ac21b",
        "7f3a.\u0664-9f3ac21b",
        "7f3a.1234567890123456-9f3ac21b",
        "7f3a.45-9f3ac21b0",
        "x" * 100_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a rev like") as caught:
        Rev.parse(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=30))
def test_what_is_accepted_is_in_the_one_canonical_form(text: str) -> None:
    try:
        rev = Rev.parse(text)
    except ValueError:
        return
    assert str(rev) == text


def test_the_first_rev_has_counter_one_and_random_parts() -> None:
    first = {Rev.first() for _ in range(100)}
    assert len(first) == 100
    assert {rev.counter for rev in first} == {1}
    assert len({rev.incarnation for rev in first}) > 90
    assert all(Rev.parse(str(rev)) == rev for rev in first)


def test_the_next_rev_counts_up_with_a_tail_of_its_own() -> None:
    rev = Rev.parse("7f3a.45-9f3ac21b")
    following = {rev.next() for _ in range(100)}
    assert {(r.incarnation, r.counter) for r in following} == {("7f3a", 46)}
    assert len(following) == 100


def test_a_reincarnated_rev_starts_over_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rev = Rev.parse("7f3a.45-9f3ac21b")
    drawn = iter([Rev("7f3a", 1, "0" * 8), Rev("beef", 1, "0" * 8)])
    monkeypatch.setattr(Rev, "first", lambda: next(drawn))
    assert rev.reincarnated() == Rev("beef", 1, "0" * 8)


@given(st.lists(st.booleans(), max_size=120))
def test_history_knows_what_a_list_of_all_revs_knows(steps: list[bool]) -> None:
    history = History.start(Rev.first())
    everything = [history.rev]
    since = [history.rev]
    for again in steps:
        goes_on = again or len(since) < 3
        # Another incarnation for certain, of the 65,536 that there are.
        rev = history.rev.next() if goes_on else history.rev.reincarnated()
        if rev.incarnation != history.rev.incarnation:
            since = []
        history = history.extend(rev)
        everything.append(rev)
        since.append(rev)
    assert history.rev == everything[-1]
    assert history.ring == b"".join(bytes.fromhex(r.tail) for r in since[-RING_LENGTH:])
    for rev in everything:
        if rev == since[-1]:
            expected = "head"
        elif rev in since[-RING_LENGTH:]:
            expected = "past"
        elif rev in since:
            expected = "unknown"
        else:
            expected = "foreign"
        assert history.place(rev) == expected


@given(st.integers(1, 80), st.integers(-3, 100))
def test_another_writers_rev_is_never_taken_for_ours(length: int, counter: int) -> None:
    history = History.start(Rev.first())
    for _ in range(length - 1):
        history = history.extend(history.rev.next())
    foreign = Rev(history.rev.incarnation, counter, "00000000")
    reached = 1 <= counter <= length - RING_LENGTH
    assert history.place(foreign) == ("unknown" if reached else "foreign")
    elsewhere = history.rev.reincarnated()
    assert history.place(elsewhere._replace(counter=length)) == "foreign"


def test_a_history_takes_no_more_than_its_ring() -> None:
    history = History.start(Rev.first())
    for _ in range(1_000):
        history = history.extend(history.rev.next())
    assert len(history.ring) == 4 * RING_LENGTH
    assert history.rev.counter == 1_001
