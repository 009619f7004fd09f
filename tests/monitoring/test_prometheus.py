"""The figures in the form that Prometheus reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sessionstores import ActionRejected, StateTooLarge, event_bus, stores
from sessionstores.backends import get_backend
from sessionstores.keys import StoreKey
from sessionstores.monitoring import prometheus
from sessionstores.monitoring.counters import counters
from sessionstores.monitoring.latency import BOUNDS, STEPS, bucket_of
from sessionstores.monitoring.prometheus import CLASSIC, exposition
from sessionstores.monitoring.tally import tally_of
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
    # A limit is no fault.
    with pytest.raises(StateTooLarge):
        stores.get(Board, CODE, "alice").dispatch(Board.note, "x" * 300_000)
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
    assert rise("sessionstores_operations_total", "dispatch", "rejected") == 2
    assert rise("sessionstores_operations_total", "dispatch", "error") == 1
    assert rise("sessionstores_operation_duration_seconds_count", "dispatch") == 4
    assert rise("sessionstores_operation_duration_seconds_sum", "dispatch") > 0
    assert rise("sessionstores_conflicts_total") == 0
    assert rise("sessionstores_swept_total", "cleanup") == 1
    assert rise("sessionstores_resumes_total", "ok") == 1
    assert rise("sessionstores_refusals_total", "rejected") == 1
    assert rise("sessionstores_errors_total", "ZeroDivisionError") == 1
    assert rise("sessionstores_operation_seconds_count", "dispatch") == 4
    assert rise("sessionstores_operation_seconds_sum", "dispatch") > 0
    assert after["sessionstores_workers"][()] == 1
    for name in ("slow_operations", "reconnects", "layer_messages_dropped"):
        assert after[f"sessionstores_{name}_total"][()] >= 0
    text = response.content.decode()
    for name in (CODE, "alice", "bob"):
        assert name not in text
    assert counters.dispatches >= 3


def _refuse(board: Board) -> None:
    raise ActionRejected("No.")


def _fail(board: Board) -> None:
    board.deck.append(str(1 / 0))


OPENMETRICS_2 = "application/openmetrics-text;version=2.0.0;q=0.8,text/plain;q=0.5"
SECONDS = (1e-6, 0.0001, 0.001, 0.001, 0.02, 0.3, 0.31, 2.0, 100.0)


def count(seconds: Iterable[float]) -> None:
    """Count operations of these durations."""
    tally = tally_of(get_backend(blocking=True))
    for each in seconds:
        tally.latency[bucket_of(each)] += 1
        tally.seconds += each


def test_a_histogram_counts_what_each_bound_is_not_exceeded_by() -> None:
    count(SECONDS)
    text, content_type = exposition(stores.stats())
    assert content_type == prometheus.CONTENT_TYPE
    found = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == "sessionstores_operation_seconds_bucket"
    }
    assert set(map(float, found)) == {*CLASSIC, float("inf")}
    for bound, value in found.items():
        assert value == sum(each <= float(bound) for each in SECONDS)


def test_who_reads_native_histograms_gets_them_with_all_buckets() -> None:
    count(SECONDS)
    text, content_type = exposition(stores.stats(), OPENMETRICS_2)
    assert content_type == prometheus.NATIVE_CONTENT_TYPE
    # The package's own parser takes no span that begins below a second.
    (line,) = [each for each in text.decode().splitlines() if "schema" in each]
    name, _, told = line.partition(" ")
    assert name == 'sessionstores_operation_seconds{op="dispatch"}'
    native = dict(re.findall(r"(\w+):([^,\[\]{}]+|\[[^\]]*\])", told))
    assert (int(native["count"]), int(native["schema"])) == (len(SECONDS), 3)
    assert float(native["sum"]) == pytest.approx(sum(SECONDS))
    # What is shorter than the first bound is in the zero bucket.
    assert float(native["zero_threshold"]) == BOUNDS[0]
    assert int(native["zero_count"]) == 1
    rises = iter(map(int, native["positive_deltas"].strip("[]").split(",")))
    number = total = 0
    found = {}
    for span in native["positive_spans"].strip("[]").split(","):
        skipped, length = map(int, span.split(":"))
        number += skipped
        for _ in range(length):
            total += next(rises)
            # A bucket's upper bound, by its number.
            found[2 ** (number / STEPS)] = total
            number += 1
    assert list(rises) == []
    # The longest is beyond all bounds, in the one bucket after them.
    bounds = [BOUNDS[bucket_of(each)] for each in SECONDS[1:-1]]
    expected = {bound: bounds.count(bound) for bound in bounds}
    assert found == pytest.approx({**expected, BOUNDS[-1] * 2 ** (1 / STEPS): 1})


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain;version=1.0.0",
        "application/openmetrics-text;version=1.0.0",
    ],
)
def test_others_get_the_text_that_they_have_always_got(accept: str) -> None:
    text, content_type = exposition(stores.stats(), accept)
    assert content_type == prometheus.CONTENT_TYPE
    assert b"sessionstores_operation_seconds_bucket" in text


def test_a_prometheus_client_without_native_histograms_serves_classic_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prometheus, "NATIVE_CONTENT_TYPE", "")
    _, content_type = exposition(stores.stats(), OPENMETRICS_2)
    assert content_type == prometheus.CONTENT_TYPE
