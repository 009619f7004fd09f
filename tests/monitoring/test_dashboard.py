"""The dashboard and the alert rules of the docs ask for metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from prometheus_client.parser import text_string_to_metric_families

from sessionstores import event_bus, stores
from sessionstores.backends import get_backend
from sessionstores.backends.types import ServerInfo
from sessionstores.event_bus import Note, Removal
from sessionstores.keys import StoreKey
from sessionstores.monitoring.prometheus import exposition
from sessionstores.monitoring.tally import tally_of
from tests.sockets import CODE
from tests.workshop.states import Board

DOCS = Path(__file__).parents[2] / "docs" / "monitoring"
ALICE = StoreKey(CODE, "alice")
METRIC = re.compile(r"\bsessionstores_\w+")
# A metric with a selection of its labels.
SELECTION = re.compile(r"\b(sessionstores_\w+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)\s*=")
# Given by Prometheus.
GIVEN = {"job", "instance", "le"}


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "dashboard.json").read_text())
    return found


def rules() -> list[dict[str, str]]:
    """Return the rules by their keys; blocks of more lines as one."""
    found = []
    for text in (DOCS / "alerts.yml").read_text().split("- alert:")[1:]:
        name, _, rest = text.partition("\n")
        rule = {"alert": name.strip()}
        for key, value in re.findall(
            r"^ +(\w+): *((?:(?!^ +\w+:).*\n?)+)", rest, re.MULTILINE
        ):
            rule[key] = " ".join(value.strip(" |>-\n").split())
        found.append(rule)
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with where it stands."""
    for panel in board()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in board()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


@override_settings(SESSIONSTORES={"MAX_STATE_BYTES": 1_000, "AUTO_SWEEP": False})
def metrics(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return the labels of each metric, once all that is counted has happened."""

    async def server(backend: Any) -> ServerInfo:
        return ServerInfo("Valkey 9.1.2", 1_000, 2_000, 7, "allkeys-lru")

    backend = get_backend(blocking=True)
    monkeypatch.setattr(type(backend), "server", server)
    stores.get(Board, CODE, "alice").dispatch(Board.note, "x" * 800)
    tally = tally_of(backend)
    tally.refuse("rejected")
    tally.fail(("ValueError", "board.move", "states.py:1"), backend.clock())
    event_bus.bus.publish(Note(ALICE, "resumed"))
    event_bus.bus.publish(Removal(ALICE, "idle"))
    stores.sweep()
    found: dict[str, set[str]] = {}
    text, _ = exposition(stores.stats())
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_each_query_names_metrics_and_labels_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = metrics(monkeypatch)
    seen: set[str] = set()
    for where, query in queries():
        names = METRIC.findall(query)
        assert names, (where, query)
        assert set(names) <= found.keys(), (where, query)
        seen.update(names)
        for name, selected in SELECTION.findall(query):
            labels = set(LABEL.findall(selected))
            assert labels <= found[name] | GIVEN, (where, query)
        for by in re.findall(r"\bby \(([\w, ]+)\)", query):
            labels = set(by.split(", "))
            assert labels <= set().union(*(found[name] for name in names)), query
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
    # All that is new of health is on the board.
    assert len(seen) > 15


def test_every_panel_has_a_title_a_unit_and_a_place_of_its_own() -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


def test_there_are_three_alerts_with_words_for_whoever_is_called() -> None:
    found = rules()
    assert len(found) == 3
    for rule in found:
        assert {"expr", "for", "severity", "summary", "description"} <= rule.keys()
        assert re.fullmatch(r"\d+m", rule["for"])
