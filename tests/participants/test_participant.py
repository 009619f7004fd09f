"""Participants: identity, signed links, and the config of a page."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.urls import set_script_prefix

from sessionstores.exceptions import (
    InvalidKey,
    SessionEnded,
)
from sessionstores.keys import StoreKey
from sessionstores.manager import stores
from sessionstores.participants.participant import Participant
from sessionstores.participants.tokens import LINK_SALT, read_token
from sessionstores.state.declaration import State, action, field, get_action, registry
from tests.workshop.states import Agenda, Board


@pytest.mark.parametrize(
    ("session", "id", "role"),
    [
        ("k7q2zd", "alice", "participant"),
        ("K7Q2ZD\n", "alice", "participant"),
        ("K7Q2ZD", "*", "participant"),
        ("K7Q2ZD", "a" * 65, "participant"),
        ("K7Q2ZD", "alice", ""),
        ("K7Q2ZD", "alice", "two\nlines"),
    ],
)
def test_participant_has_a_valid_code_id_and_role(
    session: str, id: str, role: str
) -> None:
    with pytest.raises(InvalidKey):
        Participant(session, id, role)


def test_participant_has_the_key_of_its_record() -> None:
    assert Participant("K7Q2ZD", "alice").key == StoreKey("K7Q2ZD", "alice")


def test_token_speaks_for_its_participant_only() -> None:
    tokens = {
        who: read_token(who.token(), max_age=60)
        for who in (
            Participant("K7Q2ZD", "alice"),
            Participant("K7Q2ZD", "bob", "facilitator"),
            Participant("ABC234", "alice"),
        )
    }
    for who, claims in tokens.items():
        assert claims[:3] == (who.session, who.id, who.role)


def test_actions_are_given_who_acts() -> None:
    with registry.isolated():

        class Poll(State, scope="session"):
            voters: list[str] = field(default_factory=list)

            @action
            def vote(self, *, by: Participant) -> None:
                self.voters.append(by.id)

        poll = stores.get(Poll, "K7Q2ZD")
        poll.dispatch(Poll.vote, by=Participant("K7Q2ZD", "alice"))
        assert poll.state.voters == ["alice"]
        assert get_action(Poll, "vote").injected == {"by": Participant}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/b/", "/b/?ss_participant="),
        ("/b/?", "/b/?ss_participant="),
        ("/b/?a=1&b=%20&c", "/b/?a=1&b=%20&c&ss_participant="),
        ("/b/?ss_participant=old&a=1", "/b/?a=1&ss_participant="),
        ("/b/?participants=2", "/b/?participants=2&ss_participant="),
        ("https://x.example/b?a=é#part", "https://x.example/b?a=é&ss_participant="),
        ("", "?ss_participant="),
    ],
)
def test_link_keeps_query_and_fragment(url: str, expected: str) -> None:
    link = Participant("K7Q2ZD", "alice").link(url)
    plain, _, fragment = link.partition("#")
    assert plain.startswith(expected)
    assert fragment == url.partition("#")[2]
    signed = plain.removeprefix(expected)
    assert read_token(signed, max_age=60, salt=LINK_SALT).participant == "alice"


@pytest.fixture
def prefix() -> Iterator[str]:
    set_script_prefix("/site/")
    yield "/site/"
    set_script_prefix("/")


def test_config_has_all_that_a_page_needs_as_json(code: str) -> None:
    alice = Participant(code, "alice", "facilitator")
    board = stores.get(Board, code, "alice")
    board.dispatch(Board.move, "ace", "kept </script>", agenda=Agenda())
    config = alice.config()
    assert json.loads(json.dumps(config)) == config
    assert read_token(config["token"], max_age=60)[:3] == (code, "alice", alice.role)
    expected = {
        "url": "/ws/sessionstores/",
        "session": code,
        "participant": "alice",
        "role": "facilitator",
        "states": {"agenda": "session", "board": "me"},
    }
    assert config.items() >= expected.items()
    assert config["docs"].keys() == {"me", "session"}
    me = config["docs"]["me"]
    assert me["rev"] == board.snapshot().rev
    assert me["states"]["board"]["piles"] == {"kept </script>": ["ace"]}
    session = config["docs"]["session"]
    assert session["states"]["agenda"] == {"step": 1, "votes": {}}
    assert session["rev"] == stores.get(Agenda, code).snapshot().rev


def test_config_respects_the_script_prefix(code: str, prefix: str) -> None:
    config = Participant(code, "alice").config()
    assert config["url"] == f"{prefix}ws/sessionstores/"


def test_config_opens_both_documents_once(code: str) -> None:
    alice = Participant(code, "alice")
    first = alice.config()
    assert stores.participants(code) == ["alice"]
    assert alice.config()["docs"] == first["docs"]


def test_config_leaves_out_states_that_are_no_longer_declared(code: str) -> None:
    alice = Participant(code, "alice")
    with registry.isolated(Board):

        class Gone(State):
            x: int = 1

        assert alice.config()["states"] == {"board": "me", "gone": "me"}
    with registry.isolated(Board):
        config = alice.config()
        assert config["states"] == {"board": "me"}
        assert config["docs"]["me"]["states"].keys() == {"board"}
        assert config["docs"]["session"]["states"] == {}


def test_config_never_holds_anothers_state(code: str) -> None:
    alice, bob = Participant(code, "alice"), Participant(code, "bob")
    stores.get(Board, code, "bob").dispatch(Board.note, "secret of bob")
    assert "secret of bob" not in json.dumps(alice.config())
    assert "secret of bob" in json.dumps(bob.config())


def test_config_of_an_ended_session_says_so(ended: str) -> None:
    with pytest.raises(SessionEnded):
        Participant(ended, "alice").config()
