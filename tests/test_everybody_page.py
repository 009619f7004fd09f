"""What the page on everybody's states shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sessionstores import ActionRejected, stores
from sessionstores.backends import types
from sessionstores.backends.redis import sessions
from sessionstores.state.declaration import problems_of, registry

PAGE = Path(__file__).parent.parent / "docs" / "everybody.md"
TEXT = PAGE.read_text()


def test_who_has_voted_and_what_is_as_it_says() -> None:
    declaration, peek, reveal = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    # As a module, in whose names the annotations are looked up.
    space: dict[str, Any] = {"__name__": __name__, "stores": stores}

    def execute(block: str) -> None:
        exec(compile(block, PAGE.name, "exec", dont_inherit=True), space)

    with registry.isolated():
        execute(declaration)
        hand, table = space["Hand"], space["Table"]
        assert problems_of(hand) == problems_of(table) == []
        code = space["code"] = stores.create_session()
        for id, card in {"alice": "8", "bob": "", "carol": "5"}.items():
            stores.get(hand, code, id).dispatch(hand.choose, card)
        execute(peek)
        first, question = peek.strip().splitlines()
        answer = re.search(r"who has voted: (.*)", question)
        assert answer
        assert eval(question.partition("#")[0], space) == eval(answer[1])
        assert str(space["hands"]["alice"]).startswith(
            first.partition('"alice": ')[2].partition(", rev=")[0].replace('"', "'")
        )
        execute(reveal)
        assert stores.get(table, code).state.revealed == {"alice": "8", "carol": "5"}
        assert stores.get(table, code).dispatch(table.voted) == eval(answer[1])
        with pytest.raises(ActionRejected, match="on the table"):
            stores.get(hand, code, "bob").dispatch(hand.choose, "13")


def test_its_figures_are_those_of_the_code() -> None:
    assert f"each {types.STATES_BATCH} participants" in TEXT
    assert f"each {sessions.STATES_BYTES // 2**20} MiB of states" in TEXT
