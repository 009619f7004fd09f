"""The overview: its figures, its table, and what it costs to show them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, override_settings

import sessionstores
from sessionstores import StoreUnavailable, stores
from sessionstores.admin.views.overview import LAYOUT, MAX_TABS
from sessionstores.backends import get_backend
from sessionstores.backends.types import ServerInfo
from sessionstores.monitoring.health import Health
from sessionstores.monitoring.stats import Alert, Sample
from sessionstores.monitoring.sweeps import LastSweep, Sweep
from sessionstores.monitoring.workers import Worker
from sessionstores.sessions.autosweep import autosweep
from tests.staff import ALL, CODE, connect, fill, page, signed_in
from tests.trips import trips_of
from tests.workshop.states import Board

pytestmark = pytest.mark.django_db

OVERVIEW = "changelist"
STATIC = Path(sessionstores.__file__).parent / "static" / "sessionstores"


def text_of(response: Any) -> str:
    """Return what a response says, without markup and with single spaces."""
    text = re.sub(r"<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


def codes(response: Any) -> list[str]:
    """Return the codes of the rows, in their order."""
    return re.findall(r'<tr data-ss-key="(\w+)"', response.content.decode())


def test_one_line_shows_the_figures_and_what_is_technical_is_folded() -> None:
    fill("alice", "bob")
    response = signed_in("view_dashboard").get(page(OVERVIEW))
    text = text_of(response)
    stats = stores.stats()
    assert "1 session 0 of 2 people online" in text
    assert f"This process only (pid {stats.process.pid})" in text
    before, _, technical = response.content.decode().partition(
        '<details class="ss-card ss-fold" data-ss-remember="technical">'
    )
    # The list comes first, and no figure of a process before it.
    assert f'data-ss-key="{CODE}"' in before
    assert "ss-cards" not in before
    for folded in ("never", "None (kept in this process)", "Atomic", "Shared"):
        assert folded in technical
    assert "✓ yes: Atomic" in text
    assert "✗ no: Shared" in text


def test_figures_of_health_lead_to_their_page(monkeypatch: pytest.MonkeyPatch) -> None:
    fill("alice")
    client = signed_in("view_dashboard")
    stats = stores.stats()

    def shown(**figures: Any) -> str:
        health = Health(**figures)
        changed = msgspec.structs.replace(stats, health=health)
        monkeypatch.setattr(stores, "stats", lambda: changed)
        return client.get(page("live")).content.decode()

    well = shown(actions=60, actions_per_minute=1.0, p95=0.0042)
    assert "<b>1</b> action a minute" in well
    assert "<b>0</b> refused" in well
    assert "<b>4.2\N{NO-BREAK SPACE}ms</b>" in well
    assert f'href="{page("health")}"' in well
    assert f"{page('health')}#" not in well
    ill = shown(
        actions_per_minute=1.4,
        refused={"wrong_step": 3, "rejected": 1},
        errors=2,
        p95=2,
    )
    assert "<b>1.4</b> actions a minute" in ill
    assert f'<a href="{page("health")}#ss-refused"><b>4</b> refused</a>' in ill
    assert f'<a href="{page("health")}#ss-errors"><b>2</b> errors</a>' in ill
    assert f'<li class="ss-bad"><a href="{page("health")}">p95 <b>2' in ill


def test_a_site_without_sessions_shows_how_to_create_one() -> None:
    text = text_of(signed_in("view_dashboard").get(page(OVERVIEW)))
    assert "No session is live" in text
    assert "stores.create_session" in text


def test_lost_processes_lead_to_the_page_of_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    client = signed_in("view_dashboard")
    stats = stores.stats()
    assert "problem" not in text_of(client.get(page("live")))
    silent = Worker("web-1", 9, 3, stats.at, "1.0", None, None, stats.at - 61)
    changed = msgspec.structs.replace(stats, lost=(silent,))
    monkeypatch.setattr(stores, "stats", lambda: changed)
    response = client.get(page("live"))
    assert "1 problem" in text_of(response)
    link = f'<li class="ss-bad"><a href="{page("health")}">'
    assert link in response.content.decode()


def test_figures_of_a_server_a_sweep_and_warnings_are_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    stats = stores.stats()
    leaks = tuple(
        Alert("growing", f"It grows <i>{number}</i>.", "Look.", f"{CODE}:alice")
        for number in range(8)
    )
    series = tuple(
        Sample(stats.at - 30 * ago, 1, 9, ago % 7, 9, 5_000 + ago, None)
        for ago in range(100)
    )
    shown = msgspec.structs.replace(
        stats,
        scope="shared",
        server=ServerInfo("Valkey 9.1.2", 1 << 20, 2 << 20, 12, "allkeys-lru"),
        last_sweep=LastSweep(stats.at - 40, "web-1", Sweep(participants=3), 60.0),
        leaks=leaks,
        series=series,
    )
    monkeypatch.setattr(stores, "stats", lambda: shown)
    response = signed_in("view_dashboard").get(page(OVERVIEW))
    text = text_of(response)
    assert "All workers" in text
    assert "Valkey 9.1.2, of 2 MB, allkeys-lru, 12 evicted" in text
    assert "3 removed, web-1; next" in text
    assert "8 warnings" in text
    assert "and 2 more" in text
    assert "<i>0</i>" not in response.content.decode()
    assert f'href="{page("participant", CODE, "alice")}"' in response.content.decode()
    assert "Now 0 · peak 6 · low 0" in text
    # The first of them is read without unfolding.
    assert "8 warnings Growing: It grows &lt;i&gt;0&lt;/i&gt;." in text
    assert 'href="#ss-warnings"' in response.content.decode()


def test_the_hour_includes_what_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    fill("alice")
    stats = stores.stats()
    slot = stats.at // 30 * 30
    client = signed_in("view_dashboard")

    def text_with(now: int, *samples: int) -> str:
        series = tuple(
            Sample(slot - 60 + place, 1, 1, each, 1, 500, None)
            for place, each in enumerate(samples)
        )
        shown = msgspec.structs.replace(stats, online=now, series=series)
        monkeypatch.setattr(stores, "stats", lambda: shown)
        return text_of(client.get(page("live")))

    online = re.compile(r"Now (\d+) · peak (\d+) · low (\d+)( · peak at)?")
    assert online.findall(text_with(9, 2, 3))[0] == ("9", "9", "2", "")
    assert online.findall(text_with(0, 2, 3))[0] == ("0", "3", "0", " · peak at")
    assert "The first figures appear within a minute" in text_with(3)


def test_the_page_says_when_the_first_sweep_will_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = signed_in("view_dashboard")
    assert "never AUTO_SWEEP is off" in text_of(client.get(page(OVERVIEW)))
    with override_settings(SESSIONSTORES={"IDLE_TIMEOUT": 3_600}):
        text = text_of(client.get(page(OVERVIEW)))
        assert "never sweeping begins with the first session" in text
        try:
            fill("alice")
            text = text_of(client.get(page(OVERVIEW)))
        finally:
            autosweep().close()
        assert "never the first one within 15 min" in text


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([], "–"),
        ([2], "2"),
        ([3, 1, "2"], "1–3"),
        ([9, 10], "9–10"),
        (["vote", "sort"], "sort–vote"),
        ([2, "sort"], "2–sort"),
        ([True, [1], None, ""], "–"),
    ],
)
def test_a_session_shows_the_steps_of_its_open_tabs(
    told: list[Any], shown: str
) -> None:
    fill("alice", "bob")
    for number, step in enumerate(told):
        connect(("alice", "bob")[number % 2], number, step=step)
    connect("alice", 99)
    connect("gone", leaving=True, step=7)
    html = signed_in("view_dashboard").get(page(OVERVIEW)).content.decode()
    assert re.findall(r'<td class="ss-c-step"><bdi>(.*?)</bdi>', html) == [shown]


def test_an_outage_empties_the_page_that_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    client = signed_in(*ALL)
    before = client.get(page("live")).content.decode()
    assert "ss-table" in before
    assert CODE in before

    def fail() -> None:
        raise StoreUnavailable("It is away.")

    monkeypatch.setattr(stores, "stats", fail)
    part = client.get(page("live")).content.decode()
    assert part.count("data-ss-part=") == before.count("data-ss-part=")
    for name in ("sweep", "menu", "table", "scope", "details"):
        assert f'<div data-ss-part="ss-{name}"></div>' in part
    assert 'data-ss-trouble="The cache does not answer"' in part
    # What is opened now can go on when the cache is back.
    whole = client.get(page(OVERVIEW)).content.decode()
    assert '<div id="ss-table"></div>' in whole
    # The style hides the fold around what is empty.
    assert '<div id="ss-details"></div>' in whole


def test_the_table_is_searched_filtered_sorted_and_paged_by_its_address() -> None:
    client = signed_in("view_dashboard")
    made = [fill(label=f"Table {number:02}") for number in range(30)]
    stores.lock(made[3])
    for number, participant in ((5, "alice"), (5, "bob"), (7, "carol")):
        stores.get(Board, made[number], participant).dispatch(Board.clear)
    base = page(OVERVIEW)
    assert len(codes(client.get(base))) == 25
    second = client.get(base, {"p": "2"})
    assert len(codes(second)) == 5
    assert "26–30 of 30" in text_of(second)
    assert codes(client.get(base, {"q": "table 07"})) == [made[7]]
    assert codes(client.get(base, {"q": made[9].lower()})) == [made[9]]
    assert codes(client.get(base, {"show": "locked"})) == [made[3]]
    assert codes(client.get(base, {"o": "-people"}))[:2] == [made[5], made[7]]
    assert codes(client.get(base, {"o": "label", "n": "50"})) == made
    assert codes(client.get(base, {"o": "-label", "n": "50"})) == made[::-1]
    found = client.get(base, {"q": "Table 0"})
    assert "10 of 30 sessions match “Table 0” · Show all" in text_of(found)
    found = client.get(base, {"q": "Table 03", "show": "locked"})
    assert "1 of 30 sessions matches “Table 03” · Locked" in text_of(found)
    assert "1 of 30 sessions · Locked" in text_of(client.get(base, {"show": "locked"}))
    assert "ss-found" not in second.content.decode()
    nothing = client.get(base, {"q": "no such thing"})
    assert "No session matches." in text_of(nothing)
    assert "Show all" in text_of(nothing)


def test_each_link_of_the_list_leads_back_to_the_list() -> None:
    for number in range(30):
        fill(label=f"Table {number:02}")
    html = signed_in(*ALL).get(page(OVERVIEW), {"q": "t"}).content.decode()
    links = re.findall(r'href="(\?[^"]*)"', html)
    assert len(links) > 15
    assert all(link.endswith("#ss-list") for link in links)
    assert '<form class="ss-search" method="get" action="#ss-list"' in html
    assert 'id="ss-list"' in html


def test_the_table_knows_its_column_so_that_no_width_hides_it() -> None:
    fill("alice")
    client = signed_in("view_dashboard")
    sheet = (STATIC / "admin.css").read_text()
    hidden = set(re.findall(r"\.ss-c-(\w+)[^{}]*\{ display: none; \}", sheet))
    hidden |= set(re.findall(r"\.ss-c-(\w+),[^{}]*\{ display: none; \}", sheet))
    assert {"average", "created"} <= hidden
    for column in LAYOUT.columns:
        if column.key is not None and column.name in hidden:
            assert f".ss-table:not(.ss-by-{column.name}) .ss-c-{column.name}" in sheet
        asked = {"o": f"-{column.name}"} if column.key else {}
        html = client.get(page(OVERVIEW), asked).content.decode()
        by = column.name if column.key else "created"
        assert f'<table class="ss-table ss-by-{by}">' in html


def test_unknown_parameters_count_as_absent() -> None:
    client = signed_in("view_dashboard")
    fill("alice")
    given = {"p": "²", "n": "7", "o": "color", "show": "x", "q": " " * 200}
    assert codes(client.get(page(OVERVIEW), given)) == [CODE]
    assert codes(client.get(page(OVERVIEW), {"p": "99999999999"})) == [CODE]


def test_labels_are_escaped() -> None:
    fill(label='<script>alert(1)</script>"onload=')
    text = signed_in("view_dashboard").get(page(OVERVIEW)).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;onload=" in text


def test_the_fragment_is_unchanged_until_something_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What a process takes grows by a page of memory now and then.
    monkeypatch.setattr("sessionstores.monitoring.process.resident", lambda: 80_000_000)
    fill("alice")
    client = signed_in(*ALL)
    address = page("live")
    first = client.get(address)
    assert first.status_code == 200
    again = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again["X-Sessionstores-Staff"]
    fill("bob")
    third = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert third.status_code == 200
    assert "0 of 2 people online" in text_of(third)


def test_the_charts_stand_still_between_two_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("alice")
    client = signed_in("view_dashboard")
    stats = stores.stats()
    slot = stats.at // 30 * 30
    sampled = Sample(slot - 60, 1, 1, 1, 1, 500, None)
    seen = set()
    for seconds in (1, 2, 28):
        shown = msgspec.structs.replace(stats, at=slot + seconds, series=(sampled,))
        monkeypatch.setattr(stores, "stats", lambda shown=shown: shown)
        seen.add(client.get(page("live"))["ETag"])
    assert len(seen) == 1


def test_only_where_websockets_may_be_served_does_the_page_try_one() -> None:
    client = signed_in(*ALL)
    begin = '<script id="ss-live" type="application/json">'

    def config(response: Any) -> Any:
        text = response.content.decode().partition(begin)[2]
        return json.loads(text.partition("</script>")[0])

    assert config(client.get(page(OVERVIEW)))["socket"] == ""
    asgi = AsyncClient()
    asgi.force_login(User.objects.get())
    response = async_to_sync(asgi.get)(page(OVERVIEW))
    assert config(response)["socket"].startswith("/")


def test_the_fragment_shows_the_same_as_the_page() -> None:
    fill("alice")
    client = signed_in(*ALL)
    whole = client.get(page(OVERVIEW), {"q": "K7"}).content.decode()
    part = client.get(page("live"), {"q": "K7"}).content.decode()
    rows = re.search(r"<tbody.*?</tbody>", whole, re.DOTALL)
    assert rows
    assert rows[0] in part


def test_two_thousand_sessions_are_a_page_like_any_other() -> None:
    client = signed_in("view_dashboard")
    for number in range(2_000):
        stores.create_session(label=f"Table {number}")
    response = client.get(page(OVERVIEW), {"p": "40", "n": "50"})
    assert len(codes(response)) == 50
    assert "1,951–2,000 of 2,000" in text_of(response)
    assert len(response.content) < 200_000


@pytest.mark.usefixtures("redis_site")
@pytest.mark.parametrize(
    ("name", "arguments", "most"),
    [
        (OVERVIEW, (), 6),
        ("live", (), 6),
        ("health", (), 5),
        ("health_live", (), 5),
        ("session", (CODE,), 6),
        ("session_live", (CODE,), 6),
        ("participant", (CODE, "p0"), 4),
        ("participant_live", (CODE, "p0"), 4),
        ("participant", (CODE, "*"), 4),
        ("history", (CODE,), 1),
    ],
)
def test_a_page_asks_the_cache_as_often_however_many_participants_there_are(
    monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...], most: int
) -> None:
    client = signed_in(*ALL)
    trips = trips_of(get_backend(blocking=True), monkeypatch)
    counts = []
    for participants in (1, MAX_TABS, 2 * MAX_TABS):
        fill(*(f"p{number}" for number in range(participants)))
        for number in range(participants):
            connect(f"p{number}", step=number % 3 + 1)
        client.get(page(name, *arguments))
        trips.clear()
        assert client.get(page(name, *arguments)).status_code == 200
        counts.append(list(trips))
    assert counts[0] == counts[1]
    # Of a crowd, the overview does not ask for steps.
    assert len(counts[2]) <= len(counts[0]) <= most
