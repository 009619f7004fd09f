"""Which of a participant's actions a snapshot contains, by client."""

from __future__ import annotations

import pytest

from sessionstores.backends.client_entries import last_ids
from sessionstores.backends.client_limits import owner_of
from sessionstores.backends.types import PROFILE, ClientEntry
from sessionstores.realtime import connection
from tests.sockets import Opener


def test_last_ids_are_those_of_one_participant_without_marks_and_profile() -> None:
    entry = ClientEntry(3, {}, 1)
    names = ["al/a", "al/b", "alice/c8f2", "bob/c8f2", owner_of("al/a"), "", PROFILE]
    clients = {name: entry._replace(last=at) for at, name in enumerate(names, 1)}
    assert last_ids(clients, "al/") == {"a": 1, "b": 2}
    assert last_ids(clients, "alice/") == {"c8f2": 3}
    assert last_ids({"c8f2": entry, "": entry, PROFILE: entry}, "") == {"c8f2": 3}


async def test_the_snapshots_of_a_hello_name_the_last_actions_of_all_own_clients(
    tab: Opener,
) -> None:
    alice = await tab("alice", client="a1")
    assert [each["done"] for each in alice.snapshots.values()] == [{}, {}]
    bob = await tab("bob", client="b1")
    await alice.act(1, "board.note", text="x")
    await alice.act(2, "agenda.vote", card=1)
    await bob.act(7, "agenda.vote", card=2)
    again = await tab("alice", client="a2")
    assert again.snapshots["me"]["done"] == {"a1": 1}
    assert again.snapshots["session"]["done"] == {"a1": 2}
    await again.act(1, "board.note", text="y")
    third = await tab("alice", client="a1")
    assert third.snapshots["me"]["done"] == {"a1": 1, "a2": 1}
    theirs = await tab("bob", client="b2")
    assert theirs.snapshots["session"]["done"] == {"b1": 7}


async def test_what_was_refused_is_among_them_once_a_later_action_is_in(
    tab: Opener,
) -> None:
    alice = await tab("alice", client="a1")
    await alice.say(type="action", id=1, state="board", action="nothing")
    await alice.expect("reject", id=1)
    assert (await tab("alice")).snapshots["me"]["done"] == {}
    await alice.act(2, "board.note", text="x")
    assert (await tab("alice")).snapshots["me"]["done"] == {"a1": 2}


async def test_a_tab_that_has_the_newest_rev_is_told_of_them_too_when_it_comes_back(
    tab: Opener,
) -> None:
    alice = await tab("alice", client="a1")
    ack = await alice.act(1, "board.note", text="x")
    again = await tab("alice", client="a1", have={"me": ack["rev"]})
    assert "states" not in again.snapshots["me"]
    assert again.snapshots["me"]["done"] == {"a1": 1}


async def test_a_snapshot_for_which_no_record_is_read_names_none(
    tab: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await tab()
    rev = alice.snapshots["me"]["rev"]
    monkeypatch.delattr(connection, "open_document")
    await alice.say(type="sync", doc="me", rev=rev)
    assert "done" not in await alice.expect("snapshot", doc="me", rev=rev)


async def test_who_watches_somebody_is_not_told_of_their_clients(tab: Opener) -> None:
    bob = await tab("bob", client="b1")
    await bob.act(1, "board.note", text="x")
    watcher = await tab("alice", role="facilitator")
    await watcher.say(type="watch", participant="bob")
    while (frame := await watcher.receive()).get("doc") != "p:bob":
        pass
    assert frame["type"] == "snapshot"
    assert "done" not in frame
