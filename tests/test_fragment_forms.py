"""Forms that htmx sends over the WebSocket of a page's fragments."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from html import unescape
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers
from django.middleware.csrf import _does_token_match as does_token_match
from django.template import engines
from django.test import RequestFactory, override_settings

from sessionstores.action_forms.sent import SENT
from sessionstores.backends import get_backend
from sessionstores.fragments import FragmentConsumer
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.realtime.hub import hubs
from sessionstores.realtime.protocol import Close
from sessionstores.state.declaration import registry
from tests.action_forms.states import Kinds, Shared
from tests.action_forms.test_form import LEFT_OUT, REFUSED, TABLE, Controls
from tests.fragment_pages import (
    SETTINGS,
    FragmentPage,
    OpenPage,
    cookie_of,
    opening_pages,
    routed,
)
from tests.sockets import CODE

# As each version sends it, beside the values.
ENVELOPES = {2: {"HEADERS": {"HX-Request": "true"}}, 4: {"headers": {"HX-Request": ""}}}
ATTRIBUTES = {2: "ws-send", 4: "hx-ws:send"}


class LogFragments(FragmentConsumer):
    template_name = "board.html"
    states = (Kinds, Shared)

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        log = [context["kinds"].got, context["shared"].log]
        return {**context, "board": {"notes": json.dumps(log)}}


@pytest.fixture(autouse=True)
async def empty() -> AsyncIterator[None]:
    with override_settings(**SETTINGS):
        await get_backend(blocking=False).clear()
        channel_layers.set("default", InMemoryChannelLayer())
        yield
    assert not hubs


@pytest.fixture(autouse=True)
def _declared(empty: None) -> Iterator[None]:
    with registry.isolated(Kinds, Shared):
        yield


@pytest.fixture
async def open_page(_declared: None) -> AsyncIterator[OpenPage]:
    """Opens pages of participants, that have shown their first fragment."""
    async with opening_pages() as opened:

        async def open_page(id: str = "alice", **given: Any) -> FragmentPage:
            page: FragmentPage = await opened(id, routed(LogFragments), **given)
            await page.shown()
            return page

        yield open_page


def written(tag: str, id: str = "alice") -> str:
    """Return what the tag writes into that participant's page."""
    request: Any = RequestFactory().get("/board/")
    request.participant = Participant(CODE, id)
    source = "{% load sessionstores %}{% sessionstores_form " + tag + " %}"
    return str(engines["django"].from_string(source).render({}, request))


def values_of(form: str) -> dict[str, str]:
    """Return what a browser sends of a form as it is shown."""
    return {
        attrs["name"]: attrs.get("value", "")
        for attrs in Controls(form).of("input")
        if attrs.get("type") != "checkbox"
    }


def element(form: str) -> dict[str, Any]:
    (found,) = Controls(form).of("form")
    return found


async def send(page: FragmentPage, form: str, version: int, **typed: Any) -> None:
    values = {**values_of(form), **typed, **ENVELOPES[version]}
    await page.say(json.dumps({k: v for k, v in values.items() if v is not LEFT_OUT}))


async def answers(page: FragmentPage, count: int = 1) -> tuple[str, list[str]]:
    """Return the answer to a form, and the fragments that come before and after."""
    form, fragments = "", []
    while not form or len(fragments) < count:
        text = await page.shown()
        if text.startswith("<form"):
            form = text
        else:
            fragments.append(text)
    return form, fragments


class FormFragments(LogFragments):
    template_name = "form.html"


FORM = (
    "{% load sessionstores %}{{ shared.log }}{% sessionstores_form 'shared' 'write' %}"
)


