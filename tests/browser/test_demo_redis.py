"""The workshop on two workers, one of which is killed, and a server that is emptied."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import BoardView
from tests.browser.conftest import Open
from tests.demo_redis_process import DemoRedisProcess

WORKER = re.compile(r"worker \d")
# A beat to notice it, and as long for each of the tries to come back.
HEALED = 15_000


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoRedisProcess]:
    process = DemoRedisProcess("--port", "0", temporary=tmp_path)
    yield process
    code = process.stop()
    sys.stdout.write(process.output)
    assert "Traceback" not in process.output
    assert code == 0


def neighbours(page: Page) -> tuple[BoardView, BoardView]:
    """Return the boards of Ada and Ben, both live."""
    ada, ben = (BoardView.framed(page, f"{name}’s board") for name in ("Ada", "Ben"))
    for board in (ada, ben):
        board.expect_live()
        expect(board.root.locator("#worker")).to_have_text(WORKER)
    return ada, ben


def worker_of(board: BoardView) -> str:
    return board.root.locator("#worker").inner_text()


def test_neighbours_at_two_workers_outlive_the_end_of_one(
    demo: DemoRedisProcess, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = neighbours(page)
    assert {worker_of(ada), worker_of(ben)} == {"worker 1", "worker 2"}
    ada.move("Team lunch", "start")
    ben.move("Team lunch", "leave")
    for board in (ada, ben):
        board.expect_saved()
    # What the one worker does shows on tabs at the other.
    page.get_by_role("button", name="Next step", exact=True).click()
    for board in (ada, ben):
        expect(board.root.locator("#steps [aria-current]")).to_contain_text("Choose")
    page.get_by_role("button", name="Back", exact=True).click()

    lost, left = worker_of(ben), worker_of(ada)
    page.get_by_role("button", name=f"Kill {lost}", exact=True).click()
    expect(page.locator("#said")).to_have_text(f"{lost.capitalize()} was killed.")
    expect(ben.root.locator("#worker")).to_have_text(left, timeout=HEALED)
    ben.expect_live()
    ben.move("Fewer tools", "later")
    ben.expect_cards("leave", "Team lunch")
    ben.expect_cards("later", "Fewer tools")
    ada.expect_cards("start", "Team lunch")
    ada.expect_cards("later")
    again = page.get_by_role("button", name=f"Kill {lost}", exact=True)
    expect(again).to_be_enabled(timeout=HEALED)
    assert f"{lost.capitalize()} has ended (SIGKILL)" in demo.output


def test_a_flushed_server_is_told_and_the_page_heals(
    demo: DemoRedisProcess, open_page: Open
) -> None:
    page = open_page(demo.url("All in one page"))
    ada, ben = neighbours(page)
    ada.move("Team lunch", "start")
    ben.move("Fewer tools", "leave")
    for board in (ada, ben):
        board.expect_saved()
    page.get_by_role("button", name="Flush the server", exact=True).click()
    expect(page.locator("#said")).to_have_text("The server is empty now.")
    for board in (ada, ben):
        alert = board.root.get_by_role("alert")
        expect(alert).to_contain_text("What you saw here was reset.", timeout=HEALED)
        expect(board.cards_in("pool")).to_have_count(12)
        board.expect_live()
    ada.move("Team lunch", "later")
    ada.expect_cards("later", "Team lunch")
    standing = page.locator('.standings [data-person="ada"]')
    expect(standing).to_contain_text("1 of 12", timeout=HEALED)
