"""The script that every front end goes through: twenty steps with two participants.

After each step the server has of both what was done, no more and no less, and so has
every open tab: nobody's step shows on the other's board.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from playwright.async_api import (
    APIRequestContext,
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
)

from tests.faults.proxy import Proxy

from .pages import FRONT_ENDS, PATIENCE, BoardPage, Cards, FormsPage, HtmxPage

# Each way; 300 ms there and back.
DELAY = 0.15
# What a browser and htmx say of a line that is cut.
CUT = (
    "net::ERR_",
    "WebSocket is closed before",
    "WebSocket connection to",
    "htmx:afterRequest",
    "htmx:sendError",
    "Failed to fetch",
)


class Person:
    """A participant: a browser with tabs, behind a line of their own."""

    def __init__(
        self, play: Play, name: str, line: Proxy, context: BrowserContext
    ) -> None:
        self.play = play
        self.name = name
        self.line = line
        self.context = context
        self.cards = Cards()
        self.tabs: list[BoardPage] = []

    @property
    def tab(self) -> BoardPage:
        """The first tab."""
        return self.tabs[0]

    def url(self, path: str) -> str:
        """Return an address of the site, behind their line."""
        return f"http://127.0.0.1:{self.line.port}{path}"

    async def open(self, path: str) -> Page:
        """Open a tab."""
        page = await self.context.new_page()
        tab = self.play.kind(page)
        page.on("pageerror", lambda error: self.play.complaints.append(str(error)))
        page.on("console", self.play.note)
        self.tabs.append(tab)
        await page.goto(self.url(path))
        return page

    async def join(self, path: str) -> None:
        """Come to the board, by the page to join."""
        page = await self.open(f"{path}?code={self.play.code}&next={self.play.path}")
        await page.get_by_label("Your name").fill(self.name)
        await page.get_by_role("button", name="Join").click()
        await self.tab.expect_cards(self.cards)

    async def move(self, card: str, tab: BoardPage | None = None) -> None:
        """Move a card on: from the deck to what is kept, from pile to pile."""
        # Which may not be answered, as when a line is cut.
        await (tab or self.tab).card(card).click(no_wait_after=True)
        self.cards = self.cards.move(card)

    async def is_current(self) -> None:
        """Wait until each tab shows what was done."""
        for tab in self.tabs:
            await tab.refresh()
            await tab.expect_cards(self.cards)


class Play:
    """One front end, with its two participants."""

    def __init__(
        self,
        front_end: str,
        ports: tuple[int, int],
        browser: Browser,
        api: APIRequestContext,
    ) -> None:
        self.front_end = front_end
        self.kind = FRONT_ENDS[front_end]
        self.ports = ports
        self.browser = browser
        self.api = api
        self.complaints: list[str] = []

    @property
    def path(self) -> str:
        """The address of the board."""
        return f"/at/{self.front_end}/{self.code}/"

    def note(self, message: ConsoleMessage) -> None:
        """Remember what a browser complains of, but for lines that are cut."""
        is_cut = any(cut in message.text for cut in CUT)
        # Sites may have no icon, for which browsers ask unasked.
        is_icon = message.location["url"].endswith("/favicon.ico")
        if message.type in ("error", "warning") and not (is_cut or is_icon):
            self.complaints.append(message.text)

    async def fetch(self, path: str) -> Any:
        """Ask a worker, without a line between."""
        # It may close an idle connection just as it is used again.
        url = f"http://127.0.0.1:{self.ports[0]}{path}"
        return await self.api.get(url, max_retries=3)

    async def run(self) -> None:
        """Go through the script."""
        with ExitStack() as stack:
            self.code = await (await self.fetch("/start/")).text()
            options: dict[str, Any] = {"locale": "en-GB"}
            if self.kind is FormsPage:
                options["java_script_enabled"] = False
            for name, port in zip(("ada", "ben"), self.ports, strict=True):
                line = stack.enter_context(Proxy(port, delay=DELAY))
                context = await self.browser.new_context(**options)
                context.set_default_timeout(PATIENCE * 1_000)
                setattr(self, name, Person(self, name.capitalize(), line, context))
            try:
                for step in STEPS:
                    await self.take(step)
            finally:
                for person in (self.ada, self.ben):
                    await person.context.close()
        assert not self.complaints, self.complaints

    async def take(self, step: Step) -> None:
        """Take one step, unless it is declared not to be; then look at everything."""
        if step.__name__ in NOT_BY_NATURE.get(self.front_end, ()):
            return
        try:
            await step(self, self.ada, self.ben)
            await self.settle()
        except Exception as error:
            error.add_note(f"{self.front_end}: {step.__name__}")
            raise

    async def truth(self) -> dict[str, Cards]:
        """Return what the server has of everybody who is here."""
        here = [each.name for each in (self.ada, self.ben) if each.tabs]
        boards = await (await self.fetch(f"/truth/{self.code}/")).json()
        return {
            name: Cards(
                *(tuple(board[pile]) for pile in ("deck", "keep", "drop")),
                board["text"],
            )
            for name, board in boards.items()
            if name in here
        }

    async def settle(self) -> None:
        """Wait until the server and all tabs have what was done, and nothing else."""
        people = [each for each in (self.ada, self.ben) if each.tabs]
        expected = {each.name: each.cards for each in people}
        deadline = time.monotonic() + PATIENCE
        while (truth := await self.truth()) != expected:
            assert time.monotonic() < deadline, f"{truth} is not {expected}"
            await asyncio.sleep(0.05)
        for person in people:
            await person.is_current()

    ada: Person
    ben: Person
    code: str


Step = Callable[[Play, Person, Person], Awaitable[None]]


async def both_join_and_see_a_board_of_their_own(
    play: Play, ada: Person, ben: Person
) -> None:
    await asyncio.gather(ada.join("/lead/"), ben.join("/join/"))


async def they_see_each_other(play: Play, ada: Person, ben: Person) -> None:
    await ada.tab.refresh()
    await ada.tab.expect_others("Ben")
    await ben.tab.expect_others("Ada")


async def a_text_is_what_is_typed_at_every_key(
    play: Play, ada: Person, ben: Person
) -> None:
    text = "hello world"
    await ada.tab.type(text)
    ada.cards = ada.cards.write(text)
    await play.settle()
    if play.kind is not FormsPage:
        # Nor did an answer, however late, bring back what had stood there before.
        assert await ada.tab.seen() == [text[:end] for end in range(len(text) + 1)]


async def a_double_click_moves_one_card(play: Play, ada: Person, ben: Person) -> None:
    await ada.tab.card("ace").dblclick()
    ada.cards = ada.cards.move("ace")


async def cards_that_are_moved_fast_all_arrive(
    play: Play, ada: Person, ben: Person
) -> None:
    for card in ("king", "queen", "jack"):
        await ada.move(card)
        if not ada.tab.predicts:
            await ada.tab.expect_cards(ada.cards)


async def a_card_goes_there_and_back(play: Play, ada: Person, ben: Person) -> None:
    for card in ("queen", "jack", "queen"):
        await ada.move(card)
        await ada.tab.expect_cards(ada.cards)


async def a_move_shows_before_it_is_sent(play: Play, ada: Person, ben: Person) -> None:
    before = await play.truth()
    ada.line.hold(requests=True)
    await ada.move("ten")
    await ada.move("nine")
    await ada.tab.expect_cards(ada.cards)
    assert await play.truth() == before
    ada.line.hold()


async def a_second_tab_shows_the_same(play: Play, ada: Person, ben: Person) -> None:
    await ada.open(play.path)
    await ada.tabs[1].expect_cards(ada.cards)
    await ben.tab.refresh()
    await ben.tab.expect_others("Ada")


async def either_tab_follows_the_other(play: Play, ada: Person, ben: Person) -> None:
    await ada.move("queen", ada.tabs[1])
    await play.settle()
    await ada.move("king")


async def the_others_moves_stay_on_their_own_board(
    play: Play, ada: Person, ben: Person
) -> None:
    await ben.move("ace")
    await ben.tab.expect_cards(ben.cards)
    await ben.move("ace")
    await ben.tab.expect_cards(ben.cards)
    await ben.tab.type("mine")
    ben.cards = ben.cards.write("mine")


async def a_reload_keeps_it_all(play: Play, ada: Person, ben: Person) -> None:
    await ada.tab.page.reload()
    await ada.tab.expect_cards(ada.cards)


async def whoever_was_on_another_page_comes_back_to_what_is_now(
    play: Play, ada: Person, ben: Person
) -> None:
    await ada.tab.page.goto(ada.url("/gone/"))
    await ada.move("jack", ada.tabs[1])
    await ada.tabs[1].expect_cards(ada.cards)
    await ada.tab.page.go_back()


async def what_is_done_offline_is_done_once_they_are_back(
    play: Play, ada: Person, ben: Person
) -> None:
    before = await play.truth()
    await ada.context.set_offline(True)
    with ada.line.down():
        await ada.tab.expect_status("You are offline.")
        await ada.move("jack")
        await ada.move("ace")
        await ada.tab.type("!", before=ada.cards.text)
        ada.cards = ada.cards.write(f"{ada.cards.text}!")
        await ada.tab.expect_cards(ada.cards)
        assert await play.truth() == before
    await ada.context.set_offline(False)
    await ada.tab.expect_status("")


async def an_action_whose_answer_is_lost_is_done_once(
    play: Play, ada: Person, ben: Person
) -> None:
    ada.line.hold(replies=True)
    await ada.move("ace")
    deadline = time.monotonic() + PATIENCE
    while (await play.truth())["Ada"] != ada.cards:
        assert time.monotonic() < deadline, await play.truth()
        await asyncio.sleep(0.05)
    ada.line.abort()
    ada.line.hold()
    await ada.tab.revisit(ada.url(play.path))


async def another_worker_takes_over(play: Play, ada: Person, ben: Person) -> None:
    ada.line.target, ben.line.target = ben.line.target, ada.line.target
    ada.line.abort()
    ben.line.abort()
    await ada.tab.refresh()
    await ada.tab.expect_cards(ada.cards)
    if play.kind is HtmxPage:
        await ada.tab.expect_status("")
    await ada.move("queen")


async def who_may_not_is_told_so(play: Play, ada: Person, ben: Person) -> None:
    await ben.tab.advance()
    await ben.tab.expect_refusal("You may not do this.")
    await ben.tab.expect_step(1)


async def the_facilitators_step_reaches_everybody(
    play: Play, ada: Person, ben: Person
) -> None:
    await ada.tab.advance()
    for tab in (*ada.tabs, *ben.tabs):
        await tab.refresh()
        await tab.expect_step(2)


async def a_refused_move_says_why_and_is_taken_back(
    play: Play, ada: Person, ben: Person
) -> None:
    for person in (ben, ada):
        await person.tab.card("eight").click()
        await person.tab.expect_refusal("Sorting is over.")
        await person.tab.expect_cards(person.cards)


async def who_was_offline_meanwhile_sees_the_step_that_is_now(
    play: Play, ada: Person, ben: Person
) -> None:
    await ben.context.set_offline(True)
    with ben.line.down():
        await ada.tab.advance()
        await ada.tab.refresh()
        await ada.tab.expect_step(3)
    await ben.context.set_offline(False)
    await ben.tab.refresh()
    await ben.tab.expect_step(3)


async def who_leaves_is_gone_for_the_other(
    play: Play, ada: Person, ben: Person
) -> None:
    await ada.tabs.pop().page.close()
    await ada.tab.leave()
    ada.tabs.clear()
    await ben.tab.refresh()
    await ben.tab.expect_others()


STEPS: list[Step] = [
    both_join_and_see_a_board_of_their_own,
    they_see_each_other,
    a_text_is_what_is_typed_at_every_key,
    a_double_click_moves_one_card,
    cards_that_are_moved_fast_all_arrive,
    a_card_goes_there_and_back,
    a_move_shows_before_it_is_sent,
    a_second_tab_shows_the_same,
    either_tab_follows_the_other,
    the_others_moves_stay_on_their_own_board,
    a_reload_keeps_it_all,
    whoever_was_on_another_page_comes_back_to_what_is_now,
    what_is_done_offline_is_done_once_they_are_back,
    an_action_whose_answer_is_lost_is_done_once,
    another_worker_takes_over,
    who_may_not_is_told_so,
    the_facilitators_step_reaches_everybody,
    a_refused_move_says_why_and_is_taken_back,
    who_was_offline_meanwhile_sees_the_step_that_is_now,
    who_leaves_is_gone_for_the_other,
]
# The steps that a front end cannot have, and why.
RENDERED_BY_THE_SERVER = {
    "a_move_shows_before_it_is_sent": (
        "what is shown is rendered by the server, so nothing is before its answer"
    ),
    "what_is_done_offline_is_done_once_they_are_back": (
        "a form is sent when its button is pressed, or not at all"
    ),
}
NOT_BY_NATURE: dict[str, dict[str, str]] = {
    "htmx2": RENDERED_BY_THE_SERVER,
    "htmx4": RENDERED_BY_THE_SERVER,
    "forms": RENDERED_BY_THE_SERVER,
}
