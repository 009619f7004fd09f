"""Isolation checks of a session."""

from __future__ import annotations

from sessionstores.admin.isolation import IsolationProbe, probe
from sessionstores.backends.types import EVERYONE, Lease, ParticipantInfo
from sessionstores.keys import SESSION, StoreKey
from sessionstores.realtime.hub import current_hub
from sessionstores.state.revisions import Rev
from tests.sockets import CODE, Socket


def info(id: str, rev: Rev | None = None) -> ParticipantInfo:
    return ParticipantInfo(id, rev or Rev.first(), 0, 0, 10, 1)


def lease(id: str, *follows: str, code: str = CODE) -> Lease:
    return Lease(f"{id}-1", StoreKey(code, id), "web", "c", frozenset(follows))


def goods(probes: list[IsolationProbe]) -> list[bool]:
    return [each.good for each in probes]


def test_all_is_well_where_each_follows_their_own() -> None:
    people = [info("alice"), info("bob")]
    leases = [lease("alice", "alice", SESSION), lease("bob", "bob", SESSION)]
    records, connections, objects = probe(CODE, people, leases)
    assert goods([records, connections, objects]) == [True, True, True]
    # It says that there was nothing to check.
    assert objects.text == "The process that answers has no open tab"


def test_two_at_one_revision_are_the_same_record() -> None:
    rev = Rev.first()
    people = [info("alice", rev), info("bob", rev), info("carol")]
    records, _connections, _objects = probe(CODE, people, [])
    assert not records.good
    assert records.text == "The same record for alice, bob"


def test_a_connection_that_follows_only_somebody_else_fails_the_check() -> None:
    for stray in (lease("bob", "alice"), lease("bob", "bob", code="AAAAAA")):
        _records, connections, _objects = probe(CODE, [], [stray])
        assert not connections.good
        assert "bob" in connections.text
    _records, watching, _objects = probe(CODE, [], [lease("bob", EVERYONE)])
    assert watching.good


async def test_it_looks_at_the_open_tabs_of_this_process() -> None:
    socket = await Socket().hello("alice")
    try:
        assert goods(probe(CODE, [], [])) == [True, True, True]
        (connection,) = current_hub().connections.values()
        document = connection.documents.pop(StoreKey(CODE, "alice"))
        connection.documents[StoreKey("AAAAAA", "alice")] = document
        _records, connections, _objects = probe(CODE, [], [])
        assert not connections.good
        assert connections.text == "Follows another session: alice"
        del connection.documents[StoreKey("AAAAAA", "alice")]
        connection.documents[StoreKey(CODE, "bob")] = document
        _records, connections, _objects = probe(CODE, [], [])
        assert connections.good
        assert connections.text == "Each follows its own; watching by role: alice"
        del connection.documents[StoreKey(CODE, "bob")]
        connection.documents[StoreKey(CODE, "alice")] = document
    finally:
        await socket.drop()


async def test_a_tab_that_watches_is_named() -> None:
    bob, ada = await Socket().hello("bob"), Socket()
    try:
        await ada.hello("ada", role="facilitator")
        await ada.say(type="watch", participant="*")
        await ada.expect("watching")
        await ada.expect("snapshot", doc="p:bob")
        probes = probe(CODE, [], [])
        assert goods(probes) == [True, True, True]
        assert probes[1].text == "Each follows its own; watching by role: ada"
    finally:
        await ada.drop()
        await bob.drop()


async def test_an_object_that_two_tabs_are_sent_through_would_show() -> None:
    alice, bob = await Socket().hello("alice"), await Socket().hello("bob")
    try:
        *_others, objects = probe(CODE, [], [])
        assert objects.good
        assert objects.text == "2 tabs in the process that answers, nothing shared"
        first, second = current_hub().connections.values()
        own = second.documents[second.key]
        second.documents[second.key] = first.documents[first.key]
        *_others, objects = probe(CODE, [], [])
        assert not objects.good
        assert objects.text == "Two tabs share an object: alice, bob"
        second.documents[second.key] = own
    finally:
        await alice.drop()
        await bob.drop()
