"""What a test's tab sends is written as a page writes it."""

from __future__ import annotations

import json
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright._impl._driver import compute_driver_executable

from sessionstores.testing.transports import frame_text

# Playwright brings the Node.js that runs it.
NODE = compute_driver_executable()[0]
SCRIPT = """
const frames = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(frames.map((each) => JSON.stringify(each))));
"""
TEXTS = st.text(
    st.characters(codec=None) | st.sampled_from('\0\x7f"\\/\n\ud800\udc00é😀\u2028')
)


@given(st.lists(TEXTS, max_size=80))
@settings(max_examples=8)
def test_a_frame_is_written_as_a_page_writes_it(written: list[str]) -> None:
    # Two halves of a character side by side are that character to JavaScript.
    texts = [json.loads(json.dumps(text)) for text in written]
    frames = [{"type": "action", "id": 1, "args": {"of": [text]}} for text in texts]
    page = subprocess.run(
        [NODE, "--eval", SCRIPT],
        input=json.dumps(frames),
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=60,
    )
    assert [frame_text(each) for each in frames] == json.loads(page.stdout)
