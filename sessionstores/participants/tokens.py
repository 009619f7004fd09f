"""Signed tokens: a participant's claims for a tab or a link, and their validation."""

from __future__ import annotations

import asyncio
import math
import time
from typing import NamedTuple

from django.core import signing
from django.utils.translation import gettext_lazy as _

from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.errors import kicked
from ..backends.types import Profile, Standing
from ..exceptions import (
    InsideTransaction,
    InvalidKey,
    InvalidToken,
    SessionEnded,
    StoreUnavailable,
    shown,
)
from ..keys import StoreKey, check_code, check_participant

# A token opens a connection; a link opens pages and is part of URLs, which get logged
# and shared. Neither passes for the other.
TOKEN_SALT = "sessionstores.token"
LINK_SALT = "sessionstores.link"

DEFAULT_ROLE = "participant"
MAX_ROLE_LENGTH = 64
# The longest that we sign, with a role of 64 emoji, has 1199 characters.
MAX_TOKEN_LENGTH = 1536


def check_role(role: object) -> str:
    """Return `role` if it can be signed, else raise `InvalidKey`."""
    if (
        isinstance(role, str)
        and role.isprintable()
        and 0 < len(role) <= MAX_ROLE_LENGTH
    ):
        return role
    length = len(role) if isinstance(role, str) else 0
    long = (
        f"it is {length} characters long. A role has "
        if length > MAX_ROLE_LENGTH
        else ""
    )
    raise InvalidKey(
        f"{shown(role)} is not a role: {long}1 to {MAX_ROLE_LENGTH} printable "
        "characters.",
        message=_("This is not a role. Check it, then try again."),
    )


class Claims(NamedTuple):
    """The content of a token: the participant, the role, and the time of issue.

    `issued` is in seconds since the epoch, with fractions: a token that follows a
    revocation within the same second is valid.
    """

    session: str
    participant: str
    role: str
    issued: float

    @classmethod
    def now(cls, session: str, participant: str, role: str) -> Claims:
        """Return claims that are issued at this moment, by the estimated clock."""
        return cls(session, participant, role, get_backend(blocking=True).clock())

    @property
    def key(self) -> StoreKey:
        """The key of the participant's record."""
        return StoreKey(self.session, self.participant)


async def issue(backend: Backend, session: str, participant: str, role: str) -> Claims:
    """Return claims that are issued at this moment, by the backend's clock."""
    return Claims(session, participant, role, await _read_clock(backend))


async def _read_clock(backend: Backend) -> float:
    """Return the backend's time; one call, or two once a minute, to set its clock."""
    clock = backend.clock
    if backend.in_memory:
        return clock()
    if clock.is_due():
        # Some backends learn their server's time only while they talk to it.
        await backend.value("clock")
    asked_at = time.monotonic()
    now = await backend.now()
    clock.synchronise(now, asked_at)
    return now


async def check_clock(backend: Backend) -> None:
    """Set the backend's clock by its server's, if that is due."""
    if not backend.in_memory and backend.clock.is_due():
        await _read_clock(backend)


def issue_here(session: str, participant: str, role: str) -> Claims:
    """Return claims that are issued at this moment, inside an event loop or not.

    Asks the cache for the time; inside an event loop, where that would block, and in an
    outage, it uses the estimated clock.
    """
    blocking = not _in_loop()
    backend = get_backend(blocking=blocking)
    if blocking or backend.in_memory:
        try:
            return run(issue(backend, session, participant, role))
        except (StoreUnavailable, InsideTransaction):
            pass
    return Claims.now(session, participant, role)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def make_token(claims: Claims, *, salt: str = TOKEN_SALT) -> str:
    """Sign `claims`, as URL-safe text; signing again gives the same text."""
    return signing.Signer(salt=salt).sign_object(list(claims))


def read_token(token: object, *, max_age: float, salt: str = TOKEN_SALT) -> Claims:
    """Return the claims of `token`, if this site signed it within `max_age` seconds.

    Keys in `SECRET_KEY_FALLBACKS` are accepted. Raises `InvalidToken`, whose message
    never repeats the token. `check_standing` looks for revocations; and at the age, if
    this process does not know the backend's time yet.
    """
    if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken(
            f"A token is text of at most {MAX_TOKEN_LENGTH} characters; send the one "
            "that the page was given."
        )
    try:
        content = signing.Signer(salt=salt).unsign_object(token)
    except (signing.BadSignature, ValueError):
        raise InvalidToken(
            "The token's signature does not match: it was changed, cut short, or "
            "issued for another purpose or by another site. Reload the page for a "
            "new one."
        ) from None
    claims = parse_claims(content)
    if claims is None:
        raise InvalidToken(
            "The token is signed, but this version cannot read its content. "
            "Reload the page for a new one."
        )
    backend = get_backend(blocking=True)
    if backend.in_memory or backend.clock.is_known:
        check_age(claims, max_age=max_age)
    return claims


def parse_claims(content: object) -> Claims | None:
    """Return claims from their JSON form, a list; None if it is anything else."""
    if not isinstance(content, list) or len(content) != len(Claims._fields):
        return None
    session, participant, role, issued = content
    if not isinstance(issued, float | int) or not math.isfinite(issued):
        return None
    try:
        # No token is for the session's own record: its "*" is not a participant id.
        check_code(session)
        check_participant(participant)
        check_role(role)
    except InvalidKey:
        return None
    return Claims(session, participant, role, issued)


def check_age(claims: Claims, *, max_age: float) -> None:
    """Raise `InvalidToken` if `claims` were issued more than `max_age` seconds ago."""
    now = get_backend(blocking=True).clock()
    if now - claims.issued > max_age:
        raise InvalidToken(
            f"The token has expired: it is {now - claims.issued:.0f} s old, and "
            f"TOKEN_MAX_AGE is {max_age:g} s. Reload the page for a new one, or pass "
            "connect() a `token` function that fetches one."
        )


def check_claims(claims: Claims, standing: Standing, *, max_age: float) -> None:
    """Raise `InvalidToken`, `SessionEnded` or `Kicked` if `claims` are not valid now.

    For callers that read the standings of many at once.
    """
    if standing.ended:
        raise SessionEnded(
            f"Session {claims.session} has ended, and its tokens with it. Start a new "
            "session."
        )
    if standing.kicked:
        raise kicked(claims.key)
    if standing.revoked_at is not None and claims.issued <= standing.revoked_at:
        raise InvalidToken(
            f"The tokens of {claims.key} were revoked. Join the session again."
        )
    check_age(claims, max_age=max_age)


async def check_standing(
    backend: Backend, claims: Claims, *, max_age: float
) -> Profile:
    """Check `claims` against the backend; one call, once a minute three.

    Returns what the record says of the participant, which decides over the claims.
    Raises `SessionEnded` under a tombstone, `Kicked` for whom the session keeps out,
    and `InvalidToken` if they have expired or were issued before a revocation of the
    participant or of the whole session.
    """
    standings = await backend.standings([claims.key], profiles=True)
    await check_clock(backend)
    standing = standings[claims.key]
    check_claims(claims, standing, max_age=max_age)
    return standing.profile
