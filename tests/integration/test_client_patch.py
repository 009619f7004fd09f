"""Patches made here lead the browser's client to the same document, exactly."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright._impl._driver import compute_driver_executable

from sessionstores.state.json_rules import MAX_INTEGER, REFUSED_NAMES
from sessionstores.state.patch import diff

CLIENT = Path(__file__).parents[2] / "sessionstores/static/sessionstores/client.js"
# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]
SCRIPT = f"""
import {{ deepStrictEqual, strictEqual }} from "node:assert";
import {{ readFileSync }} from "node:fs";
import {{ applyPatch }} from {json.dumps(CLIENT.as_uri())};
for (const {{ old, ops, expected }} of JSON.parse(readFileSync(0, "utf8"))) {{
  const before = structuredClone(old);
  const patched = applyPatch(old, ops);
  deepStrictEqual(patched, expected);
  // Keys are in the server's order, but for those that JavaScript sorts.
  strictEqual(JSON.stringify(patched), JSON.stringify(expected));
  deepStrictEqual(old, before);
}}
"""

names = st.text(max_size=6).filter(lambda name: name not in REFUSED_NAMES)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "/", "~", "~1", "-", "0", "😀"])
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(names, inner, max_size=5)
    ),
    max_leaves=25,
)
numbers = st.sampled_from(["0", "2", "10", "01", "4294967294", "4294967295", "-1"])
objects = st.dictionaries(names | numbers, documents, max_size=6)
cards = st.lists(st.sampled_from("abcdefgh"), max_size=10)
boards = st.dictionaries(st.sampled_from(["keep", "drop", "a/b", "~"]), cards)


@st.composite
def reordered(draw: st.DrawFn) -> tuple[Any, Any]:
    """Draw a document, and it with its keys in another order, at any depth."""
    random = draw(st.randoms())

    def shuffle(value: Any) -> Any:
        if isinstance(value, list):
            return [*map(shuffle, value)]
        if not isinstance(value, dict):
            return value
        names = list(value)
        random.shuffle(names)
        return {name: shuffle(value[name]) for name in names}

    old, spare = draw(objects), draw(objects)
    return old, shuffle({**old, **spare})


@given(
    st.lists(
        st.tuples(documents, documents) | st.tuples(boards, boards) | reordered(),
        max_size=60,
    )
)
@settings(max_examples=12)
def test_the_client_applies_any_patch_exactly(pairs: list[tuple[Any, Any]]) -> None:
    cases = [{"old": old, "ops": diff(old, new), "expected": new} for old, new in pairs]
    subprocess.run(
        [NODE, "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(cases),
        check=True,
        text=True,
        timeout=60,
    )
