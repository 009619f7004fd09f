"""What the page on states shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sessionstores.state import codec
from sessionstores.state.declaration import State, problems_of, registry

PAGE = (Path(__file__).parent.parent / "docs" / "states.md").read_text()


def test_its_migration_carries_what_it_says() -> None:
    block = next(each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    space: dict[str, Any] = {"__name__": __name__, "State": State}
    with registry.isolated():
        exec(compile(block, "states.md", "exec", dont_inherit=True), space)
        board = space["Board"]
        assert problems_of(board) == []
        stored = b'1:{"title":"Plan","points":3,"notes":"x"}'
        state, before = codec.load(board, stored)
        assert (state.heading, state.points) == ("Plan", [3])
        assert codec.plain(codec.dump(state, before)[0]) == {
            "points": [3],
            "notes": "x",
            "heading": "Plan",
        }


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / link).exists(), link
