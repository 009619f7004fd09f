"""What is hidden of a state, and how it comes back."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.admin.redaction import MASK, redact, restore

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "token", "notes", "b/c"]), inner)
    ),
    max_leaves=20,
)


def test_declared_fields_are_hidden_at_the_top_only() -> None:
    shown = redact({"notes": ["x"], "deep": {"notes": "y"}}, {"notes"})
    assert shown.data == {"notes": f"{MASK}/notes", "deep": {"notes": "y"}}
    assert shown.hidden == {f"{MASK}/notes": ["x"]}


def test_names_that_sound_secret_are_hidden_at_any_depth() -> None:
    data = {
        "password": "p",
        "users": [{"apiKey": "k", "auth_token": {"x": 1}}, {"Session-Key": 3}],
        "cookies": [1],
        "monkey": "kept",
        "keyboard": "kept",
        "author": "kept",
    }
    shown = redact(data)
    assert set(shown.hidden) == {
        f"{MASK}/password",
        f"{MASK}/users/0/apiKey",
        f"{MASK}/users/0/auth_token",
        f"{MASK}/users/1/Session-Key",
        f"{MASK}/cookies",
    }
    assert [shown.data[name] for name in ("monkey", "keyboard", "author")] == [
        "kept"
    ] * 3


def test_hidden_values_come_back_wherever_an_editor_has_moved_them() -> None:
    shown = redact({"token": "secret", "pile": []})
    moved = {"pile": [shown.data["token"], "new"], "token": "another"}
    assert restore(moved, shown.hidden) == {
        "pile": ["secret", "new"],
        "token": "another",
    }


@given(json)
def test_no_text_of_a_participant_is_taken_for_a_placeholder(data: Any) -> None:
    before = deepcopy(data)
    shown = redact(data, {"notes"})
    assert data == before
    assert restore(shown.data, shown.hidden) == data
    assert redact(data, {"notes"}) == shown


def test_a_text_that_looks_like_the_mask_stays_a_text() -> None:
    data = {"name": f"{MASK}/token", "token": "secret"}
    shown = redact(data)
    assert shown.data["name"] == f"{MASK}/token"
    assert restore(shown.data, shown.hidden) == data
