"""A tab's copy of a document ends equal to the server's, whatever is lost or late."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sessionstores.state.revisions import Rev
from sessionstores.testing.documents import TabDocument, is_past


def chain(length: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Return revs, and the patches that lead from each to the next."""
    rev, revs = Rev.first(), []
    for _ in range(length + 1):
        revs.append(str(rev))
        rev = rev.next()
    patches = [
        {
            "doc": "me",
            "base": revs[n],
            "rev": revs[n + 1],
            "ops": [{"op": "add", "path": f"/board/{n}", "value": n}],
        }
        for n in range(length)
    ]
    return revs, patches


def snapshot(revs: list[str], n: int, *, reset: bool = False) -> dict[str, Any]:
    states = {"board": {str(each): each for each in range(n)}}
    return {"doc": "me", "rev": revs[n], "states": states, "reset": reset, "run": "9c"}


@given(st.data())
def test_it_ends_equal_or_asks(data: st.DataObject) -> None:
    revs, patches = chain(data.draw(st.integers(1, 8)))
    document = TabDocument()
    document.take_snapshot(snapshot(revs, data.draw(st.integers(0, len(patches)))))
    arriving = data.draw(st.lists(st.sampled_from(patches), max_size=20))
    for frame in arriving:
        document.take_patch(frame)
        if data.draw(st.booleans()):
            document.take_head(data.draw(st.sampled_from(revs)))
        assert document.rev is not None
        place = revs.index(document.rev)
        assert document.states == snapshot(revs, place)["states"]
    document.take_head(revs[-1])
    if document.rev != revs[-1]:
        assert document.lacks
        document.forget()
        document.asked = True
        assert not document.lacks
        document.take_snapshot(snapshot(revs, len(patches)))
    assert document.states == snapshot(revs, len(patches))["states"]
    assert not document.lacks
    assert document.run == "9c"


def test_a_snapshot_that_was_overtaken_changes_nothing() -> None:
    revs, patches = chain(2)
    document = TabDocument()
    document.take_snapshot(snapshot(revs, 1))
    document.take_patch(patches[1])
    assert not document.take_snapshot(snapshot(revs, 1))
    assert document.rev == revs[2]
    # One that takes something away is not overtaken.
    assert document.take_snapshot(snapshot(revs, 1, reset=True))
    assert document.rev == revs[1]


def test_a_patch_that_does_not_fit_is_asked_for() -> None:
    revs, patches = chain(1)
    document = TabDocument()
    document.take_snapshot({**snapshot(revs, 0), "states": {}})
    document.take_patch(patches[0])
    assert document.rev == revs[0]
    assert document.lacks


def test_nobody_is_past_another_history() -> None:
    (one, *_), _ = chain(1)
    (other, *_), _ = chain(1)
    assert is_past(one, one)
    assert not is_past(one, other)
    assert not is_past(None, one)
