"""What the page on privacy says of removals and durations is what the code does."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sessionstores import stores
from sessionstores.backends import get_backend, record_cache, types
from sessionstores.backends.base import run
from sessionstores.backends.cas import sessions
from sessionstores.store import removals
from tests.workshop.states import Board

PAGE = (Path(__file__).parent.parent / "docs/explanation/privacy.md").read_text()
DAY = 86_400.0


def test_its_durations_are_those_of_the_code() -> None:
    assert types.QUARANTINE == sessions.NOTES_LIFETIME == DAY
    assert f"the latest {types.MAX_EVENTS} events" in PAGE
    assert f"| {types.MAX_EVENTS} newer ones have come" in PAGE
    assert types.CLIENT_MEMORY == 600
    assert "ten minutes after the tab's last action there" in PAGE
    assert f"at most {record_cache.MAX_BYTES // 2**20} MiB" in PAGE
    assert (removals.BEATS, removals.NOTICED_WITHIN) == (3, 5)


def keys_of(code: str) -> set[str]:
    """Return the kinds of keys of a session that hold anything."""
    store = get_backend(blocking=True).store  # type: ignore[attr-defined]
    names = run(store.list_keys())
    held = {name: each.value for name, each in run(store.read(names)).items()}
    return {
        name.split("}:")[1].split(":")[0]
        for name, value in held.items()
        if f"{{{code}}}" in name and value
    }


@pytest.mark.parametrize("end", [False, True])
def test_a_removed_session_leaves_what_it_says(
    *, end: bool, caplog: pytest.LogCaptureFixture
) -> None:
    code = stores.create_session()
    board = stores.get(Board, code, "alice")
    board.dispatch(lambda state: setattr(state, "notes", "hers"))
    store = get_backend(blocking=True).store  # type: ignore[attr-defined]
    (name,) = [each for each in run(store.list_keys()) if each.endswith(":p:alice")]
    (held,) = run(store.read([name])).values()
    run(store.cas(name, held.token, b"junk", None))
    with caplog.at_level(logging.CRITICAL, "sessionstores"):
        assert board.state.notes == ""
    stores.revoke(code, "alice")
    run(get_backend(blocking=True).note(code, [{"at": 1.0, "kind": "changed"}]))
    assert {"s", "p", "q", "r", "n"} <= keys_of(code)
    (stores.end_session if end else stores.cleanup_session)(code)
    # Quarantine and revocations; a tombstone.
    assert keys_of(code) == {"q", "r", *("t" if end else "")}


def test_a_removed_participant_leaves_their_name_in_the_timeline() -> None:
    code = stores.create_session()
    stores.get(Board, code, "alice").touch()
    stores.get(Board, code, "alice").dispatch(lambda state: state.deck.clear())
    event = {"at": 1.0, "kind": "changed", "who": "alice", "text": "board", "count": 1}
    run(get_backend(blocking=True).note(code, [event]))
    stores.cleanup_participant(code, "alice")
    assert "p" not in keys_of(code)
    info = run(get_backend(blocking=True).session(code))
    assert info
    assert [each["who"] for each in info.events] == ["alice"]
