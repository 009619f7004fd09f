"""Figures for machines: who may read them, and what they never contain."""

from __future__ import annotations

import json

import pytest
from django.test import Client, override_settings

from sessionstores.admin.views import stats
from sessionstores.monitoring import prometheus
from tests.admin.views.test_session import connect
from tests.staff import CODE, fill, page, signed_in

pytestmark = pytest.mark.django_db

TOKEN = "sesame-7f3a"


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


@override_settings(SESSIONSTORES={"STATS_TOKEN": TOKEN, "AUTO_SWEEP": False})
@pytest.mark.parametrize("name", ["stats", "metrics"])
def test_the_bearer_token_opens_the_figures_and_nothing_else(name: str) -> None:
    fill("alice")
    client = Client()
    for scheme in ("Bearer", "bearer"):
        response = client.get(page(name), headers=bearer(TOKEN, scheme))
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
    for wrong in (TOKEN[:-1], TOKEN + "x", "", "ÿ"):
        response = client.get(page(name), headers=bearer(wrong))
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
    assert client.get(page(name), headers=bearer(TOKEN, "Basic")).status_code == 302
    assert client.post(page(name), headers=bearer(TOKEN)).status_code == 405
    for other in (page("changelist"), page("session", CODE), page("live")):
        response = client.get(other, headers=bearer(TOKEN))
        assert response["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_in_the_settings_none_is_good(token: str | None) -> None:
    with override_settings(SESSIONSTORES={"STATS_TOKEN": token}):
        for given in ("", "None", "x"):
            response = Client().get(page("stats"), headers=bearer(given))
            assert response.status_code == 401


def test_the_json_has_all_figures_and_names_nobody() -> None:
    fill("alice", "bob")
    connect("alice")
    response = signed_in("view_dashboard").get(page("stats"))
    text = response.content.decode()
    told = json.loads(text)
    assert (told["sessions"], told["participants"], told["online"]) == (1, 2, 1)
    assert told["scope"] == "process"
    assert told["process"]["rss"] > 1_000_000
    assert told["warnings"] == {}
    for name in (CODE, "alice", "bob"):
        assert name not in text


def test_without_the_package_metrics_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stats, "exposition", None)
    response = signed_in("view_dashboard").get(page("metrics"))
    assert response.status_code == 501
    assert "django-sessionstores[metrics]" in response.content.decode()
    assert prometheus.CONTENT_TYPE.startswith("text/plain")
