"""Figures for machines: who may read them, and what they never contain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client, override_settings
from prometheus_client.parser import text_string_to_metric_families

from sessionstores import ActionRejected, event_bus, stores
from sessionstores.admin.views import stats
from sessionstores.keys import StoreKey
from sessionstores.monitoring import prometheus
from sessionstores.monitoring.counters import counters
from tests.admin.views.test_session import connect
from tests.staff import CODE, fill, page, signed_in
from tests.workshop.states import Agenda, Board

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


def families(response: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Return samples by name and label values, as Prometheus would read them."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_metrics_are_what_prometheus_reads_and_name_nobody() -> None:
    fill("alice", "bob")
    connect("alice")
    stores.sweep()
    client = signed_in("view_dashboard")
    before = families(client.get(page("metrics")))
    stores.get(Board, CODE, "alice").dispatch(Board.note, "once more")
    with pytest.raises(ActionRejected):
        stores.get(Board, CODE, "alice").dispatch(_refuse)
    with pytest.raises(ZeroDivisionError):
        stores.get(Board, CODE, "alice").dispatch(_fail)
    stores.cleanup_participant(CODE, "bob")
    event_bus.bus.publish(event_bus.Note(StoreKey(CODE, "alice"), "resumed"))
    response = client.get(page("metrics"))
    after = families(response)
    assert response["Content-Type"].startswith("text/plain")
    assert after["sessionstores_sessions"][()] == 1
    assert after["sessionstores_participants"] == {("online",): 1, ("offline",): 0}
    assert after["sessionstores_connections"][()] == 1
    assert after["sessionstores_state_bytes"][()] > 0
    assert after["sessionstores_last_sweep_timestamp_seconds"][()] > 0

    def rise(name: str, *labels: str) -> float:
        return after[name][labels] - before.get(name, {}).get(labels, 0)

    assert rise("sessionstores_operations_total", "dispatch", "ok") == 1
    assert rise("sessionstores_operations_total", "dispatch", "rejected") == 1
    assert rise("sessionstores_operations_total", "dispatch", "error") == 1
    assert rise("sessionstores_operation_duration_seconds_count", "dispatch") == 3
    assert rise("sessionstores_operation_duration_seconds_sum", "dispatch") > 0
    assert rise("sessionstores_conflicts_total") == 0
    assert rise("sessionstores_swept_total", "cleanup") == 1
    assert rise("sessionstores_resumes_total", "ok") == 1
    text = response.content.decode()
    for name in (CODE, "alice", "bob"):
        assert name not in text
    assert counters.dispatches >= 3


def _refuse(board: Board) -> None:
    raise ActionRejected("No.")


def _fail(board: Board) -> None:
    board.deck.append(str(1 / 0))


def test_patches_are_counted_with_their_bytes() -> None:
    changes: list[event_bus.Event | event_bus.Note] = []
    fill("alice")
    event_bus.bus.subscribe(changes.append, *event_bus.SESSION_EVENTS)
    try:
        stores.get(Agenda, CODE).dispatch(Agenda.advance)
    finally:
        event_bus.bus.unsubscribe(changes.append)
    before = (event_bus.patches.count, event_bus.patches.bytes)
    (change,) = (each for each in changes if isinstance(each, event_bus.Change))
    size = len(change.operations)
    assert len(change.operations) == size
    assert (event_bus.patches.count, event_bus.patches.bytes) == (
        before[0] + 1,
        before[1] + size,
    )


def test_without_the_package_metrics_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stats, "exposition", None)
    response = signed_in("view_dashboard").get(page("metrics"))
    assert response.status_code == 501
    assert "django-sessionstores[metrics]" in response.content.decode()
    assert prometheus.CONTENT_TYPE.startswith("text/plain")
