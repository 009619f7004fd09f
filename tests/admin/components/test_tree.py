"""States as HTML that folds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.admin.components import tree
from sessionstores.admin.components.tree import draw
from sessionstores.admin.redaction import redact

TAGS = re.compile(r"</?(div|a|ul|li|details( open)?|summary|span( class=\"[\w-]+\")?"
                  r"( title=\"[^\"<>]*\")?)>")  # fmt: skip

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def shown(data: Any) -> str:
    return str(draw(data, (), "/file"))


@given(json, st.integers(1, 5), st.integers(1, 4), st.integers(1, 30))
def test_whatever_is_drawn_is_escaped_and_well_formed(
    data: Any, parts: int, depth: int, total: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tree, "MAX_PARTS", parts)
        patched.setattr(tree, "MAX_DEPTH", depth)
        patched.setattr(tree, "MAX_TOTAL_PARTS", total)
        patched.setattr(tree, "LONG_TEXT", parts)
        patched.setattr(tree, "MAX_TEXT", parts)
        html = shown(data)
    html = html.replace('<div class="ss-tree">', "<div>")
    html = html.replace('<li class="ss-cut">', "<li>")
    html = html.replace('<a href="/file" download>', "<a>")
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


def test_a_long_container_ends_with_what_is_left_out_and_the_download() -> None:
    html = shown({"cards": [f"card {n} of many" for n in range(50_000)], "last": 1})
    assert "card 99 of many" in html
    assert "card 100 of many" not in html
    cut = '<li class="ss-cut">… 49900 more · <a href="/file" download>download</a></li>'
    assert html.count(cut) == 1
    assert "last" in html
    assert len(html) < 20_000


def test_deep_containers_are_named_with_their_size_and_the_download() -> None:
    data: Any = {"bottom": {"out": "of sight"}}
    for _ in range(tree.MAX_DEPTH - 1):
        data = {"inner": data}
    html = shown(data)
    assert "bottom" in html
    assert "of sight" not in html
    cut = (
        '<span class="ss-cut">{1 field} · <a href="/file" download>download</a></span>'
    )
    assert html.count(cut) == 1


def test_a_long_text_is_cut() -> None:
    html = shown({"a": "x" * 100_000, "b": 1})
    assert "… 98000 more · <a" in html
    assert len(html) < 3_000


def test_a_field_with_many_parts_leaves_room_for_the_others() -> None:
    many = [[[[1, 2, 3, "four"]] * 90] * 90] * 90
    html = shown(
        {"first": many, "small": {"a": [1, 2]}, "second": many, "last": "seen"}
    )
    assert '<span class="ss-key">a</span>' in html
    assert "seen" in html
    assert html.count("four") > 200
    assert len(html) < 500_000


def test_the_url_of_the_download_is_escaped() -> None:
    html = str(draw(list(range(101)), (), '/"><script>'))
    assert "<script>" not in html


def test_a_long_text_is_folded_behind_its_beginning() -> None:
    html = shown({"essay": 'A "fine" day.\n' + "x" * 5_000, "short": "y" * 100})
    assert html.count("<details><summary>") == 1
    assert "5014 characters" in html
    summary = html.partition("<summary>")[2].partition("</summary>")[0]
    assert "A \\&quot;fine\\&quot; day." in summary
    assert "x" * 100 not in summary


def test_what_redaction_hid_is_shown_as_hidden_and_has_no_trace_of_its_value() -> None:
    redacted = redact({"notes": "secret words", "name": "Ada"}, {"notes"})
    html = str(draw(redacted.data, redacted.placeholders, "/file"))
    assert "secret words" not in html
    assert 'class="ss-hidden"' in html
    assert "Ada" in html


def test_scalars_and_empty_containers_are_drawn_too() -> None:
    assert "{}" in shown({})
    assert "[]" in shown([])
    assert "null" in shown(None)
