"""Correct uses, with the types that every checker has to infer."""

from __future__ import annotations

from typing import Any, assert_type

from sessionstores import (
    Participant,
    Snapshot,
    Stats,
    Store,
    StoreKey,
    Sweep,
    join,
    participant_required,
    stores,
)
from sessionstores.forms import JoinForm
from sessionstores.middleware import ParticipantRequest
from sessionstores.signals import participant_removed
from sessionstores.views import JoinView

from .states import Agenda, Board, Keyed, Listed, Table

CODE = "K7Q2ZD"
alice = stores.get(Board, CODE, "alice")
agenda = stores.get(Agenda, CODE)
table = stores.get(Table, CODE)


def reads() -> None:
    assert_type(alice, Store[Board])
    assert_type(stores.get("board", CODE, "alice"), Store[Any])
    assert_type(alice.state, Board)
    assert_type(alice.state.deck, list[str])
    assert_type(alice.snapshot(), Snapshot[Board])
    assert_type(alice.peek(), Snapshot[Board] | None)
    assert_type(stores.peek_all(Board, CODE), dict[str, Snapshot[Board]])
    assert_type(stores.peek_all("board", CODE), dict[str, Snapshot[Any]])
    assert_type(alice.snapshot().rev, str)
    assert_type(alice.key, StoreKey)
    Board(deck=["ace"])
    Keyed(first_name="Ada")


def dispatches(by: Participant) -> None:
    assert_type(alice.dispatch(Board.move, "ace"), bool)
    assert_type(alice.dispatch(Board.move, "ace", pile="keep"), bool)
    assert_type(alice.dispatch(Board.move, "ace", agenda=Agenda()), bool)
    assert_type(alice.dispatch(lambda board: board.deck.pop()), str)
    assert_type(agenda.dispatch(Agenda.advance), int)
    agenda.dispatch(Agenda.go, 2)
    agenda.dispatch(Agenda.vote, 5, by=by)
    assert_type(table.dispatch(Table.reveal), int)
    assert_type(table.dispatch(Table.reveal, 2, boards={"alice": Board()}), int)
    listed = stores.get(Listed, CODE, "alice")
    listed.dispatch(Listed.clear)
    assert_type(listed.dispatch(Listed.fill, "x"), int)
    assert_type(alice.replace(Board(), base="7f3a.45-9f3ac21b"), str)


async def waits(by: Participant) -> None:
    assert_type(await alice.asnapshot(), Snapshot[Board])
    assert_type(await alice.apeek(), Snapshot[Board] | None)
    assert_type(await alice.adispatch(Board.move, "ace"), bool)
    assert_type(await table.adispatch(Table.reveal), int)
    assert_type(await stores.apeek_all(Board, CODE), dict[str, Snapshot[Board]])
    assert_type(await stores.acreate_session(keep=3_600), str)
    assert_type(await by.aconfig(), dict[str, Any])


def manages() -> None:
    assert_type(stores.create_session(label="Team day", keep=86_400), str)
    assert_type(stores.sessions(), list[str])
    assert_type(stores.participants(CODE), list[str])
    assert_type(stores.session_count(), int)
    assert_type(stores.cleanup_session(CODE), int)
    assert_type(stores.stats(), Stats)
    assert_type(stores.sweep(max_seconds=50), Sweep)
    assert_type(stores.extend(CODE, 3_600), bool)
    stores.send(CODE, {"announcement": "Lunch"})


class Entrance(JoinView):
    form_class = JoinForm
    role = "guest"

    def joined(self, participant: Participant, form: JoinForm) -> None:
        assert_type(participant.name, str | None)

    def get_success_url(self) -> str:
        assert_type(super().get_success_url(), str)
        return f"/{self.participant.session}/"


@participant_required(join_url="home")
def board(request: ParticipantRequest, code: str) -> dict[str, Any]:
    assert_type(request.participant, Participant | None)
    person = join(request, code, role="facilitator")
    assert_type(person, Participant)
    assert_type(person.id, str)
    assert_type(person.role, str)
    assert_type(person.link("/K7Q2ZD/"), str)
    return person.config()


def archive(
    session: str, participant: str, states: dict[str, object], **named: object
) -> None:
    print(session, participant, states.get("board"), named)  # noqa: T201


# Of Django, whose own types pyright has to guess.
participant_removed.connect(archive)  # pyright: ignore[reportUnknownMemberType]
