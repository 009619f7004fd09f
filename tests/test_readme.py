"""What the README shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sessionstores.state.declaration import registry

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()


def test_its_python_runs() -> None:
    declaration, use, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    namespace: dict[str, Any] = {"__name__": __name__}
    with registry.isolated():
        for block in (declaration, use):
            # Else this module's future import would hold in the README too.
            code = compile(block, README.name, "exec", dont_inherit=True)
            exec(code, namespace)
        assert namespace["board"].state.kept == ["ace"]


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r'\]\(([^)#]+)\)|srcset="(.+?)"|src="(docs/.+?)"', TEXT)
    assert links
    for link in map("".join, links):
        assert (README.parent / link).exists(), link


def test_it_stays_short() -> None:
    assert len(TEXT.splitlines()) < 170
