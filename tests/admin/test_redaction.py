"""What is hidden of a state, and how it comes back."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.admin.redaction import MASK, redact, restore

KEY = b"of this record"

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
    shown = redact({"token": "secret", "users": []})
    moved = {"users": [{"cookie": [shown.data["token"]]}], "token": "another"}
    assert restore(moved, shown) == (
        {"users": [{"cookie": ["secret"]}], "token": "another"},
        (),
    )


def test_hidden_values_do_not_come_back_where_they_would_be_seen() -> None:
    shown = redact({"token": "secret", "notes": "x", "pile": []}, {"notes"})
    moved = {"pile": [shown.data["token"]], "deep": {"notes": shown.data["notes"]}}
    assert restore(moved, shown) == (
        moved,
        (shown.data["token"], shown.data["notes"]),
    )


def test_a_sealed_placeholder_stands_for_its_value_alone() -> None:
    def users(*tokens: str) -> dict[str, Any]:
        return {"users": [{"token": token} for token in tokens]}

    before = redact(users("a", "b"), key=KEY)
    # Somebody was put in front, so that every place is another's.
    after = redact(users("new", "a", "b"), key=KEY)
    assert restore(before.data, after) == (users("a", "b"), ())
    other = redact(users("a", "changed"), key=KEY)
    lost = before.data["users"][1]["token"]
    assert restore(before.data, other) == (users("a", lost), (lost,))
    # Neither are they equal for equal values, nor can they be made without the key.
    same = redact(users("a", "a"), key=KEY)
    assert len(same.hidden) == 2
    tails = {placeholder.rpartition("#")[2] for placeholder in same.hidden}
    assert len(tails) == 2
    assert redact(users("a"), key=b"other").hidden.keys() != before.hidden.keys()


def test_keys_with_slashes_do_not_share_a_placeholder() -> None:
    data = {"a/token": 1, "a": {"token": 2}, "a~1token": 3}
    shown = redact(data)
    assert restore(shown.data, shown) == (data, ())
    assert len(shown.hidden) == 3


@given(json, st.sampled_from([b"", KEY]))
def test_no_text_of_a_participant_is_taken_for_a_placeholder(
    data: Any, key: bytes
) -> None:
    before = deepcopy(data)
    shown = redact(data, {"notes"}, key=key)
    assert data == before
    assert restore(shown.data, shown) == (data, ())
    assert redact(data, {"notes"}, key=key) == shown


def test_a_text_that_looks_like_the_mask_stays_a_text() -> None:
    data = {"name": f"{MASK}/token", "token": "secret"}
    shown = redact(data)
    assert shown.data["name"] == f"{MASK}/token"
    assert restore(shown.data, shown) == (data, ())
