"""Redaction: what is hidden of a state, and how a save keeps it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionstores import State
from sessionstores.admin.redaction import (
    MASK,
    MergeRefused,
    decode_paths,
    editable,
    merge,
    redact,
    redact_meta,
    redact_schema,
)
from sessionstores.state.declaration import registry

SECRET = "s3cr3t"
KEYS = st.sampled_from(["a", "b/c", "deck", "notes", "token", "apiKey"])

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)
states = st.dictionaries(KEYS, json)


def secrets_in(data: Any, names: frozenset[str], path: str = "") -> dict[str, str]:
    """Return what is hidden in `data`: the JSON of each value, by path."""
    found: dict[str, str] = {}
    if isinstance(data, dict):
        for key, value in data.items():
            here = f"{path}/{key}"
            if key in names or key in ("token", "apiKey"):
                found[here] = msgspec.json.encode(value).decode()
            else:
                found |= secrets_in(value, frozenset(), here)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            found |= secrets_in(value, frozenset(), f"{path}/{number}")
    return found


def marked(data: Any, names: frozenset[str] = frozenset({"notes"})) -> Any:
    """Return `data` with a text in each hidden place that is found nowhere else."""
    if isinstance(data, list):
        return [marked(each, frozenset()) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        key: [SECRET, value]
        if key in names or key in ("token", "apiKey")
        else marked(value, frozenset())
        for key, value in data.items()
    }


def test_declared_fields_are_hidden_at_the_top_only() -> None:
    shown = redact({"notes": ["x"], "deep": {"notes": "y"}}, {"notes"})
    assert shown.data == {"notes": f"{MASK}/notes", "deep": {"notes": "y"}}
    assert shown.placeholders == {f"{MASK}/notes"}


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
    assert shown.placeholders == {
        f"{MASK}/password",
        f"{MASK}/users/0/apiKey",
        f"{MASK}/users/0/auth_token",
        f"{MASK}/users/1/Session-Key",
        f"{MASK}/cookies",
    }
    assert [shown.data[name] for name in ("monkey", "keyboard", "author")] == [
        "kept"
    ] * 3


def test_keys_with_slashes_do_not_share_a_placeholder() -> None:
    shown = redact({"a/token": 1, "a": {"token": 2}, "a~1token": 3})
    assert len(shown.placeholders) == 3


def test_a_text_that_looks_like_the_mask_is_not_a_placeholder() -> None:
    shown = redact({"name": f"{MASK}/token", "token": "secret"})
    assert shown.data["name"] == f"{MASK}/token"
    assert shown.data["name"] not in shown.placeholders


def test_what_another_release_has_stored_is_hidden_wherever_it_is() -> None:
    data = {"step": 1, "new": "x", "items": [{"a/b": 1}, 2], "players": {"a": {"n": 3}}}
    shown = redact(data, (), {"/new", "/items/0/a~1b", "/items/1", "/players/a/n"})
    assert shown.data == {
        "step": 1,
        "new": f"{MASK}/new",
        "items": [{"a/b": f"{MASK}/items/0/a~1b"}, f"{MASK}/items/1"],
        "players": {"a": {"n": f"{MASK}/players/a/n"}},
    }
    assert len(shown.placeholders) == 4


class Part(msgspec.Struct, frozen=True):
    token: str = SECRET
    other: str = "shown"


# In a schema with two structs of one name, both names are qualified.
Namesake = msgspec.defstruct("Whole", [("number", int, 0)])


def test_a_schema_has_no_defaults_of_hidden_fields() -> None:
    with registry.isolated():

        class Whole(State, sensitive=("notes",)):
            notes: str = SECRET
            part: Part = Part()
            namesake: Namesake = msgspec.field(default_factory=Namesake)
            parts: dict[str, Part] = msgspec.field(default_factory=dict[str, Part])

        schema = msgspec.json.encode(redact_schema(Whole)).decode()
    assert SECRET not in schema
    assert '"notes":{"type":"string"}' in schema
    assert '"default":"shown"' in schema


@given(states)
def test_nothing_hidden_is_in_what_is_shown(state: Any) -> None:
    state = marked(state)
    before = deepcopy(state)
    shown = redact(state, {"notes"})
    form = editable(state, {"notes"})
    assert state == before
    for data in (shown, form):
        assert SECRET not in msgspec.json.encode(data).decode()
    assert len(shown.placeholders) == len(secrets_in(state, frozenset({"notes"})))


def test_hidden_parts_are_left_out_and_lists_that_hold_some_as_a_whole() -> None:
    state = {
        "notes": "n",
        "users": {"ada": {"token": "t", "rank": 1}},
        "items": [{"who": "A", "token": "t"}],
        "deck": [{"card": "ace"}],
    }
    form = editable(state, {"notes"})
    assert form.data == {"users": {"ada": {"rank": 1}}, "deck": [{"card": "ace"}]}
    assert form.left_out == ("/notes", "/users/ada/token", "/items")


@given(states)
def test_saving_what_is_shown_gives_what_is_stored_in_its_order(state: Any) -> None:
    for stale in (False, True):
        form = editable(state, {"notes"})
        merged = merge(form.data, state, {"notes"}, stale=stale)
        assert msgspec.json.encode(merged) == msgspec.json.encode(state)


@given(states, states, st.booleans())
@example(
    stored=dict.fromkeys(["b/c", "deck", "notes", "a", "token"]),
    written=dict.fromkeys(["a", "b/c"]),
    stale=False,
)
def test_whatever_is_written_no_hidden_value_is_changed_or_moved(
    stored: Any, written: Any, stale: bool
) -> None:
    stored = marked(stored)
    names = frozenset({"notes"})
    try:
        merged = merge(written, stored, names, stale=stale)
    except MergeRefused:
        return
    kept, after = secrets_in(stored, names), secrets_in(merged, names)
    assert {path: after[path] for path in kept} == kept
    # Nor is one found in another place; keys written in another order stay in it.
    assert {path for path in after if SECRET in after[path]} == kept.keys()
    assert msgspec.json.encode(merged).decode().count(SECRET) == len(kept)


@given(states, st.data())
def test_an_edit_of_what_is_shown_is_accepted_and_keeps_what_is_hidden(
    stored: Any, data: st.DataObject
) -> None:
    stored = marked(stored)
    names = frozenset({"notes"})
    written = data.draw(edits_of(editable(stored, names).data))
    merged = merge(written, stored, names)
    assert secrets_in(merged, names) == secrets_in(stored, names)
    assert editable(merged, names).data == written


def edits_of(shown: Any) -> st.SearchStrategy[Any]:
    """Change scalars and lists at any depth; objects keep their keys."""
    if not isinstance(shown, dict):
        return scalars | st.lists(scalars, max_size=3) | st.just(shown)
    return st.fixed_dictionaries({key: edits_of(shown[key]) for key in shown})


STORED = {
    "notes": "n",
    "users": {"ada": {"token": "t", "rank": 1}, "ben": {"rank": 2}},
    "items": [{"who": "A", "token": "t"}],
}


@pytest.mark.parametrize(
    ("written", "path", "reason"),
    [
        ({"notes": "new", "users": {"ada": {}}}, "/notes", "hidden"),
        ({"users": {"ada": {}}, "items": []}, "/items", "hidden"),
        ({"users": {"ada": {"token": "mine"}}}, "/users/ada/token", "hidden"),
        ({}, "/users", "removed"),
        ({"users": []}, "/users", "removed"),
        ({"users": {"eve": {"rank": 1}}}, "/users/ada", "removed"),
        ({"users": {"ada": None}}, "/users/ada", "removed"),
    ],
)
def test_hidden_values_can_be_neither_written_nor_removed(
    written: Any, path: str, reason: str
) -> None:
    with pytest.raises(MergeRefused) as refused:
        merge(written, STORED, {"notes"})
    assert (refused.value.path, refused.value.reason) == (path, reason)


def test_a_sensitive_field_cannot_be_written_even_while_it_is_absent() -> None:
    with pytest.raises(MergeRefused):
        merge({"notes": "new"}, {}, {"notes"})


def test_after_a_change_by_somebody_else_objects_with_hidden_values_are_fixed() -> None:
    written = {"users": {"ada": {"rank": 7}, "ben": {"rank": 2}}}
    assert merge(written, STORED, {"notes"})["users"]["ada"] == {
        "token": "t",
        "rank": 7,
    }
    with pytest.raises(MergeRefused) as refused:
        merge(written, STORED, {"notes"}, stale=True)
    assert (refused.value.path, refused.value.reason) == ("/users", "changed")
    # The other fields of the state can be written all the same.
    written["users"]["ada"] = {"rank": 1}
    merged = merge({**written, "deck": ["ace"]}, STORED, {"notes"}, stale=True)
    assert merged == {**STORED, "deck": ["ace"]}


@pytest.mark.parametrize(
    ("opened", "written", "stored", "path"),
    [
        # A list whose items hold nothing hidden any more.
        ({"a": [{"token": 1}]}, {}, {"a": [{"n": 1}, {"n": 2}]}, "/a"),
        # A field that this process does not declare as sensitive.
        ({"notes": "N", "t": ""}, {"t": "mine"}, {"notes": "N", "t": ""}, "/notes"),
        ({"o": {"a/b": [{"token": 1}]}}, {"o": {}}, {"o": {"a/b": []}}, "/o/a~1b"),
        ({"o": {"a": [{"token": 1}]}}, {}, {"o": {"a": []}}, "/o/a"),
    ],
)
@pytest.mark.parametrize("stale", [False, True])
def test_what_was_left_out_but_is_hidden_no_longer_is_not_lost(
    opened: Any, written: Any, stored: Any, path: str, stale: bool
) -> None:
    left_out = editable(opened, {"notes"}).left_out
    assert left_out == (path,)
    with pytest.raises(MergeRefused) as refused:
        merge(written, stored, stale=stale, left_out=left_out)
    assert (refused.value.path, refused.value.reason) == (path, "changed")


def test_what_was_left_out_can_be_written_or_removed_by_others() -> None:
    for written, stored in (({"a": []}, {"a": [1]}), ({}, {}), ({"o": 1}, {"o": 2})):
        assert merge(written, stored, left_out=("/a", "/o/b")) == written


@given(
    states,
    states,
    st.booleans(),
    st.lists(st.text("/~abct01", max_size=6) | st.sampled_from(["/notes", "/token"])),
)
def test_forged_paths_can_only_make_a_save_be_refused(
    stored: Any, written: Any, stale: bool, forged: list[str]
) -> None:
    stored = marked(stored)
    try:
        merged = merge(written, stored, {"notes"}, stale=stale)
    except MergeRefused:
        with pytest.raises(MergeRefused):
            merge(written, stored, {"notes"}, stale=stale, left_out=forged)
        return
    try:
        again = merge(written, stored, {"notes"}, stale=stale, left_out=forged)
    except MergeRefused:
        return
    assert again == merged


@pytest.mark.parametrize(
    "text", ["", "x", "{}", "[1]", "null", '["\ud800"]', "[" * 9_000, '[["/a"]]']
)
def test_paths_that_are_malformed_count_as_none(text: str) -> None:
    assert decode_paths(text) == ()
    assert decode_paths('["/a", "/b~1c"]') == ("/a", "/b~1c")


def test_what_a_tab_publishes_is_masked_and_without_rights_all_but_names() -> None:
    meta = (
        b'{"name":"Ada","step":2,"away":true,"email":"ada@example.org",'
        b'"password":"hunter2","cursor":{"x":1,"token":"t"},"list":["hunter2"]}'
    )
    whole = msgspec.json.decode(redact_meta(meta, whole=True))
    assert whole["email"] == "ada@example.org"
    assert whole["password"] == MASK
    assert whole["cursor"] == {"x": 1, "token": MASK}
    part = msgspec.json.decode(redact_meta(meta, whole=False))
    assert {key for key, value in part.items() if value != MASK} == {
        "name",
        "step",
        "away",
    }
    nested = redact_meta(b'{"name":{"password":"x"},"step":[1]}', whole=False)
    assert msgspec.json.decode(nested) == {"name": MASK, "step": MASK}
    assert msgspec.json.decode(redact_meta(meta, {"name"}, whole=True))["name"] == MASK
    assert redact_meta(b"", whole=False) == "{}"
