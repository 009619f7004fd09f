"""Views that need a participant: the decorator and the mixin."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View

from sessionstores.manager import stores
from sessionstores.middleware import ParticipantRequest
from sessionstores.participants.decorators import (
    ParticipantRequiredMixin,
    participant_required,
)
from tests.test_middleware import (
    MIDDLEWARE,
    acurrent,
    ajoined,
    current,
    joined,
    private,
)

pytestmark = [
    pytest.mark.urls(__name__),
    pytest.mark.django_db(transaction=True),
]


VIEWS = ["private", "aprivate", "cbv", "acbv", "mixed", "amixed"]


@participant_required
async def aprivate(request: ParticipantRequest, code: str) -> HttpResponse:
    return await acurrent(request)


class Private(View):
    @method_decorator(participant_required)
    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return current(request)


class Mixed(ParticipantRequiredMixin, View):
    def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return current(request)


class AsyncMixed(ParticipantRequiredMixin, View):
    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await acurrent(request)


class AsyncPrivate(View):
    @method_decorator(participant_required)
    async def get(self, request: ParticipantRequest, code: str) -> HttpResponse:
        return await acurrent(request)


urlpatterns = [
    path("<code>/join/", joined),
    path("<code>/ajoin/", ajoined),
    path("<code>/private/", private),
    path("<code>/aprivate/", aprivate),
    path("<code>/cbv/", Private.as_view()),
    path("<code>/acbv/", AsyncPrivate.as_view()),
    path("<code>/mixed/", Mixed.as_view()),
    path("<code>/amixed/", AsyncMixed.as_view()),
]


@pytest.mark.parametrize("view", VIEWS)
def test_view_that_requires_a_participant_refuses_others(
    view: str, client: Client, code: str
) -> None:
    assert client.get(f"/{code}/{view}/").status_code == 403
    alice = client.get(f"/{code}/join/").json()
    assert client.get(f"/{code}/{view}/").json() == alice
    stores.end_session(code)
    assert client.get(f"/{code}/{view}/").status_code == 403


@pytest.mark.parametrize("view", VIEWS)
async def test_view_that_requires_a_participant_refuses_others_under_asgi(
    view: str, async_client: AsyncClient
) -> None:
    code = await stores.acreate_session()
    assert (await async_client.get(f"/{code}/{view}/")).status_code == 403
    alice = (await async_client.get(f"/{code}/ajoin/")).json()
    assert (await async_client.get(f"/{code}/{view}/")).json() == alice


@pytest.mark.parametrize("view", VIEWS)
def test_participant_required_says_that_it_needs_the_middleware(
    view: str, client: Client, code: str, settings: Any
) -> None:
    settings.MIDDLEWARE = MIDDLEWARE[:-1]
    with pytest.raises(ImproperlyConfigured, match="ParticipantMiddleware"):
        client.get(f"/{code}/{view}/")


def test_decorated_view_keeps_its_name_and_kind() -> None:
    assert private.__name__ == "private"
    assert aprivate.__name__ == "aprivate"
    assert iscoroutinefunction(aprivate)
    assert not iscoroutinefunction(private)
