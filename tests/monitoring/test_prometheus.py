"""The figures in the form that Prometheus reads."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sessionstores import ActionRejected, event_bus, stores
from sessionstores.keys import StoreKey
from sessionstores.monitoring.counters import counters
from tests.admin.views.test_session import connect
from tests.staff import CODE, fill, page, signed_in
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db


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
