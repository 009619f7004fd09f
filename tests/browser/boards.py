"""What a person sees of a board and does with it."""

from __future__ import annotations

import time

from playwright.sync_api import FloatRect, FrameLocator, Locator, Page, expect

from tests.demo_process import PATIENCE

# The first of two frames may have begun before what it is to show.
DRAWN = """() => new Promise((drawn) =>
    requestAnimationFrame(() => requestAnimationFrame(drawn)))"""


def place_of(element: Locator) -> FloatRect:
    """Return where an element is, once it has been drawn twice at one place."""
    deadline = time.monotonic() + PATIENCE
    before = None
    while True:
        place = element.bounding_box()
        if place is not None and place == before:
            return place
        assert time.monotonic() < deadline, f"{element} does not come to rest"
        before = place
        element.page.evaluate(DRAWN)


class BoardView:
    """One board, in a page of its own or in a frame."""

    def __init__(self, root: Page | FrameLocator) -> None:
        self.root = root

    @classmethod
    def framed(cls, page: Page, title: str) -> BoardView:
        return cls(page.frame_locator(f'iframe[title="{title}"]'))

    def card(self, title: str) -> Locator:
        return self.root.get_by_role("button", name=title, exact=True)

    def zone(self, name: str) -> Locator:
        return self.root.locator(f'[data-zone="{name}"]')

    def cards_in(self, zone: str) -> Locator:
        return self.zone(zone).locator(".card")

    def move(self, title: str, zone: str) -> None:
        """Tap a card, then a place."""
        self.card(title).click()
        self.zone(zone).locator(".put").click()

    def expect_live(self) -> None:
        expect(self.root.locator("#status")).to_have_text("Live")

    def expect_saved(self) -> None:
        """Wait until the server has answered all moves, which show before.

        Else a step that somebody takes elsewhere may overtake them: they come too late.
        """
        expect(self.root.locator("[data-waiting]")).to_have_count(0)

    def expect_cards(self, zone: str, *titles: str) -> None:
        expect(self.cards_in(zone)).to_have_text(list(titles))
