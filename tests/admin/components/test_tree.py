"""States as foldable HTML."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.admin.components.tree import draw
from sessionstores.admin.redaction import redact

TAGS = re.compile(r"</?(div|ul|li|details( open)?|summary|span( class=\"[\w-]+\")?"
                  r"( title=\"[^\"<>]*\")?)>")  # fmt: skip

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def shown(data: Any, limit: int = 65_536) -> str:
    return str(draw(data, {}, limit).html)


@given(json, st.integers(1, 200))
def test_whatever_is_drawn_is_escaped_and_well_formed(data: Any, limit: int) -> None:
    html = shown(data, limit).replace('<div class="ss-tree">', "<div>")
    html = re.sub(r'<li class="ss-cut">', "<li>", html)
    depth: list[str] = []
    rest = TAGS.sub(lambda tag: _balance(tag, depth), html)
    assert depth == []
    assert "<" not in rest
    assert ">" not in rest
    assert '"' not in rest


def _balance(tag: re.Match[str], depth: list[str]) -> str:
    name = tag[1].split()[0]
    if tag[0].startswith("</"):
        assert depth.pop() == name
    else:
        depth.append(name)
    return ""


def test_markup_in_keys_and_texts_is_text() -> None:
    html = shown({"<img src=x onerror=a()>": "</span><script>alert(1)</script>"})
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_short_lists_of_scalars_are_lines_and_long_ones_unfold() -> None:
    html = shown({"short": [1, 2], "long": list(range(60)), "mixed": [[1], [2]]})
    assert '<span class="ss-line">[<span class="ss-number">1</span>' in html
    assert "<details><summary>" in html
    assert "[60 items]" in html
    assert "<details open><summary>" in html
    assert "[2 items]" in html


def test_deep_levels_begin_folded() -> None:
    html = shown({"a": {"b": {"c": {"d": 1}}}})
    assert html.count("<details open>") == 2
    assert html.count("<details>") == 1


def test_only_so_much_is_drawn_and_the_rest_is_counted() -> None:
    drawn = draw({"cards": [f"card {n} of many" for n in range(50_000)]}, {}, 65_536)
    assert drawn.cut
    assert len(drawn.html) < 1_000_000
    assert re.search(r'<li class="ss-cut">… \d+ more</li>', drawn.html)
    assert not draw({"a": 1}, {}, 65_536).cut


def test_one_long_text_is_cut_too() -> None:
    drawn = draw({"a": "x" * 100_000, "b": 1}, {}, 1_000)
    assert drawn.cut
    assert len(drawn.html) < 2_000


def test_what_is_long_leaves_room_for_all_other_fields() -> None:
    data = {
        "log": [f"entry {n}" for n in range(9_000)],
        "text": "y" * 90_000,
        "small": {"a": [1, 2], "b": "of interest"},
        "other": [{"n": n, "texts": ["z" * 50]} for n in range(3_000)],
        "last": "seen",
    }
    drawn = draw(data, {}, 65_536)
    assert drawn.cut
    html = str(drawn.html)
    assert "of interest" in html
    assert "seen" in html
    assert html.count('class="ss-cut"') == 2
    # Each of the three large ones has its third.
    assert len(re.findall(r"entry \d+", html)) > 800
    assert html.count("y") > 20_000
    assert html.count("z" * 50) > 150
    assert len(html) < 1_000_000


def test_a_long_text_is_folded_behind_its_beginning() -> None:
    html = shown({"essay": 'A "fine" day.\n' + "x" * 5_000, "short": "y" * 100})
    assert html.count("<details><summary>") == 1
    assert "5014 characters" in html
    summary = html.partition("<summary>")[2].partition("</summary>")[0]
    assert "A \\&quot;fine\\&quot; day." in summary
    assert "x" * 100 not in summary


def test_what_redaction_hid_is_shown_as_hidden_and_has_no_trace_of_its_value() -> None:
    redacted = redact({"notes": "secret words", "name": "Ada"}, {"notes"})
    html = str(draw(redacted.data, redacted.hidden, 65_536).html)
    assert "secret words" not in html
    assert 'class="ss-hidden"' in html
    assert "Ada" in html


def test_a_state_that_is_no_object_or_empty_is_drawn_too() -> None:
    assert "{}" in shown({})
    assert "[]" in shown([])
    assert "null" in shown(None)
