"""The form to join: codes and names as people type them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.contrib.sessions.backends.base import SessionBase
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.exceptions import (
    InsideTransaction,
    SessionLocked,
    SessionStoresError,
    StateCorrupt,
    StoreUnavailable,
    UnknownSession,
)
from sessionstores.forms import JoinForm
from sessionstores.manager import stores


def enter(form: JoinForm, way: str = "join", **given: Any) -> Any:
    request = RequestFactory().post("/")
    request.session = SessionBase()
    call: Any = form.join if way == "join" else async_to_sync(form.ajoin)
    return call(request, **given)


def filled(code: str, name: str = "Ada") -> JoinForm:
    form = JoinForm({"code": code, "name": name})
    assert form.is_valid(), form.errors
    return form


@pytest.mark.parametrize("way", ["join", "ajoin"])
def test_who_is_let_in_has_the_name_and_the_role(way: str) -> None:
    code = stores.create_session()
    form = filled(f" {code[:2].lower()}–{code[2:]}\u200b", "  Ada Lovelace ")
    joined = enter(form, way, role="host")
    assert (joined.session, joined.name, joined.role) == (code, "Ada Lovelace", "host")
    assert form.refusal is None
    made = enter(filled("K7Q2ZD"), way, create=True)
    assert stores.participants("K7Q2ZD") == [made.id]


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize(
    ("state", "error"), [("unknown", UnknownSession), ("locked", SessionLocked)]
)
def test_who_is_refused_reads_why_at_the_code(
    way: str, state: str, error: type[SessionStoresError]
) -> None:
    code = stores.create_session()
    if state == "unknown":
        stores.end_session(code)
    else:
        stores.lock(code)
    form = filled(code)
    assert enter(form, way) is None
    assert type(form.refusal) is error
    (shown,) = form.errors["code"].as_data()
    assert shown.code == error.code
    assert not form.is_valid()
    assert form.fields["code"].widget.attrs["autofocus"] is True


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize("kind", [StoreUnavailable, StateCorrupt, InsideTransaction])
def test_only_a_mistake_of_the_sites_is_raised(
    way: str, kind: type[SessionStoresError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise kind("as it is")

    async def afail(*args: Any, **kwargs: Any) -> Any:
        raise kind("as it is")

    monkeypatch.setattr("sessionstores.forms.join", fail)
    monkeypatch.setattr("sessionstores.forms.ajoin", afail)
    form = filled("K7Q2ZD")
    if kind is InsideTransaction:
        with pytest.raises(InsideTransaction):
            enter(form, way)
    else:
        assert enter(form, way) is None
        assert type(form.refusal) is kind


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize(
    ("typed", "asked", "words"),
    [
        ({"code": "K7Q2ZD", "name": "Ada"}, False, r"call is_valid\(\) first"),
        ({"code": "K7", "name": "Ada"}, True, r"has errors \(code\): join only if"),
        ({}, True, r"has errors \(code, name\)"),
        (None, True, r"was given no data: JoinForm\(request.POST\)"),
        (None, False, r"was given no data: JoinForm\(request.POST\)"),
    ],
)
def test_a_form_that_is_not_known_to_be_valid_lets_nobody_join(
    way: str, typed: dict[str, str] | None, asked: bool, words: str
) -> None:
    form = JoinForm(typed)
    if asked:
        form.is_valid()
    with pytest.raises(ValueError, match=f"^JoinForm cannot join: .*{words}"):
        enter(form, way)


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize("given", ["K7Q2ZD", None, {}])
def test_what_is_no_request_is_named(way: str, given: Any) -> None:
    form = filled("K7Q2ZD")
    call: Any = form.join if way == "join" else async_to_sync(form.ajoin)
    with pytest.raises(TypeError, match=r"is no request: join\(request, code\)"):
        call(given)


def test_a_form_that_was_refused_is_not_joined_again() -> None:
    form = filled("K7Q2ZD")
    assert enter(form) is None
    with pytest.raises(ValueError, match=r"has errors \(code\)"):
        enter(form)


# By what is typed: the field, and what a person reads there.
@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"code": "K" * 500}, "code", "A code has six letters and digits"),
        ({"code": "K7"}, "code", "A code has six letters and digits"),
        ({"name": "Ada\nLovelace"}, "name", "Leave out line breaks and invisible"),
        ({"name": "\u200b"}, "name", "Leave out line breaks and invisible"),
        ({"name": "\u202eAda"}, "name", "Leave out line breaks and invisible"),
        ({"name": "A" * 81}, "name", "at most 80 characters"),
    ],
)
def test_what_cannot_be_taken_is_explained_at_its_field(
    typed: dict[str, str], field: str, words: str
) -> None:
    form = JoinForm({"code": "K7Q2ZD", "name": "Ada", **typed})
    assert not form.is_valid()
    (shown,) = form.errors[field]
    assert words in shown


@given(st.text(max_size=120), st.text(max_size=120))
def test_whatever_is_typed_is_refused_in_the_form_or_can_be_used(
    code: str, name: str
) -> None:
    form = JoinForm({"code": code, "name": name})
    if form.is_valid():
        assert len(form.cleaned_data["code"]) == 6
        assert 1 <= len(form.cleaned_data["name"]) <= 80
    else:
        assert set(form.errors) <= {"code", "name"}
    str(form)


class WithoutName(JoinForm):
    name = None


class WithoutNameAtTimes(JoinForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["name"]


class NameIfLiked(JoinForm):
    name = forms.CharField(required=False)


class NameOrNone(JoinForm):
    name = forms.CharField(required=False, empty_value=None)


class NameToPick(JoinForm):
    name = forms.ChoiceField(choices=[("Ada", "Ada")], required=False)


NAMELESS = [WithoutName, WithoutNameAtTimes, NameIfLiked, NameOrNone, NameToPick]


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize("kind", NAMELESS)
def test_a_site_need_not_ask_for_a_name(way: str, kind: type[JoinForm]) -> None:
    form = kind({"code": stores.create_session(), "name": ""})
    assert form.is_valid(), form.errors
    assert enter(form, way).name is None


@pytest.mark.parametrize("kind", [NameIfLiked, NameOrNone])
def test_a_name_that_need_not_be_given_is_judged_if_it_is(kind: type[JoinForm]) -> None:
    form = kind({"code": "K7Q2ZD", "name": "\u200b"})
    assert not form.is_valid()
    assert "Leave out line breaks and invisible" in form.errors["name"][0]
    form = kind({"code": stores.create_session(), "name": " Ada "})
    assert form.is_valid()
    assert enter(form).name == "Ada"


class Picky(JoinForm):
    """A site's form with rules of its own, beside those for code and name."""

    team = forms.CharField()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("team") == "full":
            raise forms.ValidationError("This team is full.")
        return cleaned


@pytest.mark.parametrize("way", ["join", "ajoin"])
@pytest.mark.parametrize("team", ["", "full"])
def test_a_rule_of_the_sites_own_keeps_people_out(way: str, team: str) -> None:
    code = stores.create_session()
    form = Picky({"code": code, "name": "Ada", "team": team})
    assert not form.is_valid()
    with pytest.raises(ValueError, match="has errors"):
        enter(form, way)
    assert stores.participants(code) == []


class WithoutCode(JoinForm):
    code = None


def test_a_form_that_lost_its_code_says_so() -> None:
    form = WithoutCode({"name": "Ada"})
    assert form.is_valid()
    with pytest.raises(ValueError, match=r"^WithoutCode cannot join: .*`code`"):
        enter(form)


def test_a_form_of_the_sites_own_may_have_more_fields() -> None:
    class Longer(JoinForm):
        team = forms.CharField()

    typed = {"code": stores.create_session(), "name": "Ada", "team": "red"}
    form = Longer(typed, label_suffix="?")
    assert form.is_valid()
    assert form.label_suffix == "?"
    assert enter(form).name == "Ada"
