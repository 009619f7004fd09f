"""What the page on coming in and going shows and says is so."""

from __future__ import annotations

import logging
import re
import sys
from http import HTTPStatus
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.test import Client
from django.urls import include, path, register_converter, reverse
from django.urls.converters import get_converters
from django.views.decorators.http import require_POST

from sessionstores import aleave, join, leave, participant_required, stores
from sessionstores.forms import JoinForm
from sessionstores.participants import identities, visitors
from sessionstores.views import JoinView

PAGE = Path(__file__).parent.parent / "docs" / "joining.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TEMPLATE = engines["django"].from_string("{% csrf_token %}{{ form }}{{ config }}")


def shown(request: Any, template: str, context: dict[str, Any]) -> HttpResponse:
    return HttpResponse(TEMPLATE.render(context, request))


def register_once(converter: type, name: str) -> None:
    if name not in get_converters():
        register_converter(converter, name)


@pytest.fixture
def site(settings: Any) -> Any:
    """A site that is made of what the page shows."""
    urls, guarded, entrance, leaving = BLOCKS
    space: dict[str, Any] = {
        "__name__": "views",
        "JoinForm": JoinForm,
        "JoinView": JoinView,
        "aleave": aleave,
        "include": include,
        "join": join,
        "leave": leave,
        "log": logging.getLogger(__name__),
        "participant_required": participant_required,
        "path": path,
        "redirect": redirect,
        "register_converter": register_once,
        "render": shown,
        "require_POST": require_POST,
    }
    for block in (guarded, entrance, leaving):
        exec(block, space)
    module = ModuleType("joining_page_urls")
    views = ModuleType("views")
    vars(views).update(space)
    # Others register "code" for themselves, which can be done once.
    urls = urls.replace('"code")', '"page_code")').replace("<code:", "<page_code:")
    vars(module).update(space, views=views, __name__=module.__name__)
    exec(urls, vars(module))
    module.urlpatterns += [  # type: ignore[attr-defined]
        path("", space["enter"], name="home"),
        path("entrance/", space["Entrance"].as_view(template_name=None)),
        path("<page_code:code>/go/", space["go"], name="go"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        settings.ROOT_URLCONF = module.__name__
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        yield module


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("door", ["page", "enter"])
@pytest.mark.django_db
def test_the_site_that_it_shows_lets_people_in_and_out(door: str) -> None:
    code, client = stores.create_session(), Client()
    typed = {"code": code.lower(), "name": "Ada"}
    sent = client.get(f"/{code}/")["Location"]
    assert sent == f"/join/?code={code}&next=%2F{code}%2F"
    url = sent if door == "page" else "/"
    assert client.get(url).status_code == HTTPStatus.OK
    response = client.post(url, {**typed, "code": "222222"})
    assert response.status_code == HTTPStatus.OK
    assert "no session" in response.content.decode()
    assert client.post(url, typed)["Location"] == f"/{code}/"
    assert client.get(f"/{code}/").status_code == HTTPStatus.OK
    assert client.post(reverse("go", args=[code]))["Location"] == "/"
    assert client.get(f"/{code}/")["Location"] == sent
    assert stores.participants(code) == []


@pytest.mark.usefixtures("site")
@pytest.mark.django_db
def test_the_view_that_it_shows_gives_a_role(caplog: pytest.LogCaptureFixture) -> None:
    code = stores.create_session()
    with caplog.at_level(logging.INFO, __name__):
        response = Client().post("/entrance/", {"code": code, "name": "Ada"})
    assert response["Location"] == f"/{code}/"
    assert caplog.messages == [f"Ada is in {code}"]
    (person,) = stores.people(code)
    assert person.role == "guest"


def test_its_figures_are_those_of_the_code() -> None:
    assert "the hundred latest codes" in TEXT
    assert identities.MAX_CODES == 100
    assert f"`{visitors.COOKIE}`, for an hour at most" in TEXT
    assert visitors.SECONDS == 3600
