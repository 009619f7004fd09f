"""Participants: identity and role, signed links, and the config of a page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.urls import get_script_prefix
from django.utils.functional import Promise
from django.utils.translation import get_language

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import UNKNOWN, Profile
from ..concurrency.async_unsafe import async_unsafe
from ..exceptions import shown
from ..keys import StoreKey, check_code, check_participant
from ..state import codec
from ..state.declaration import Scope, register_injectable, states_in
from ..store.records import open_document
from . import tokens
from .messages import client_messages
from .names import check_name
from .private_pages import note_token
from .requests import LINK_PARAMETER
from .tokens import DEFAULT_ROLE as DEFAULT_ROLE
from .tokens import LINK_SALT, check_role, make_token

WEBSOCKET_PATH = "ws/sessionstores/"


@dataclass(frozen=True, slots=True)
class Participant:
    """One person in one session, however many tabs, their role, and their name if any.

    Raises `InvalidKey` for anything but a session code, a participant id, a role and a
    name.
    """

    session: str
    id: str
    role: str = DEFAULT_ROLE
    name: str | None = None

    def __post_init__(self) -> None:
        check_code(self.session)
        check_participant(self.id)
        check_role(self.role)
        if self.name is not None:
            check_name(self.name)

    @property
    def key(self) -> StoreKey:
        """The key of the participant's record."""
        return StoreKey(self.session, self.id)

    def token(self) -> str:
        """Sign a token with which a tab connects, valid for `TOKEN_MAX_AGE`."""
        note_token()
        return make_token(tokens.issue_here(self.session, self.id, self.role))

    def link(self, url: str) -> str:
        """Return `url` with a signed parameter that makes its visitor this participant.

        Query and fragment stay. Anyone with the link is the participant, on that one
        page and for `TOKEN_MAX_AGE`; it overrides the browser's Django session without
        changing it, so several participants fit in one browser.
        """
        if not isinstance(url, str | Promise):
            raise TypeError(f"link() takes the URL of a page, not {shown(url)}.")
        note_token()
        claims = tokens.issue_here(self.session, self.id, self.role)
        signed = make_token(claims, salt=LINK_SALT)
        # By hand: of a path that comes from a client, not all can be parsed as a URL.
        page, mark, fragment = str(url).partition("#")
        path, _, query = page.partition("?")
        others = [
            pair
            for pair in query.split("&")
            if pair and pair.partition("=")[0] != LINK_PARAMETER
        ]
        query = "&".join([*others, f"{LINK_PARAMETER}={signed}"])
        return f"{path}?{query}{mark}{fragment}"

    @async_unsafe("Inside an event loop: await participant.aconfig() instead.")
    def config(self) -> dict[str, Any]:
        """Return the JSON with which a page shows its state at once and connects.

        Both documents are opened, so missing states are created and committed. They
        are two reads: there is no order between documents. Raises `SessionEnded`,
        `Kicked`, `LimitReached` and, for a newcomer whom no request or token has
        identified, `SessionLocked`.
        """
        return run(_config(get_backend(blocking=True), self))

    async def aconfig(self) -> dict[str, Any]:
        """See `config`."""
        return await _config(get_backend(blocking=False), self)


register_injectable(Participant)


def as_recorded(participant: Participant, profile: Profile) -> Participant:
    """Return the participant with the role and the name that the record has, if any."""
    role, name = profile.role or participant.role, profile.name or participant.name
    if (role, name) == (participant.role, participant.name):
        return participant
    return replace(participant, role=role, name=name)


async def _config(backend: Backend, participant: Participant) -> dict[str, Any]:
    note_token()
    documents: tuple[tuple[str, Scope, StoreKey], ...] = (
        ("me", "participant", participant.key),
        ("session", "session", StoreKey.of_session(participant.session)),
    )
    claims = await tokens.issue(
        backend, participant.session, participant.id, participant.role
    )
    profile = Profile(participant.name, participant.role)
    docs: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for doc, scope, key in documents:
        whose = UNKNOWN if key.is_session else profile
        record = await open_document(backend, key, profile=whose)
        names = [cls.__sessionstores__.name for cls in states_in(scope)]
        states = {name: codec.plain(record.states[name]) for name in names}
        docs[doc] = {"rev": str(record.rev), "states": states}
        places |= dict.fromkeys(names, doc)
    return {
        "url": get_script_prefix() + WEBSOCKET_PATH,
        "token": make_token(claims),
        "session": participant.session,
        "participant": participant.id,
        "role": participant.role,
        "name": participant.name,
        "docs": docs,
        "states": places,
        "lang": get_language() or settings.LANGUAGE_CODE,
        "messages": client_messages(),
        # The client freezes states then, so that a page's mistakes show.
        **({"debug": True} if settings.DEBUG else {}),
    }
