"""Session codes, participant ids, and the cache keys made of them."""

from __future__ import annotations

import pickle
import re
import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.exceptions import InvalidKey
from sessionstores.keys import (
    CODE_ALPHABET,
    MAX_ID_LENGTH,
    REFUSED_IDS,
    SESSION,
    StoreKey,
    cache_key,
    check_code,
    check_participant,
    check_stored,
    generate_code,
    keys_of_records,
    normalize_code,
    only_ours,
    shared_key,
)

CODE_CHARACTERS = string.ascii_uppercase + string.digits
ID_CHARACTERS = string.ascii_letters + string.digits + "_-"

codes = st.text(CODE_CHARACTERS, min_size=6, max_size=6)
ids = st.text(ID_CHARACTERS, min_size=1, max_size=64).filter(
    lambda id: id not in REFUSED_IDS
)
keys = st.builds(StoreKey, codes, ids | st.just(SESSION))


def refuses(check: object, value: object) -> bool:
    try:
        check(value)  # type: ignore[operator]
    except InvalidKey as error:
        message = str(error)
    else:
        return False
    assert message.isprintable()
    assert len(message) < 200
    return True


@given(codes, ids)
def test_what_has_the_form_is_accepted_and_given_back(code: str, id: str) -> None:
    assert check_code(code) == code
    assert check_participant(id) == id
    key = StoreKey.parse(f"{code}:{id}")
    assert key == StoreKey(code, id) == (code, id)
    assert str(key) == f"{code}:{id}"
    assert StoreKey.is_valid(str(key))


@given(st.text(max_size=80) | st.sampled_from(sorted(REFUSED_IDS)))
def test_of_all_texts_only_those_of_the_form_are_accepted(text: str) -> None:
    is_code = len(text) == 6 and set(text) <= set(CODE_CHARACTERS)
    is_id = 1 <= len(text) <= 64 and set(text) <= set(ID_CHARACTERS)
    assert refuses(check_code, text) is not is_code
    assert refuses(check_stored, text) is not is_id
    assert refuses(check_participant, text) is (not is_id or text in REFUSED_IDS)
    assert refuses(StoreKey.parse, text) is not StoreKey.is_valid(text)


def test_no_other_character_is_accepted_anywhere() -> None:
    # Every one that some pattern or method might take for a letter, digit or space.
    characters = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if character < "\u3000" or character.isdecimal() or character.isspace()
    ]
    for character in characters:
        if character not in CODE_CHARACTERS:
            assert refuses(check_code, f"ABC12{character}")
        if character not in ID_CHARACTERS:
            assert refuses(check_participant, character)


@given(keys, st.sampled_from(["\n", "\r", "\r\n", " ", "\0", "\u0660", "\ud800", ":"]))
def test_nothing_can_be_smuggled_in_front_behind_or_between(
    key: StoreKey, extra: str
) -> None:
    code, id = key
    for bad in (f"{code}{extra}", f"{extra}{code}", f"{code[:3]}{extra}{code[4:]}"):
        assert refuses(check_code, bad)
        assert not StoreKey.is_valid(f"{bad}:alice")
    for bad in (f"{id}{extra}", f"{extra}{id}"):
        assert refuses(check_participant, bad)
        assert not StoreKey.is_valid(f"{code}:{bad}")
        with pytest.raises(InvalidKey):
            StoreKey(code, bad)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "K7Q2ZD",
        "K7Q2ZD:",
        ":alice",
        "K7Q2ZD:*",
        "K7Q2Z:alice",
        "k7q2zd:alice",
        f"K7Q2ZD:{'a' * 65}",
        "K7Q2ZDX:alice",
        "K7Q2ZD:a:b",
        "K7Q2ZD alice",
    ],
)
def test_texts_that_come_close_are_refused(text: str) -> None:
    assert not StoreKey.is_valid(text)


@pytest.mark.parametrize("id", sorted(REFUSED_IDS))
def test_an_id_that_browsers_refuse_as_a_key_is_refused(id: str) -> None:
    assert refuses(check_participant, id)
    assert not StoreKey.is_valid(f"K7Q2ZD:{id}")
    with pytest.raises(InvalidKey, match=f"'{id}' cannot be a participant id"):
        StoreKey("K7Q2ZD", id)
    for near in (f"{id}_", f"_{id}", id.upper(), id[:-1]):
        assert check_participant(near) == near
    # A record of an earlier release may have it.
    assert check_stored(id) == id
    assert str(StoreKey.stored("K7Q2ZD", id)) == f"K7Q2ZD:{id}"


@given(st.text(max_size=80) | keys.map(str))
def test_what_the_cache_may_hold_has_the_form_of_an_id_all_the_same(text: str) -> None:
    assert refuses(check_stored, text) is (
        text not in REFUSED_IDS and refuses(check_participant, text)
    )
    code, _, id = text.partition(":")
    if StoreKey.is_valid(text):
        assert StoreKey.stored(code, id) == StoreKey(code, id)


@pytest.mark.parametrize("value", [None, 123456, b"K7Q2ZD", ["K7Q2ZD"], ("A", "b"), {}])
def test_what_is_no_text_is_refused(value: object) -> None:
    assert refuses(check_code, value)
    assert refuses(check_participant, value)
    assert refuses(StoreKey.parse, value)
    assert not StoreKey.is_valid(value)


def test_the_message_names_the_value_the_form_and_stays_short() -> None:
    with pytest.raises(InvalidKey, match=r"'abc\\n' is not a session code: six"):
        check_code("abc\n")
    with pytest.raises(InvalidKey, match=r"^'a b' is not a participant id: 1 to 64"):
        check_participant("a b")
    with pytest.raises(InvalidKey, match=r"x…' is not a store key"):
        StoreKey.parse("x" * 100_000)
    assert InvalidKey.code == "invalid_key"
    assert issubclass(InvalidKey, ValueError)


