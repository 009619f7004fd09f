"""Prometheus exposition of the figures; needs the extra `metrics`.

Gauges cover all processes that share the cache. Counters and histograms cover the
process that answers, since it started: scrape each one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..backends import get_backend
from ..event_bus import patches
from .counters import counters, removed, resumed
from .latency import BOUNDS, LOWEST, SCHEMA, STEPS, bucket_of
from .stats import Stats
from .tally import tally_of

openmetrics: Any
try:
    from prometheus_client.openmetrics import exposition as openmetrics
    from prometheus_client.samples import BucketSpan, NativeHistogram

    # The text format that has native histograms.
    NATIVE_CONTENT_TYPE = openmetrics.CONTENT_TYPE_LATEST_2_0
except (ImportError, AttributeError):
    NATIVE_CONTENT_TYPE = ""

CONTENT_TYPE = CONTENT_TYPE_LATEST

# The bounds of the classic buckets in seconds, from 0.06 ms to 16 s in powers of two:
# of those by which durations are counted, so that no count is an estimate.
CLASSIC = tuple(2.0**power for power in range(-14, 5))

_NATIVE = re.compile(r"application/openmetrics-text\s*;[^,]*version=\s*\"?2\.")


def exposition(stats: Stats, accept: str = "") -> tuple[bytes, str]:
    """Return the text to be scraped, and its content type.

    It has native histograms for who accepts, as `accept` says like the header, version
    2 of the OpenMetrics text format, if prometheus_client writes that. No label names a
    session or a participant.
    """
    is_native = bool(NATIVE_CONTENT_TYPE and _NATIVE.search(accept))
    registry = CollectorRegistry()
    registry.register(_Figures(stats, is_native=is_native))
    if is_native:
        text: bytes = openmetrics.generate_latest(registry, version="2.0.0")
        return text, NATIVE_CONTENT_TYPE
    return generate_latest(registry), CONTENT_TYPE


class _Figures(Collector):
    def __init__(self, stats: Stats, *, is_native: bool) -> None:
        self.stats = stats
        self.tally = tally_of(get_backend(blocking=True))
        self.is_native = is_native

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()

    def _gauges(self) -> Iterator[Metric]:
        stats = self.stats
        yield _gauge("sessions", "Live sessions.", stats.sessions)
        people = GaugeMetricFamily(
            "sessionstores_participants",
            "Participants, by connection state.",
            labels=["state"],
        )
        people.add_metric(["online"], stats.online)
        people.add_metric(["offline"], stats.participants - stats.online)
        yield people
        yield _gauge("connections", "Open connections.", stats.connections)
        yield _gauge("workers", "Processes that serve the site.", len(stats.workers))
        yield _gauge("state_bytes", "Size of stored states, in bytes.", stats.bytes)
        yield _gauge(
            "state_budget_bytes",
            "Budget of the states, in bytes: 10 MB for 50 participants.",
            stats.budget,
        )
        yield _gauge(
            "stores", "Live store objects in this process.", stats.process.stores
        )
        if stats.server is not None and stats.server.used is not None:
            text = "Memory used by the cache server, in bytes."
            yield _gauge("server_bytes", text, stats.server.used)
        if stats.last_sweep is not None:
            text = "End of the last sweep, in seconds since the epoch."
            yield _gauge("last_sweep_timestamp_seconds", text, stats.last_sweep.at)
        warnings = GaugeMetricFamily(
            "sessionstores_warnings", "Current warnings, by kind.", labels=["kind"]
        )
        for kind, count in sorted(Counter(alert.code for alert in stats.leaks).items()):
            warnings.add_metric([kind], count)
        yield warnings

    def _counters(self) -> Iterator[Metric]:
        operations = CounterMetricFamily(
            "sessionstores_operations",
            "Operations on stores in this process, by result.",
            labels=["op", "result"],
        )
        good = counters.dispatches - counters.rejected - counters.failures
        operations.add_metric(["dispatch", "ok"], max(good, 0))
        operations.add_metric(["dispatch", "rejected"], counters.rejected)
        operations.add_metric(["dispatch", "error"], counters.failures)
        yield operations
        yield CounterMetricFamily(
            "sessionstores_conflicts",
            "Commits of this process that lost to another and were retried.",
            counters.conflicts,
        )
        durations = SummaryMetricFamily(
            "sessionstores_operation_duration_seconds",
            "Duration of operations in this process, retries included.",
            labels=["op"],
        )
        durations.add_metric(["dispatch"], counters.dispatches, counters.seconds)
        yield durations
        yield self._latency()
        yield from self._failures()
        yield SummaryMetricFamily(
            "sessionstores_patch_bytes",
            "Patches computed by this process, in bytes.",
            patches.count,
            patches.bytes,
        )
        yield _counted("swept", "Participants removed here.", "reason", removed)
        yield _counted(
            "resumes", "Tabs that resumed at this process.", "result", resumed
        )

    def _latency(self) -> Metric:
        family = HistogramMetricFamily(
            "sessionstores_operation_seconds",
            "Duration of operations in this process, retries included.",
            labels=["op"],
        )
        counts, seconds = self.tally.latency, self.tally.seconds
        buckets = [
            (str(bound), sum(counts[: bucket_of(bound) + 1])) for bound in CLASSIC
        ]
        family.add_metric(["dispatch"], [*buckets, ("+Inf", sum(counts))], seconds)
        if self.is_native:
            name, labels = family.name, {"op": "dispatch"}
            histogram = _native(counts, seconds)
            family.add_sample(name, labels, 0, native_histogram=histogram)
        return family

    def _failures(self) -> Iterator[Metric]:
        tally = self.tally
        yield _counted("refusals", "Refusals by this process.", "code", tally.refused)
        yield _counted("errors", "Errors in this process.", "type", tally.errors)
        for name, text, value in (
            ("slow_operations", "Longer than SLOW_OPERATION_MS.", tally.slow),
            ("reconnects", "Tabs that came back with what they had.", tally.reconnects),
            (
                "layer_messages_dropped",
                "Messages to other processes that the channel layer did not take.",
                tally.dropped,
            ),
        ):
            yield CounterMetricFamily(f"sessionstores_{name}", text, value)


def _native(counts: Sequence[int], seconds: float) -> NativeHistogram:
    """Return durations as a native histogram, whose buckets are those of `BOUNDS`.

    The shortest, which are told apart no more, make its zero bucket. Of the others,
    runs of buckets that count something are spans: how many are skipped before one,
    from bucket 0, which ends at a second, and how many there are.
    """
    spans: list[BucketSpan] = []
    rises: list[int] = []
    end = count = 0
    for bucket in range(1, len(counts)):
        if not counts[bucket]:
            continue
        number = LOWEST * STEPS + bucket
        if spans and number == end:
            spans[-1] = spans[-1]._replace(length=spans[-1].length + 1)
        else:
            spans.append(BucketSpan(number - end, 1))
        rises.append(counts[bucket] - count)
        end, count = number + 1, counts[bucket]
    return NativeHistogram(
        sum(counts),
        seconds,
        SCHEMA,
        BOUNDS[0],
        counts[0],
        pos_spans=spans,
        pos_deltas=rises,
    )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sessionstores_{name}", text, value)


def _counted(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"sessionstores_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
