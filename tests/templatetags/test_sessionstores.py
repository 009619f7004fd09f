"""The page's configuration: data that no page can break out of."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from tests.workshop.states import Board


def render(config: object, arguments: str = 'config "data"') -> str:
    template = Template(
        "{% load sessionstores %}{% sessionstores_config " + arguments + " %}"
    )
    return template.render(Context({"config": config}))


class Page(HTMLParser):
    """Reads a page as a browser does, a script's text up to the first `</script`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_config_becomes_one_json_script_element() -> None:
    page = Page(render({"url": "/ws/"}))
    assert page.elements == [("script", {"id": "data", "type": "application/json"})]
    assert json.loads(page.text) == {"url": "/ws/"}


def test_element_is_named_sessionstores_by_default() -> None:
    assert 'id="sessionstores"' in render({}, "config")


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>alert(1)</script>",
        "</SCRIPT >",
        "<!--<script>",
        "]]>",
        "&lt;&amp;'\"",
        "\u2028\u2029",
        "é\0\x7f\N{GRINNING FACE}",
    ],
)
def test_what_people_type_stays_data(text: str) -> None:
    html = render({"name": text, text: "key"})
    page = Page(html)
    assert len(page.elements) == 1
    assert json.loads(page.text) == {"name": text, text: "key"}
    inside = html.partition(">")[2].rpartition("<")[0]
    assert not re.search("[<>&\u2028\u2029]", inside)


@given(st.dictionaries(st.text(), st.text()))
def test_any_text_comes_back_as_it_was(config: dict[str, str]) -> None:
    page = Page(render(config))
    assert len(page.elements) == 1
    assert json.loads(page.text) == config


def test_element_id_is_escaped() -> None:
    html = render({}, """config '"><img src=x>'""")
    assert Page(html).elements[0][0] == "script"
    assert len(Page(html).elements) == 1


def test_participants_config_survives_the_page() -> None:
    code = stores.create_session()
    note = "</script>&\u2028"
    stores.get(Board, code, "alice").dispatch(Board.note, note)
    config = Participant(code, "alice").config()
    page = Page(render(config))
    assert json.loads(page.text) == config
    assert config["docs"]["me"]["states"]["board"]["notes"] == note


@pytest.mark.parametrize("wrong", ["", None, Participant("K7Q2ZD", "alice"), []])
def test_anything_but_a_config_is_refused_with_a_hint(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"participant\.config\(\)"):
        render(wrong)
