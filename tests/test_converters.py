"""`<code:code>` in URLs takes codes as people type them."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, path, register_converter, resolve, reverse
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores.converters import SessionCodeConverter
from sessionstores.keys import normalize_code

pytestmark = pytest.mark.urls(__name__)

register_converter(SessionCodeConverter, "session_code")


def board(request: HttpRequest, code: str) -> HttpResponse:
    return HttpResponse(code)


def about(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse(f"about {slug}")


urlpatterns = [
    path("<session_code:code>/", board, name="board"),
    path("<slug>/", about),
]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("K7Q2ZD", "K7Q2ZD"),
        ("k7q2zd", "K7Q2ZD"),
        ("k7q-2zd", "K7Q2ZD"),
        ("K7Q%202ZD", "K7Q2ZD"),
        # Not codes: the next path has its turn.
        ("about", "about about"),
        ("about-this-site", "about about-this-site"),
        ("k7q2z", "about k7q2z"),
    ],
)
def test_a_path_may_contain_a_code_as_people_type_it(
    client: Client, typed: str, answer: str
) -> None:
    assert client.get(f"/{typed}/").content.decode() == answer


BETWEEN = st.text(st.sampled_from(" -_–—\u00a0\u200b\u2009\ufeff\t"), max_size=3)
CHARACTERS = st.sampled_from("K7Q2ZDk7q2zdＫ７ｑ")


@given(st.lists(st.tuples(BETWEEN, CHARACTERS), min_size=6, max_size=6), BETWEEN)
@example([("", each) for each in "K7Q2ZD"], "\u200b")
@example([(" " * 3, each) for each in "K7Q2ZD"], " " * 3)
def test_whatever_is_read_as_a_code_is_one_in_a_path_too(
    typed: list[tuple[str, str]], behind: str
) -> None:
    text = "".join(map("".join, typed)) + behind
    assert resolve(f"/{text}/", __name__).kwargs == {"code": normalize_code(text)}


def test_addresses_are_made_of_the_code_as_it_is() -> None:
    assert reverse("board", args=["k7q 2zd"]) == "/K7Q2ZD/"
    with pytest.raises(NoReverseMatch):
        reverse("board", args=["K7Q2Z"])
