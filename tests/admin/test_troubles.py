"""Troubles of a site, as every page of figures counts them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sessionstores import Health, Worker, stores
from sessionstores.admin.troubles import other_troubles, troubles
from tests.admin.views.test_overview import text_of
from tests.staff import page, signed_in


def figures(**changes: Any) -> Any:
    return msgspec.structs.replace(stores.stats(), **changes)


def test_the_overview_says_what_none_of_its_figures_does(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = stores.stats().at
    stuck = Worker("web-1", 9, 3, now - 90, "1.0", 0.25, 90 << 20, now - 41)
    client = signed_in("view_dashboard")
    for shown, text in (
        (figures(health=Health(dropped=3)), "1 problem Health"),
        (figures(health=Health(dropped=1), workers=(stuck,)), "2 problems Health"),
        # They have figures of their own.
        (figures(health=Health(errors=3, actions=9, p95=9.0)), "p95 9 s Health"),
    ):
        monkeypatch.setattr(stores, "stats", lambda shown=shown: shown)
        assert text in text_of(client.get(page("changelist")))


def test_the_worst_comes_first() -> None:
    now = stores.stats().at
    busy = Worker("web-1", 9, 3, now - 90, "1.0", 0.99, 90 << 20, now)
    shown = figures(health=Health(errors=1, dropped=3), workers=(busy,))
    assert [each.kind for each in troubles(shown)] == ["bad", "bad", "near"]
    assert [each.kind for each in other_troubles(shown)] == ["bad", "near"]
