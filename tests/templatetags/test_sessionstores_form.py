"""The tag for forms of actions: what a template can get wrong is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.forms.renderers import DjangoTemplates
from django.template import Context, RequestContext, Template
from django.test import RequestFactory
from django.urls import include, path

from sessionstores.exceptions import UnknownAction, UnknownState
from sessionstores.participants.participant import Participant
from sessionstores.state.declaration import registry
from tests.action_forms.states import Kinds, Shared
from tests.action_forms.test_form import Controls

pytestmark = pytest.mark.urls(__name__)

urlpatterns = [path("in/", include("sessionstores.urls"))]


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    with registry.isolated(Kinds, Shared):
        yield


def request_of(participant: object, **headers: str) -> Any:
    request = RequestFactory().get("/here/?a=1&b=2", headers=headers)
    request.participant = participant
    return request


def render(arguments: str, request: Any = None, **context: object) -> str:
    text = "{% load sessionstores %}{% sessionstores_form " + arguments + " %}"
    request = request or request_of(Participant("K7Q2ZD", "ann"))
    return Template(text).render(RequestContext(request, context))


def hidden(html: str) -> dict[str, str]:
    found = Controls(html).of("input")
    return {a["name"]: a.get("value", "") for a in found if a["type"] == "hidden"}


def test_the_form_names_its_place_and_the_page_to_come_back_to() -> None:
    html = render('"kinds" "few"')
    (form,) = Controls(html).of("form")
    assert form == {
        "class": "ss-form",
        "method": "post",
        "action": "/in/act/K7Q2ZD/kinds/few/",
    }
    given = hidden(html)
    assert given.pop("csrfmiddlewaretoken")
    assert given == {"ss_next": "/here/?a=1&b=2"}
    assert Controls(html).texts == ["Value", "Few"]


def test_a_fragment_comes_back_to_the_page_that_it_is_put_into() -> None:
    request = request_of(Participant("K7Q2ZD", "ann"), hx_request="true")
    assert "ss_next" not in hidden(render('"kinds" "few"', request))
    assert hidden(render('"kinds" "few" next="/a/"', request))["ss_next"] == "/a/"


def test_values_are_given_by_name_or_as_a_mapping() -> None:
    html = render('"kinds" "full" value="a" values=values', values={"next": "b"})
    given = hidden(html)
    assert (given["value"], given["next"]) == ("a", "b")
    assert given["ss_preset"] == "value next"
    # What is hidden needs no label.
    assert Controls(html).texts == ["Full"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ('"kind" "few"', UnknownState, "'kind'"),
        ('"kinds" "fewer"', UnknownAction, "Did you mean 'few'"),
        ('"kinds" "got"', UnknownAction, "has no action 'got'"),
        ('"kinds" "few" valeu=1', TypeError, "Did you mean 'value'"),
        ('"shared" "write" by="bob"', TypeError, "takes no argument 'by' of clients"),
    ],
)
def test_mistakes_are_named(arguments: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        render(arguments)


def test_a_page_without_participant_is_told_the_way_out() -> None:
    with pytest.raises(TypeError, match="participant_required"):
        render('"kinds" "few"', request_of(None))
    with pytest.raises(ImproperlyConfigured, match="ParticipantMiddleware"):
        render('"kinds" "few"', RequestFactory().get("/"))
    text = '{% load sessionstores %}{% sessionstores_form "kinds" "few" %}'
    with pytest.raises(ImproperlyConfigured, match=r"render\(request"):
        Template(text).render(Context())


@pytest.mark.urls("tests.urls")
def test_a_site_without_its_url_is_told_the_way_out() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"include\('sessionstores.urls'\)"):
        render('"kinds" "few"')


def test_the_forms_renderer_of_the_site_writes_the_controls(settings: Any) -> None:
    plain_html = render('"kinds" "few"')
    settings.FORM_RENDERER = f"{__name__}.Marked"
    marked = render('"kinds" "few"')
    assert "MARKED" in marked
    assert "MARKED" not in plain_html


class Marked(DjangoTemplates):
    """A site's renderer, with a mark of its own."""

    def render(self, template_name: str, context: Any, request: Any = None) -> str:
        return f"MARKED{super().render(template_name, context, request)}"