async def test_a_form_in_a_fragment_is_the_pages_own() -> None:
    cookie, secret = await cookie_of("alice"), "s" * 32
    templates: Any = deepcopy(SETTINGS["TEMPLATES"])
    templates[0]["OPTIONS"]["loaders"][0][1]["form.html"] = FORM
    with override_settings(TEMPLATES=templates):
        page = FragmentPage(f"{cookie}; csrftoken={secret}", routed(FormFragments))
        await page.open()
        shown = [await page.shown()]
        await stores.get(Shared, CODE).adispatch(lambda each: each.log.append("a"))
        shown.append(await page.shown())
        await page.drop()
    for each in shown:
        values = values_of(each)
        # By POST, it comes back to the page that it is in.
        assert "ss_next" not in values
        assert does_token_match(values["csrfmiddlewaretoken"], secret)
        assert element(each)["action"] == f"/join/act/{CODE}/shared/write/"
    first, second = (
        [each["id"] for each in Controls(html).of("input") if "id" in each]
        for html in shown
    )
    assert first == second == ["ss-shared-write-text"]


@pytest.mark.parametrize("version", [2, 4])
async def test_a_form_is_done_and_shown_as_it_was(
    open_page: OpenPage, version: int
) -> None:
    page, other = await open_page("alice"), await open_page("bob")
    form = written(f'"shared" "write" label="Go & see" htmx={version}')
    given = element(form)
    assert ATTRIBUTES[version] in given
    assert "hx-swap-oob" not in given
    await send(page, form, version, text="hello")
    answer, fragments = await answers(page)
    assert '["alice: hello"]' in unescape(fragments[-1])
    assert '["alice: hello"]' in unescape(await other.shown())
    shown = element(answer)
    assert shown.pop("hx-swap-oob") == "true"
    assert shown == given
    # Only what no value is of is new: the token, whose mask is drawn each time.
    again, before = values_of(answer), values_of(form)
    for values in (again, before):
        values.pop("csrfmiddlewaretoken")
    assert again == before
    assert "Go &amp; see" in answer
    # It can be sent again.
    await send(page, answer, version, text="again")
    _, fragments = await answers(page)
    assert '["alice: hello", "alice: again"]' in unescape(fragments[-1])


async def test_a_form_is_shown_with_what_is_wrong_at_its_field(
    open_page: OpenPage,
) -> None:
    page = await open_page()
    form = written('"kinds" "few" htmx=4')
    await send(page, form, 4, value="12")
    answer, _ = await answers(page, 0)
    (control,) = [each for each in Controls(answer).of("input") if "value" in each][-1:]
    assert (control["value"], control["aria-invalid"]) == ("12", "true")
    assert control["id"] == f"{element(form)['id']}-value"
    assert "less than or equal to 9" in answer
    await send(page, answer, 4, value="7")
    answer, fragments = await answers(page)
    assert "[[7], []]" in fragments[-1]
    assert "aria-invalid" not in answer


async def test_what_a_form_is_refused_or_fails_on_is_counted_once(
    open_page: OpenPage,
) -> None:
    page = await open_page()
    for tag, typed in (
        ('"kinds" "few"', {"value": "12"}),
        ('"kinds" "full"', {"value": "a"}),
        ('"shared" "wipe"', {}),
        ('"kinds" "breaks"', {}),
    ):
        await send(page, written(f"{tag} htmx=4"), 4, **typed)
        await answers(page, 0)
    health = (await stores.astats()).health
    assert health.refused == {"invalid_arguments": 1, "full": 1, "forbidden": 1}
    assert (health.actions, health.errors) == (2, 1)


REFUSALS = {
    "by the action": ('"kinds" "full"', {"value": "a"}, "<No> a, alice."),
    "for the role": ('"shared" "wipe"', {}, "may not"),
    "with an error": ('"kinds" "breaks"', {}, "Something went wrong on the server"),
}


@pytest.mark.parametrize("how", REFUSALS)
async def test_what_is_refused_is_told_in_the_form(
    open_page: OpenPage, how: str
) -> None:
    tag, typed, told = REFUSALS[how]
    page = await open_page()
    await send(page, written(f"{tag} htmx=2"), 2, **typed)
    answer, _ = await answers(page, 0)
    alert = answer.partition('role="alert"')[2]
    assert told in unescape(alert)
    kept = await stores.get(Kinds, CODE, "alice").apeek()
    assert kept is not None
    assert kept.state.got == []


