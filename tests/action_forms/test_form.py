"""Forms of actions: a control for each kind of argument, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from sessionstores.action_forms.fields import arguments_of
from sessionstores.action_forms.form import ActionForm, label_of
from sessionstores.state.declaration import get_action
from tests.action_forms.states import Colour, Kinds, Level, Rights, Shared, Size

LEFT_OUT = object()
REFUSED = object()
UUID = "0190163d-8694-739b-aea5-966c26f8ad91"


class Controls(HTMLParser):
    """Reads the controls of a form, with the texts in them."""

    def __init__(self, html: object) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(str(html))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def of(self, *tags: str) -> list[dict[str, Any]]:
        return [attrs for tag, attrs in self.found if tag in tags]


def form_of(name: str, data: Any = None, **options: Any) -> ActionForm:
    return ActionForm(Kinds, get_action(Kinds, name), data, **options)


def sent(name: str, value: object) -> object:
    """Return what the action is given for a value that a browser sends."""
    form = form_of(name, {} if value is LEFT_OUT else {"value": value})
    if not form.is_valid():
        assert list(form.errors) == ["value"]
        return REFUSED
    return form.decoded["value"]


# By the action: its control, its attributes, and what is made of what is sent.
TABLE: list[tuple[str, str, dict[str, Any], dict[Any, object]]] = [
    (
        "text",
        "input",
        {"type": "text", "value": None, "required": LEFT_OUT},
        {"": "", " a ": " a ", "a\r\nb": "a\nb", LEFT_OUT: REFUSED, "\0": REFUSED},
    ),
    (
        "short",
        "input",
        {"type": "text", "minlength": "1", "maxlength": "5", "required": None},
        {"": REFUSED, "abcde": "abcde", "abcdef": REFUSED, LEFT_OUT: REFUSED},
    ),
    (
        "maybe_text",
        "input",
        {"type": "text", "required": LEFT_OUT},
        {"": None, "a": "a", LEFT_OUT: REFUSED},
    ),
    (
        "default_text",
        "input",
        {"type": "text", "value": "as <it> is", "required": LEFT_OUT},
        {"": "", "a": "a", LEFT_OUT: "as <it> is"},
    ),
    (
        "few",
        "input",
        {"type": "number", "min": "1", "max": "9", "required": None},
        {"1": 1, "10": REFUSED, "0": REFUSED, "x": REFUSED, "": REFUSED, "1.5": REFUSED}
        | {LEFT_OUT: REFUSED, "9" * 5000: REFUSED},
    ),
    (
        "between",
        "input",
        {"type": "number", "min": "2", "max": "8"},
        {"1": REFUSED, "2": 2, "8": 8, "9": REFUSED},
    ),
    (
        "named",
        "input",
        {"type": "number", "required": None, "min": LEFT_OUT},
        {"5": 5, str(2**53): REFUSED, "-7": -7},
    ),
    (
        "default_few",
        "input",
        {"type": "number", "value": "3", "required": LEFT_OUT},
        {"": 3, "5": 5, LEFT_OUT: 3, "99": REFUSED},
    ),
    (
        "maybe_few",
        "input",
        {"type": "number", "value": "4", "required": LEFT_OUT},
        {"": None, "5": 5, LEFT_OUT: 4, "99": REFUSED},
    ),
    (
        "real",
        "input",
        {"type": "number", "min": "0", "step": "any", "required": None},
        {"0.5": 0.5, "0": 0.0, "1": REFUSED, "nan": REFUSED, "1e999": REFUSED},
    ),
    (
        "yes",
        "input",
        {"type": "checkbox", "checked": LEFT_OUT, "required": LEFT_OUT},
        {"on": True, LEFT_OUT: False, "False": False},
    ),
    (
        "default_yes",
        "input",
        {"type": "checkbox", "checked": None},
        {"on": True, LEFT_OUT: False},
    ),
    (
        "maybe_yes",
        "select",
        {},
        {"true": True, "false": False, "unknown": None, "": None, LEFT_OUT: REFUSED},
    ),
    (
        "literal",
        "select",
        {"required": None},
        {"zeta": "zeta", "7": 7, "": REFUSED, "other": REFUSED, LEFT_OUT: REFUSED},
    ),
    (
        "maybe_literal",
        "select",
        {"required": LEFT_OUT},
        {"zeta": "zeta", "": None, "other": REFUSED},
    ),
    (
        "default_literal",
        "select",
        {"required": LEFT_OUT},
        {"zeta": "zeta", "": "alpha", LEFT_OUT: "alpha"},
    ),
    (
        "unclear",
        "textarea",
        {"required": None},
        {'"1"': "1", "1": 1, "x": REFUSED, "2": REFUSED},
    ),
    ("colour", "select", {"required": None}, {"red": Colour.RED, "RED": REFUSED}),
    ("level", "select", {"required": LEFT_OUT}, {"1": Level.LOW, "": Level.HIGH}),
    (
        "rights",
        "input",
        {"type": "number", "value": "3", "required": LEFT_OUT},
        {"3": ~Rights(0), "0": Rights(0), "": ~Rights(0), "4": REFUSED, "x": REFUSED},
    ),
    ("size", "select", {"required": None}, {"l": Size.LARGE, "x": REFUSED}),
    (
        "day",
        "input",
        {"type": "date", "required": None},
        {"": REFUSED, "1.2.2030": REFUSED},
    ),
    ("moment", "input", {"type": "text", "required": None}, {"tomorrow": REFUSED}),
    ("uuid", "input", {"type": "text", "required": None}, {"1": REFUSED}),
    (
        "items",
        "textarea",
        {"required": None},
        {"[1, 2]": [1, 2], '["a"]': REFUSED, "[1": REFUSED, "": REFUSED}
        | {"[NaN]": REFUSED, "[" * 9999: REFUSED, "[1] [2]": REFUSED}
        | {"[" + "9" * 5000 + "]": REFUSED, LEFT_OUT: REFUSED},
    ),
    (
        "default_items",
        "textarea",
        {"required": LEFT_OUT},
        {"": ("a", "<b>"), '["c"]': ("c",), LEFT_OUT: ("a", "<b>")},
    ),
    ("point", "textarea", {"required": None}, {'{"y": 2}': REFUSED, "7": REFUSED}),
    ("mixed", "textarea", {"required": None}, {"7": 7, '"7"': "7", "x": REFUSED}),
    ("whatever", "textarea", {}, {"null": None, "{}": {}, "x": REFUSED}),
]


@pytest.mark.parametrize(("name", "tag", "attributes", "values"), TABLE)
def test_each_kind_of_argument_has_its_control_and_is_judged_by_its_annotation(
    name: str, tag: str, attributes: dict[str, Any], values: dict[Any, object]
) -> None:
    (control,) = Controls(form_of(name)).of("input", "select", "textarea")
    (found,) = Controls(form_of(name)).of(tag)
    assert found is not None
    assert control["name"] == "value"
    for attribute, expected in attributes.items():
        if expected is LEFT_OUT:
            assert attribute not in control
        elif expected is None and attribute == "value":
            assert "value" not in control
        else:
            assert attribute in control
            assert control[attribute] in (expected, attribute)
    for value, expected in values.items():
        if value is LEFT_OUT:
            assert sent(name, value) == expected
        else:
            assert (value, sent(name, value)) == (value, expected)


def test_the_table_has_every_action_with_one_argument() -> None:
    actions = set(Kinds.__sessionstores__.actions)
    assert actions - {row[0] for row in TABLE} == {"nothing", "full", "breaks"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("day", "2030-02-01", "2030-02-01"),
        ("moment", "2030-02-01T10:00:00+00:00", "2030-02-01T10:00:00+00:00"),
        ("uuid", UUID, UUID),
        ("point", '{"x": 1}', [1, 0]),
    ],
)
def test_what_json_writes_as_text_or_objects_reaches_the_action_converted(
    name: str, value: str, expected: object
) -> None:
    form = form_of(name, {"value": value})
    assert form.is_valid(), form.errors
    state = Kinds()
    form.action.function(state, **form.decoded)
    assert state.got == [expected]


@pytest.mark.parametrize(
    ("name", "options", "chosen"),
    [
        ("literal", ["", "zeta", "alpha", "7"], []),
        ("default_literal", ["", "zeta", "alpha"], ["alpha"]),
        ("colour", ["", "red", "blue"], []),
        ("level", ["", "1", "2"], ["2"]),
        ("size", ["", "s", "l"], []),
    ],
)
def test_choices_stand_in_their_order_and_none_is_chosen_by_itself(
    name: str, options: list[str], chosen: list[str]
) -> None:
    found = Controls(form_of(name)).of("option")
    assert [each["value"] for each in found] == options
    assert [each["value"] for each in found if "selected" in each] == (chosen or [""])


def test_names_descriptions_and_defaults_are_shown_escaped() -> None:
    told = ["How <many>", "At most <five> & no more"]
    assert Controls(form_of("named")).texts == told
    assert "Large <one>" in Controls(form_of("size")).texts
    (area,) = Controls(form_of("default_items")).of("textarea")
    assert Controls(form_of("default_items")).texts == ["Value", '["a", "<b>"]']
    assert "<b>" not in str(form_of("default_items"))
    assert area["id"] == "id_value"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("text", '"><script>', '"><script>'),
        ("few", 7, "7"),
        ("real", 0.5, "0.5"),
        ("yes", True, "True"),
        ("yes", False, "False"),
        ("maybe_yes", None, None),
        ("maybe_yes", False, "False"),
        ("literal", 7, "7"),
        ("colour", Colour.BLUE, "blue"),
        ("size", Size.LARGE, "l"),
        ("items", [1, 2], "[1, 2]"),
        ("mixed", "7", '"7"'),
        ("whatever", True, "true"),
        ("whatever", None, "null"),
        ("maybe_text", None, None),
    ],
)
def test_a_preset_value_comes_back_as_it_is(
    name: str, value: object, shown: str | None
) -> None:
    form = form_of(name, presets={"value": value})
    (control,) = Controls(form).of("input", "select", "textarea")
    assert control["type"] == "hidden"
    assert control.get("value") == shown
    data = {"value": shown or ""}
    returned = form_of(name, data, hidden=("value",))
    assert returned.is_valid(), returned.errors
    assert returned.decoded == {"value": value}


def test_a_hidden_value_that_is_refused_is_told_of_the_form() -> None:
    form = form_of("few", {"value": "99"}, hidden=("value", "unknown"))
    assert not form.is_valid()
    assert list(form.errors) == ["__all__"]
    assert "This does not fit here." in str(form)


def test_a_form_with_a_prefix_reads_only_what_begins_with_it() -> None:
    data = {"value": "1", "of-value": "7"}
    form = form_of("between", data, prefix="of")
    assert form.is_valid()
    assert form.decoded == {"value": 7}
    assert 'name="of-value"' in str(form)
    # Left out is what was not sent, under its whole name.
    form = form_of("between", {"value": "1"}, prefix="of")
    assert not form.is_valid()


def test_an_action_is_called_by_its_label_else_by_its_name_in_words() -> None:
    named = get_action(Kinds, "between")
    assert label_of(named) == "Between"
    labelled = replace(named, label=gettext_lazy("Session code"))
    assert label_of(labelled) == "Session code"
    with translation.override("de"):
        assert label_of(labelled) == "Sitzungscode"


def test_a_preset_of_no_argument_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        TypeError, match=r"kinds\.few takes no argument 'valeu'.*'value'"
    ):
        form_of("few", presets={"valeu": 1})
    with pytest.raises(TypeError, match=r"'by' of clients\. It takes value, next"):
        form_of("full", presets={"by": "bob"})


def test_what_the_server_fills_in_has_no_control_and_cannot_be_sent() -> None:
    assert list(arguments_of(get_action(Shared, "write"))) == ["text"]
    form = form_of("full", {"value": "a", "by": "mallory", "other": "x"})
    assert form.is_valid()
    assert form.decoded == {"value": "a", "next": ""}


def test_errors_are_tied_to_their_control_and_the_first_has_the_focus() -> None:
    form = form_of("few", {"value": "99"}, auto_id="x-%s")
    assert not form.is_valid()
    (control,) = Controls(form).of("input")
    assert control["aria-invalid"] == "true"
    assert "autofocus" in control
    ids = [attrs.get("id") for _, attrs in Controls(form).found]
    assert {*control["aria-describedby"].split()} <= {*ids}
    (label,) = Controls(form).of("label")
    assert label["for"] == control["id"] == "x-value"
    assert 'role="alert"' not in str(form)


def test_errors_are_told_in_german() -> None:
    with translation.override("de"):
        form = form_of("few", {"value": "99"})
        assert "kleiner oder gleich 9" in str(form.errors["value"])


@given(st.sampled_from([row[0] for row in TABLE]), st.text(max_size=20))
def test_whatever_is_typed_is_taken_or_refused_at_its_argument(
    name: str, text: str
) -> None:
    form = form_of(name, {"value": text})
    assert form.is_valid() or list(form.errors) == ["value"]
    Controls(form)
