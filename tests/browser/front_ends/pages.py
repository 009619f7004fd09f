"""Page objects: one tab of a board, for each front end the same to the script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from playwright.async_api import Error, Locator, Page, expect

from .states import DECK

# Seconds to wait for anything: several people use one machine, which may be busy.
PATIENCE = 60.0

# Notes each value that a field has, as often as a person could see one.
WATCH_FIELD = """(field) => {
  window.seen = [field.value];
  const look = () => {
    if (window.seen.at(-1) !== field.value) window.seen.push(field.value);
  };
  field.addEventListener("input", look);
  setInterval(look, 5);
}"""
# Between two keys of somebody who types well.
KEY_SECONDS = 0.08


@dataclass(frozen=True)
class Cards:
    """What a board shows, or should: the cards of each pile, and the notes."""

    deck: tuple[str, ...] = DECK
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    text: str = ""

    def move(self, card: str) -> Cards:
        """Return it with a card where its button leads: at the end of a pile."""
        pile = "drop" if card in self.keep else "keep"
        piles = {
            name: tuple(each for each in getattr(self, name) if each != card)
            for name in ("deck", "keep", "drop")
        }
        return replace(self, **{**piles, pile: (*piles[pile], card)})

    def write(self, text: str) -> Cards:
        """Return it with other notes."""
        return replace(self, text=text)


@dataclass
class BoardPage:
    """A tab with React, Vue or Svelte: it predicts, and follows by itself."""

    page: Page
    predicts = True
    others_at = "#others li"
    text_at = "textarea"

    def card(self, card: str) -> Locator:
        """Return the button that moves a card."""
        return self.page.get_by_role("button", name=card, exact=True)

    async def expect_cards(self, cards: Cards) -> None:
        """Wait until the page shows these."""
        for name in ("deck", "keep", "drop"):
            shown = self.page.locator(f"#{name} button")
            await expect(shown).to_have_text(list(getattr(cards, name)))
        await self.expect_text(cards.text)

    async def expect_text(self, text: str) -> None:
        """Wait until the page shows these notes."""
        await expect(self.page.locator(self.text_at)).to_have_value(text)

    async def expect_others(self, *names: str) -> None:
        """Wait until these are the others who are here."""
        await expect(self.page.locator(self.others_at)).to_have_text(list(names))

    async def expect_step(self, number: int) -> None:
        """Wait until the session is seen at that step."""
        await expect(self.page.locator("#step")).to_have_text(str(number))

    async def expect_refusal(self, text: str) -> None:
        """Wait until the page says why something was refused."""
        alert = self.page.get_by_role("alert").filter(has_text=text)
        await expect(alert.first).to_be_visible()

    async def expect_status(self, text: str) -> None:
        """Wait until the page says that of its connection, or nothing."""
        status = self.page.get_by_role("status")
        await (
            expect(status).to_contain_text(text)
            if text
            else expect(status).to_be_empty()
        )

    @property
    def notes(self) -> Locator:
        """The field in which notes are written."""
        return self.page.get_by_label("Notes")

    async def type(self, text: str, *, before: str = "") -> list[str]:
        """Type behind what stands there, which grows by each key; return all seen."""
        await self.notes.evaluate(WATCH_FIELD)
        await self.notes.focus()
        await self.page.keyboard.press("Control+End")
        for typed in range(1, len(text) + 1):
            await self.page.keyboard.press(text[typed - 1])
            assert await self.notes.input_value() == before + text[:typed]
            await asyncio.sleep(KEY_SECONDS)
        return await self.seen()

    async def seen(self) -> list[str]:
        """Return all values that the field has had since somebody began to type."""
        seen: list[str] = await self.page.evaluate("window.seen")
        return seen

    async def advance(self) -> None:
        """Ask for the session's next step."""
        await self.page.get_by_role("button", name="Next step", exact=True).click()

    async def leave(self) -> None:
        """Leave the session, and wait until the page says so."""
        await self.page.get_by_role("button", name="Leave", exact=True).click()
        await self.expect_status("You have left this session.")

    async def refresh(self) -> None:
        """Do what shows the newest state: nothing, here."""

    async def revisit(self, url: str) -> None:
        """Do what brings the page back after a lost answer: nothing, here."""


class ReactPage(BoardPage):
    """As the guide has it: others in the header."""

    others_at = "header li"


class HtmxPage(BoardPage):
    """Boosted forms in a fragment that is fetched anew, and notes beside it."""

    predicts = False
    text_at = "#text"

    async def expect_text(self, text: str) -> None:
        """See `BoardPage.expect_text`."""
        await expect(self.page.locator(self.text_at)).to_have_text(text)

    async def leave(self) -> None:
        """See `BoardPage.leave`; here by a form."""
        await self.page.get_by_role("button", name="Leave", exact=True).click()
        await expect(self.page.get_by_role("heading")).to_have_text("Gone")


class FormsPage(HtmxPage):
    """Forms, without scripts: a page shows what was when it was loaded."""

    @property
    def notes(self) -> Locator:
        """See `BoardPage.notes`."""
        return self.page.get_by_label("Text")

    async def type(self, text: str, *, before: str = "") -> list[str]:
        """Type what there was and the text, and send it: only then does it count."""
        await self.notes.fill(before)
        await self.notes.press_sequentially(text)
        assert await self.notes.input_value() == before + text
        await self.page.get_by_role("button", name="Save", exact=True).click()
        await self.expect_text(before + text)
        return []

    async def refresh(self) -> None:
        """Load the page anew."""
        await self._load(self.page.reload)

    async def revisit(self, url: str) -> None:
        """See `BoardPage.revisit`; here, the line took the page away."""
        await self._load(partial(self.page.goto, url))

    async def _load(self, load: Callable[[], Awaitable[object]]) -> None:
        """Load a page, after what a button has begun."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await load()
                return
            except Error:
                # Another page came first.
                if time.monotonic() > deadline:
                    raise


FRONT_ENDS: dict[str, type[BoardPage]] = {
    "react": ReactPage,
    "vue": BoardPage,
    "svelte": BoardPage,
    "htmx2": HtmxPage,
    "htmx4": HtmxPage,
    "forms": FormsPage,
}
