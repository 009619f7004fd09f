"""Failures: each is counted once, and what is kept of it holds no content."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessionstores import ActionRejected, InvalidArguments, StateTooLarge, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.exceptions import OutcomeUnknown, SessionStoresError, StateCorrupt
from sessionstores.monitoring import failures
from sessionstores.monitoring.tally import (
    MAX_CODES,
    MAX_ERRORS,
    MAX_TYPES,
    OTHER,
    Tally,
    tally_of,
)
from tests.sockets import CODE
from tests.workshop.states import Board

PLACE = re.compile(r"[\w./<>-]+:\d+")


def tally() -> Tally:
    return tally_of(get_backend(blocking=True))


def raised(error: BaseException) -> BaseException:
    """Return an exception as it is when it has been raised."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def count(error: BaseException, **options: Any) -> None:
    failures.count(get_backend(blocking=True), raised(error), **options)


class BoardBroken(Exception):
    """An error of a site's own."""


@given(st.text(min_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_error_never_carries_its_text(text: str) -> None:
    secret = f"⟨{text}⟩"

    def fail(board: Board) -> None:
        board.notes = secret
        raise BoardBroken(secret, {"card": secret})

    with pytest.raises(BoardBroken):
        stores.get(Board, CODE, "alice").dispatch(fail)
    figures = stores.stats()
    report = figures.errors[0]
    assert (report.type, report.action) == ("BoardBroken", "board.fail")
    assert PLACE.fullmatch(report.place)
    for held in (figures.errors, figures.health, tally().errors):
        assert secret not in repr(held)
        assert repr(secret)[1:-1] not in repr(held)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ActionRejected("No."), "rejected"),
        (ActionRejected("No.", code="wrong_step"), "wrong_step"),
        (InvalidArguments("card"), "invalid_arguments"),
        (StateTooLarge("large"), "state_too_large"),
        (ActionRejected(code="alice said: hello"), OTHER),
        (ActionRejected(code="x" * 41), OTHER),
        (ActionRejected(code="é"), OTHER),
    ],
)
def test_a_refusal_is_counted_by_its_code_if_that_is_one(
    error: SessionStoresError, code: str
) -> None:
    count(error)
    assert tally().refused == {code: 1}
    assert stores.stats().health.refused == {code: 1}
    assert stores.stats().health.errors == 0


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("x"), OutcomeUnknown("server"), StateCorrupt("data")],
)
def test_a_fault_is_counted_by_its_type(error: Exception) -> None:
    count(error)
    assert tally().errors == {type(error).__name__: 1}
    assert stores.stats().health.refused == {}
    assert [each.type for each in stores.stats().errors] == [type(error).__name__]


def test_an_exception_that_has_been_counted_is_not_counted_again() -> None:
    error = ActionRejected("No.")
    count(error)
    count(error)
    assert tally().refused == {"rejected": 1}
    # A site may raise one object again and again.
    count(error, anew=True)
    assert tally().refused == {"rejected": 2}


def test_an_exception_that_lets_nobody_set_attributes_is_counted() -> None:
    class Frozen(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    error = Frozen()
    count(error)
    count(error)
    assert tally().errors == {"Frozen": 1}


def test_of_many_kinds_the_newest_are_known_and_all_are_counted() -> None:
    for number in range(MAX_CODES + 5):
        count(ActionRejected(code=f"code_{number}"))
    assert len(tally().refused) == MAX_CODES + 1
    assert tally().refused[OTHER] == 5
    for number in range(MAX_TYPES + 5):
        count(type(f"Broken{number}", (Exception,), {})("x"))
    assert tally().errors[OTHER] == 5
    health, errors = stores.stats().health, stores.stats().errors
    assert health.errors == MAX_TYPES + 5
    newest = range(MAX_TYPES + 4, MAX_TYPES + 4 - MAX_ERRORS, -1)
    assert {each.type for each in errors} == {f"Broken{number}" for number in newest}


def test_the_place_is_the_sites_own_line_where_a_library_raised() -> None:
    def fail(board: Board) -> None:
        Path("no such file\0").stat()

    with pytest.raises(ValueError, match="null"):
        stores.get(Board, CODE, "alice").dispatch(fail)
    (report,) = stores.stats().errors
    line = fail.__code__.co_firstlineno + 1
    assert report.place == f"tests/monitoring/test_failures.py:{line}"


def frames(*modules: tuple[str, str]) -> Any:
    """Return a traceback of frames in these modules and files, the innermost last."""
    trace = None
    for line, (name, file) in reversed([*enumerate(modules, 1)]):
        code = SimpleNamespace(co_filename=file)
        frame = SimpleNamespace(f_globals={"__name__": name}, f_code=code)
        trace = SimpleNamespace(tb_frame=frame, tb_lineno=line, tb_next=trace)
    return SimpleNamespace(__traceback__=trace)


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("workshop.states", "/srv/app/workshop/states.py", "workshop/states.py:1"),
        ("workshop", "/srv/app/workshop/__init__.py", "workshop/__init__.py:1"),
        ("states", "/home/alice/states.py", "states.py:1"),
        ("__main__", "/home/alice/secret/run.py", "run.py:1"),
        ("workshop.made", "<string>", "<string>:1"),
        ("", "/home/alice/x.py", "x.py:1"),
    ],
)
def test_a_place_is_never_an_absolute_path(name: str, file: str, place: str) -> None:
    assert failures.place_of(frames((name, file))) == place


def test_without_a_line_in_the_package_it_is_the_innermost() -> None:
    trace = frames(("sessionstores.a", "sessionstores/a.py"), ("redis.x", "redis/x.py"))
    assert failures.place_of(trace, "workshop.states") == "redis/x.py:2"
    assert failures.place_of(trace, "sessionstores.b") == "sessionstores/a.py:1"
    assert failures.place_of(ValueError()) == ""


def test_a_coroutine_function_counts_what_it_raises() -> None:
    @failures.counted
    async def fail(backend: Any, error: Exception) -> None:
        raise error

    with pytest.raises(ActionRejected):
        run(fail(get_backend(blocking=True), ActionRejected("No.")))
    assert tally().refused == {"rejected": 1}