def test_ids_have_up_to_64_characters() -> None:
    assert MAX_ID_LENGTH == 64
    assert check_participant("a" * 64)
    assert refuses(check_participant, "a" * 65)


def test_the_sessions_own_key_cannot_be_taken_for_a_participants() -> None:
    own = StoreKey.of_session("K7Q2ZD")
    assert own.is_session
    assert own == StoreKey("K7Q2ZD", "*")
    assert not StoreKey("K7Q2ZD", "alice").is_session
    assert refuses(check_participant, "*")
    assert not StoreKey.is_valid(str(own))


@given(keys)
def test_keys_survive_pickling_and_serve_as_dictionary_keys(key: StoreKey) -> None:
    assert pickle.loads(pickle.dumps(key)) == key
    assert {key: 1}[StoreKey(*key)] == 1
    assert not hasattr(key, "__dict__")


def test_generated_codes_are_valid_unambiguous_and_differ() -> None:
    generated = {generate_code() for _ in range(2_000)}
    assert len(generated) > 1_990
    assert all(check_code(code) for code in generated)
    assert set("".join(generated)) == set(CODE_ALPHABET)
    assert not set(CODE_ALPHABET) & set("01OIL")


kinds = st.sampled_from(["s", "p", "m", "t", "r", "c", "f", "q"])


@given(keys, kinds, keys, kinds)
def test_no_two_cache_keys_collide(
    one: StoreKey, kind: str, other: StoreKey, other_kind: str
) -> None:
    first = cache_key("ss", one.session, kind, one.participant)
    second = cache_key("ss", other.session, other_kind, other.participant)
    assert (first == second) == ((one, kind) == (other, other_kind))
    assert first != shared_key("ss", kind, other.participant)


@given(keys, kinds)
def test_every_cache_accepts_our_keys(key: StoreKey, kind: str) -> None:
    text = cache_key("x" * 32, key.session, kind, f"{key.participant}:{'f' * 16}")
    assert len(text) < 200
    assert re.fullmatch(r"[!-~]+", text)
    # Redis Cluster: the part in braces decides the slot, and there is just one.
    assert re.findall(r"\{(.*?)\}", text) == [key.session]


BETWEEN = st.text(" \t\u00a0\u200b\u202f-\u2010\u2013\u2014_", max_size=3)
FULL_WIDTH = {ord(plain): ord(plain) + 0xFEE0 for plain in CODE_CHARACTERS}


@given(
    code=codes,
    gaps=st.lists(BETWEEN, min_size=7, max_size=7),
    lower=st.lists(st.booleans(), min_size=6, max_size=6),
    full_width=st.booleans(),
)
def test_however_a_code_is_typed_it_is_that_code(
    code: str, gaps: list[str], lower: list[bool], full_width: bool
) -> None:
    written = code.translate(FULL_WIDTH) if full_width else code
    letters = [
        each.lower() if is_lower else each
        for each, is_lower in zip(written, lower, strict=True)
    ]
    typed = "".join(map("".join, zip(gaps, [*letters, ""], strict=True)))
    assert normalize_code(typed) == code
    assert normalize_code(normalize_code(typed)) == code


@given(st.text(max_size=12))
def test_what_is_read_as_a_code_is_one(text: str) -> None:
    try:
        code = normalize_code(text)
    except InvalidKey:
        return
    assert check_code(code) == code


@pytest.mark.parametrize(
    "text",
    [
        *("", "K7Q2Z", "K7Q2ZDD", "stra\u00dfe", "K7Q2Z\u0131", "K7Q.2ZD", None, 7),
        *(" " * 999, "K7Q2ZD" + " " * 999),
    ],
)
def test_what_nobody_can_have_meant_is_refused(text: object) -> None:
    assert refuses(normalize_code, text)


# Parts of keys, of which prefixes that begin alike are made.
prefixes = st.lists(
    st.sampled_from(["", ":", "ss", "v", "reg", "v:", "reg:", "7", "*", "K7Q2ZD"]),
    max_size=6,
).map("".join)
value_names = st.sampled_from(
    [*("series", "sweep", "clock", "guesses:0f3a1", "doctor-0f", "gone:K7Q2ZD:*")]
) | keys.map(lambda key: f"gone:{key.session}:{key.participant}")


@st.composite
def stored(draw: st.DrawFn, prefix: str) -> str:
    """A key that a site of this prefix may store."""
    key = draw(keys)
    aside = f"{key.participant}:{'f' * 16}"
    return draw(
        st.sampled_from(
            [
                cache_key(prefix, key.session, draw(kinds), key.participant),
                cache_key(prefix, key.session, "q", aside),
                shared_key(prefix, "reg", draw(st.sampled_from(["", "0", "15"]))),
                shared_key(prefix, "v", draw(value_names)),
            ]
        )
    )


@given(st.data(), prefixes, prefixes)
def test_every_key_is_of_one_prefix_however_alike_they_begin(
    data: st.DataObject, one: str, other: str
) -> None:
    ours, theirs = data.draw(stored(one)), data.draw(stored(other))
    named = only_ours(one, [ours, theirs])
    assert named == ([ours, theirs] if one == other else [ours])
    of_records = {str(key) for key in keys_of_records(one, [ours, theirs])}
    assert of_records <= {str(key) for key in keys_of_records(one, [ours])} or (
        one == other
    )


@pytest.mark.parametrize(
    "name",
    ["", "ss", "ss:", "ss:x", "ss:page:1", "ss:{short}:s:", "ss:reg:x", "Ss:v:x"],
)
def test_a_key_of_another_program_is_not_ours(name: str) -> None:
    assert only_ours("ss", [name]) == []
