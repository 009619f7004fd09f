"""What participants may be called."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sessionstores.exceptions import InvalidKey
from sessionstores.participants.names import MAX_NAME_LENGTH, check_name
from sessionstores.state.json_rules import encode_portable

anything = st.text(st.characters(exclude_categories=()), max_size=100)


def refusal(name: object) -> str:
    with pytest.raises(InvalidKey) as caught:
        check_name(name)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Ada Lovelace",
        "Zoë",
        "李小龍",
        "محمد",
        "می‌خواهم",
        "👩🏽‍💻",
        "<b>Bobby</b>; DROP TABLE",
        "7",
        "x" * MAX_NAME_LENGTH,
        "😀" * MAX_NAME_LENGTH,
    ],
)
def test_names_of_all_scripts_are_taken_as_they_are(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", [" Ada ", "\tAda\n", "\u2003Ada\u3000", "Ada\r\n"])
def test_surrounding_space_is_stripped(name: str) -> None:
    assert check_name(name) == "Ada"


@pytest.mark.parametrize(
    "name",
    ["", "   ", "\n", "\u200b", "\u200d\u200d", "\u3164", "\u2800 \u2800", "\ufe0f"],
)
def test_names_that_show_nothing_are_refused(name: str) -> None:
    assert "can be seen" in refusal(name)


@pytest.mark.parametrize(
    "name", ["A\nda", "A\0da", "A\x7fda", "A\u2028da", "A\ud800", "\u202eadA"]
)
def test_what_breaks_a_line_or_a_text_is_refused(name: str) -> None:
    message = refusal(name)
    assert message.isprintable()
    assert "leave out" in message


@pytest.mark.parametrize("name", [None, 7, b"Ada", ["Ada"]])
def test_what_is_not_text_is_refused(name: object) -> None:
    assert "not text" in refusal(name)


def test_a_name_that_is_too_long_is_refused_with_its_length() -> None:
    assert "81 characters" in refusal("x" * 81)
    assert check_name(" " * 50 + "x" * 80) == "x" * 80


@given(anything)
def test_an_accepted_name_fits_everywhere_and_stays_what_it_is(text: str) -> None:
    try:
        name = check_name(text)
    except InvalidKey:
        assert refusal(text).isprintable()
        return
    assert name == text.strip()
    assert check_name(name) == name
    assert 1 <= len(name) <= 80
    assert not {"Cc", "Cs"} & set(map(unicodedata.category, name))
    # Browsers, records and logs get it as it is.
    assert msgspec.json.decode(encode_portable(name, "name")) == name
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(name)) == name
    assert len(name.splitlines()) == 1


@given(anything, st.characters(categories=["Cc", "Cs"]))
def test_control_characters_and_halves_are_refused_within_any_name(
    text: str, character: str
) -> None:
    assume(len(text.strip()) < 79)
    assert refusal(f"a{text}{character}b")
