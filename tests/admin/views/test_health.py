"""The health page: what it finds wrong, and whom it names."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from django.test import Client, override_settings

from sessionstores import ErrorReport, Health, Worker, stores
from sessionstores.monitoring.stats import Alert, Sample
from tests.admin.views.test_overview import text_of
from tests.staff import CODE, fill, page, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return signed_in("view_dashboard")


def show(monkeypatch: pytest.MonkeyPatch, **figures: Any) -> None:
    """Let the pages show these figures in place of those that they would gather."""
    shown = msgspec.structs.replace(stores.stats(), **figures)
    monkeypatch.setattr(stores, "stats", lambda: shown)


def worker(pid: int = 7, **changes: Any) -> Worker:
    at = stores.stats().at
    plain = Worker("web-1", pid, 3, at - 90, "1.0", 0.25, 90 << 20, at)
    return msgspec.structs.replace(plain, **changes)


def test_a_site_on_which_nothing_is_wrong_is_told_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, workers=(worker(),))
    text = text_of(client.get(page("health")))
    assert "✓ All is well There was no action in the last hour." in text
    show(monkeypatch, workers=(worker(),), health=Health(actions=9, p95=0.004))
    text = text_of(client.get(page("health")))
    assert "✓ All is well Nothing failed, nothing is slow, and every process" in text


@pytest.mark.parametrize(
    ("figures", "finding"),
    [
        ({"errors": 1}, "1 error in the last hour."),
        ({"actions": 9, "p95": 0.2}, "5 of 100 actions take over 200 ms; SLOW_"),
        ({"actions": 9, "conflicts": 2}, "2 commits had to be tried again"),
        ({"dropped": 3}, "The channel layer did not take 3 messages"),
    ],
)
def test_what_is_wrong_comes_first_with_what_to_do(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    figures: dict[str, Any],
    finding: str,
) -> None:
    show(monkeypatch, workers=(worker(),), health=Health(**figures))
    text = text_of(client.get(page("health")))
    assert "All is well" not in text
    assert 0 < text.index(finding) < text.index("Actions a minute")


def test_few_conflicts_are_usual(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health(actions=100, conflicts=20)
    show(monkeypatch, workers=(worker(),), health=health)
    assert "All is well" in text_of(client.get(page("health")))


def test_processes_are_listed_and_those_that_are_busy_or_late_are_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, process = stores.stats().at, stores.stats().process
    mine = worker(process.pid, host=process.host, load=None, rss=None, version="1.0")
    busy = worker(8, load=0.93, version="0.9")
    late = worker(9, seen=at - 41)
    # Without tabs, it is heard of only when it acts, and nobody waits for it.
    wsgi = worker(10, seen=at - 29, tabs=0, load=0.99)
    show(monkeypatch, workers=(mine, busy, late, wsgi))
    response = client.get(page("health"))
    text = text_of(response)
    assert "web-1:8 is busy: it uses 93 % of a core." in text
    assert "web-1:9 has not been heard of for 41 s." in text
    assert "Processes run different releases: 0.9, 1.0." in text
    table = text.partition("Processes 4")[2].partition("Over time")[0]
    assert f"{process.host} this page {process.pid} 3 –" in table
    assert "web-1 8 3 93 % busy 90 MB" in table
    assert "web-1:10" not in text
    assert re.search(r"web-1 9 3 25 % 90 MB [\d:]+ late", table)
    with override_settings(SESSIONSTORES={"HEARTBEAT": 30, "PRESENCE_LEASE": 90}):
        assert "not been heard of" not in text_of(client.get(page("health")))


def test_a_process_that_fell_silent_with_open_tabs_is_named_after_its_lease(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = worker(9, seen=stores.stats().at - 61)
    show(monkeypatch, workers=(worker(8),), lost=(silent,))
    text = text_of(client.get(page("health")))
    assert (
        "web-1:9, which had 3 tabs open, has not been heard of for 1 min. It was "
        "killed, or hangs." in text
    )
    assert "All is well" not in text


def test_errors_are_shown_by_type_action_and_line_and_never_with_their_text(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = stores.stats().at
    reports = (
        ErrorReport(at - 4, "KeyError", "board.move", "workshop/states.py:41", 1_205),
        ErrorReport(at - 9, "Odd<b>", "", "", 1),
    )
    show(monkeypatch, errors=reports, health=Health(errors=6))
    response = client.get(page("health"))
    text = text_of(response)
    assert "KeyError board.move board.move workshop/states.py:41 1,205" in text
    assert "Odd&lt;b&gt;" in response.content.decode()
    assert "Their texts are in the log only" in text


def test_refusals_are_counted_by_code_with_what_people_were_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"conflict": 1, "too_late": 12}
    show(monkeypatch, health=Health(refused=refused))
    text = text_of(client.get(page("health")))
    table = text.partition("Refused, by code")[2]
    assert "too_late 12 the text of the site’s action conflict 1 Others were" in table
    assert "Refused 13" in text


def test_charts_show_the_hour_or_the_day_with_values_at_their_axes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = stores.stats().at // 900 * 900

    def samples(step: int, actions: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(
                at - (9 - number) * step, 1, 1, 1, 1, 1, None, actions, 2, 0, 0.001, p95
            )
            for number, p95 in enumerate((None, *[0.03] * 9))
        )

    show(
        monkeypatch,
        series=samples(30, 60),
        day=samples(900, 150),
        health=Health(actions_per_minute=120),
    )
    hour = text_of(client.get(page("health")))
    assert "last 60 minutes 200 100 0 −60 min −30 min now Now 120" in hour
    assert "Latency, p95 last 60 minutes 50 ms" not in hour
    assert "Latency, p95 last 60 minutes 40 ms 20 ms 0 ms" in hour
    assert "Refused, in 30 s last 60 minutes 2 1 0" in hour
    day = text_of(client.get(page("health_live"), {"range": "day"}))
    assert "Refused, in 15 min last 24 hours 2 1 0 −24 h −12 h now" in day
    # 150 in 15 minutes.
    assert "Now 120 · peak 120 · low 10" in day
    assert 'href="?range=day#ss-history" aria-current="true"' in (
        client.get(page("health"), {"range": "day"}).content.decode()
    )
    assert "last 60 minutes" in text_of(client.get(page("health"), {"range": "²"}))


def test_warnings_lead_to_the_sessions_that_they_are_about(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("alice")
    leaks = tuple(
        Alert("slow", f"It took {number} s.", "Look.", f"{CODE}:alice")
        for number in range(8)
    )
    show(monkeypatch, leaks=leaks)
    html = client.get(page("health")).content.decode()
    assert html.count(f'href="{page("participant", CODE, "alice")}"') == 6
    assert f"{page('changelist')}?show=leaking#ss-list" in html
    assert "and 2 more:" in html


def test_the_fragment_is_unchanged_until_something_changes(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, workers=(worker(),))
    first = client.get(page("health_live"))
    assert first.status_code == 200
    known = {"If-None-Match": first["ETag"]}
    assert client.get(page("health_live"), headers=known).status_code == 304
    show(monkeypatch, workers=(worker(),), health=Health(errors=1))
    assert client.get(page("health_live"), headers=known).status_code == 200