# Browsers send what the table has; what is left out is not sent either.
ROWS = [
    (name, value, made)
    for name, _, _, values in TABLE
    for value, made in values.items()
]


@pytest.mark.parametrize("part", range(4))
async def test_arguments_are_judged_as_those_of_a_post(
    open_page: OpenPage, part: int
) -> None:
    with override_settings(SESSIONSTORES={"RATE_LIMIT": None}):
        page = await open_page("bob")
        got: list[Any] = []
        for name, value, made in ROWS[part::4]:
            await send(page, written(f'"kinds" "{name}" htmx=2', "bob"), 2, value=value)
            answer = ""
            while not answer.startswith("<form"):
                answer = await page.shown()
            refused = "errorlist" in answer
            assert refused == (made is REFUSED), (name, value, answer)
            got += [] if refused else [made]
        kept = await stores.get(Kinds, CODE, "bob").apeek()
    assert kept is not None
    assert len(kept.state.got) == len(got)


async def test_more_than_the_rate_is_refused_in_the_form(open_page: OpenPage) -> None:
    with override_settings(SESSIONSTORES={"RATE_LIMIT": (0.001, 2)}):
        page = await open_page()
        form = written('"kinds" "nothing" htmx=4')
        for _ in range(2):
            await send(page, form, 4)
            await answers(page)
        await send(page, form, 4)
        answer, _ = await answers(page, 0)
    assert "That was too fast" in answer


async def test_an_action_that_there_is_no_more_is_told(open_page: OpenPage) -> None:
    page = await open_page()
    values = values_of(written('"kinds" "nothing" htmx=4'))
    values[SENT] = values[SENT].replace('"nothing"', '"gone"')
    await page.say(json.dumps(values))
    shown = await page.shown()
    assert shown.startswith('<p id="ss-kinds-nothing" hx-swap-oob="true" role="alert">')
    assert "Reload" in shown


NO_FORMS = [
    "",
    "null",
    "[]",
    "{}",
    "[" * 5000,
    '{"ss_form": 7}',
    '{"ss_form": "{}"}',
    json.dumps({SENT: json.dumps({"state": "kinds", "action": "nothing"})}),
    json.dumps(
        {
            SENT: json.dumps(
                {
                    "state": "kinds",
                    "action": "nothing",
                    "id": '"><script>',
                    "label": "",
                    "htmx": 4,
                }
            )
        }
    ),
    "\ud800",
    "x" * 70_000,
]


async def test_what_is_no_form_changes_nothing_and_is_borne_for_a_while(
    open_page: OpenPage,
) -> None:
    page = await open_page()
    for text in NO_FORMS:
        await page.say(text)
    await send(page, written('"kinds" "nothing" htmx=4'), 4)
    _, (fragment,) = await answers(page)
    assert '[["done"], []]' in unescape(fragment)
    for _ in range(30):
        await page.say("nonsense")
    assert "ss-closed" in await page.shown()
    assert await page.closed() == Close.TOO_MANY_BAD_FRAMES


async def test_who_was_kicked_meanwhile_changes_nothing(open_page: OpenPage) -> None:
    page = await open_page()
    form = written('"shared" "write" htmx=4')
    # The hint is lost, so that the form comes in first.
    process, hub = hubs.popitem()
    await stores.akick(CODE, "alice")
    hubs[process] = hub
    await send(page, form, 4, text="bye")
    assert "You were removed" in await page.shown()
    assert await page.closed() == Close.KICKED
    kept = await stores.get(Shared, CODE).apeek()
    assert kept is not None
    assert kept.state.log == []


def test_another_version_of_htmx_is_refused() -> None:
    with pytest.raises(TypeError, match="htmx=2 or htmx=4, not htmx=3"):
        written('"kinds" "few" htmx=3')
