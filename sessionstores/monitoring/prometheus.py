"""Prometheus exposition of the figures; needs the extra `metrics`.

Gauges cover all processes that share the cache. Counters cover the process that
answers, since it started: scrape each one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..event_bus import patches
from .counters import counters, removed, resumed
from .stats import Stats

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(stats: Stats) -> bytes:
    """Return the text to be scraped. No label names a session or a participant."""
    registry = CollectorRegistry()
    registry.register(_Figures(stats))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, stats: Stats) -> None:
        self.stats = stats

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


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sessionstores_{name}", text, value)


def _counted(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(f"sessionstores_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
