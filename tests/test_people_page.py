"""What the page on people shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sessionstores import Person, join, stores
from sessionstores.participants.names import MAX_NAME_LENGTH
from tests.participants.browsers import Browser

PAGE = Path(__file__).parent.parent / "docs" / "people.md"
TEXT = PAGE.read_text()


def test_people_are_named_listed_and_changed_as_it_says() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
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


def test_all_fields_and_limits_are_in_it() -> None:
    for name in Person.__struct_fields__[1:]:
        assert f"`{name}`" in TEXT, name
    assert f"1 to {MAX_NAME_LENGTH} characters" in TEXT
