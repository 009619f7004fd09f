"""What the page on people shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sessionstores import Person, join, participant_required, stores
from sessionstores.participants.names import MAX_NAME_LENGTH
from sessionstores.state.declaration import registry
from sessionstores.testing import aparticipant, isolated_stores, tab
from tests.participants.browsers import Browser

PAGE = Path(__file__).parent.parent / "docs" / "people.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_people_are_named_listed_and_changed_as_it_says() -> None:
    block = BLOCKS[0]
    code = stores.create_session()
    printed: list[Any] = []

    def keep(*values: Any) -> None:
        printed.append(values)

    request = Browser().request()
    space = {"join": join, "stores": stores, "request": request, "code": code}
    exec(compile(block, PAGE.name, "exec"), {**space, "print": keep})
    ((id, *shown),) = printed
    assert shown[:4] == ["Ada", "facilitator", False, 0]
    (person,) = stores.people(code)
    assert (person.id, person.name, person.role) == (id, "Ada L.", "guest")


async def test_names_reach_what_people_write_and_who_is_here() -> None:
    _, states, view = BLOCKS
    space: dict[str, Any] = {
        "__name__": "wall.states",
        "participant_required": participant_required,
    }
    with isolated_stores(), registry.isolated():
        for block in (states, view):
            exec(compile(block, PAGE.name, "exec", dont_inherit=True), space)
        ada = await aparticipant(name="Ada")
        bob = await aparticipant(ada)
        async with tab(ada) as page, tab(bob) as other:
            await page.dispatch("wall", "pin", {"text": "Hello"})
            await other.dispatch(space["Wall"], "pin", {"text": "Hi"})
            notes = [["Ada", "Hello"], ["Somebody", "Hi"]]
            assert other.state("wall")["notes"] == notes
            assert page.name == "Ada"
            await other.wait_until(lambda: "alice" in other.people)
            assert other.people["alice"]["name"] == "Ada"


def test_all_fields_and_limits_are_in_it() -> None:
    for name in Person.__struct_fields__[1:]:
        assert f"`{name}`" in TEXT, name
    assert f"1 to {MAX_NAME_LENGTH} characters" in TEXT
