"""Join a session, and resolve the participant of later requests."""

from __future__ import annotations

from django.http import HttpRequest

from .. import conf
from ..backends import get_backend
from ..backends.base import Backend, run
from ..backends.types import UNKNOWN, Profile, Standing
from ..concurrency.async_unsafe import async_unsafe
from ..exceptions import (
    InvalidToken,
    Kicked,
    SessionEnded,
    StateCorrupt,
    UnknownSession,
)
from ..keys import StoreKey, check_participant, normalize_code
from ..monitoring.failures import counted
from ..sessions import presence
from ..state.declaration import states_in
from ..store.admissions import admit
from ..store.records import open_record
from . import tokens
from .identities import Origin
from .names import check_name
from .participant import Participant, as_recorded
from .requests import RequestIdentity, code_of
from .throttling import GuessThrottle
from .tokens import DEFAULT_ROLE, Claims, check_role, check_standing


@async_unsafe("Inside an event loop: await ajoin() instead.")
def join(
    request: HttpRequest,
    code: str,
    *,
    name: str | None = None,
    participant: str | None = None,
    role: str | None = None,
    create: bool = False,
) -> Participant:
    """Make the visitor a participant of session `code`, and return it.

    The code may be as people type it; see `normalize_code`.

    The first join decides the id, and the Django session keeps it as long as it lives:
    `participant` if given (it replaces the id kept before), a keyed hash of the user's
    pk for a user (the same in every browser, and if a key of `SECRET_KEY_FALLBACKS`
    made it), one of a random seed for a guest. Two requests at once make one person if
    the browser had a session of Django's before them, or was shown `views.JoinView`.
    A visitor with a signed link for this session is the participant that the link
    names, and nothing is kept. `role`, "participant" if left out, counts for newcomers
    only: from then on the record's decides, see `stores.set_role`, until a revocation
    withdraws it. `name` replaces the one that the record has; see `stores.set_name`. Of
    a user the pk is kept, too. The participant's record is opened, so `stores.people()`
    lists it, and `request.participant` is the result from here on: join for a POST,
    since a GET may be a link preview.

    `create` makes the session if there is none; otherwise unknown codes and ended ones
    raise the same `UnknownSession`, and past `GUESS_LIMIT` of these from one address
    `LimitReached`, before anything is looked up; visitors who have joined before are
    not counted, and a newcomer who gets in gives one back. An address is REMOTE_ADDR,
    of IPv6 its /64 network: behind a proxy, let the server set it from the proxy's
    header (uvicorn: `--proxy-headers`), else all visitors share one.

    Raises `InvalidKey` before any cache access, `Kicked` for whom this browser keeps,
    the link or the site names, until they are readmitted, `SessionLocked` for a
    newcomer (nobody is one whose id this browser keeps, or who has a valid link, with a
    record or without), and `LimitReached` past `MAX_PARTICIPANTS` or `MAX_SESSIONS`.
    """
    backend = get_backend(blocking=True)
    return run(
        _join(
            backend,
            request,
            code,
            name=name,
            participant=participant,
            role=role,
            create=create,
        )
    )


async def ajoin(
    request: HttpRequest,
    code: str,
    *,
    name: str | None = None,
    participant: str | None = None,
    role: str | None = None,
    create: bool = False,
) -> Participant:
    """See `join`."""
    backend = get_backend(blocking=False)
    return await _join(
        backend,
        request,
        code,
        name=name,
        participant=participant,
        role=role,
        create=create,
    )


@counted
async def _join(
    backend: Backend,
    request: HttpRequest,
    code: str,
    *,
    name: str | None,
    participant: str | None,
    role: str | None,
    create: bool,
) -> Participant:
    code = normalize_code(code)
    name = name if name is None else check_name(name)
    _check(participant, role)
    visitor = RequestIdentity(request, blocking=backend.blocking)
    visitor.require_session()
    link = visitor.link(code) if participant is None else None
    if link is not None and not await _is_valid(backend, link, or_kicked=True):
        link = None
    kept = await visitor.kept(code)
    known = link or kept
    valid = kept if kept and await _is_valid(backend, kept) else None
    guesses = None
    if not create:
        guesses = await _admit(backend, code, request if known is None else None)
    origin = Origin()
    if participant is None:
        if link is not None:
            participant = link.participant
        else:
            participant, origin = await visitor.participant_id(backend, code, kept)
    if role is None:
        # A revoked participant may return, but without the role that they had.
        given = link or valid
        same = given if given and given.participant == participant else None
        role = same.role if same else DEFAULT_ROLE
    # Whoever has a link may be somebody else's guest.
    user = await visitor.user_pk() if link is None else None
    joined = Participant(code, participant, role, name)
    joined = await _open(backend, joined, known, user)
    if guesses is not None:
        await guesses.give_back()
    if link is None:
        await _keep(backend, visitor, valid, joined, origin)
    request.participant = joined  # type: ignore[attr-defined]
    return joined


def _check(participant: str | None, role: str | None) -> None:
    if participant is not None:
        check_participant(participant)
    if role is not None:
        check_role(role)


async def _open(
    backend: Backend, joined: Participant, known: Claims | None, user: str | None
) -> Participant:
    """Open the record, of a locked session only for whom this browser is `known`.

    Returns the participant with the name and the role that the record has now.
    """
    if known is not None and known.key == joined.key:
        admit(backend, joined.key)
    given = Profile(joined.name, joined.role, user)
    classes = states_in("participant")
    try:
        record = await open_record(backend, joined.key, classes, profile=given)
    except SessionEnded:
        raise _unknown(joined.session) from None
    profile = await backend.set_profile(joined.key, given, "join") or given
    if profile != record.profile:
        await presence.notify(backend, joined.session, changed=joined.key)
    return as_recorded(joined, profile)


async def _keep(
    backend: Backend,
    visitor: RequestIdentity,
    kept: Claims | None,
    joined: Participant,
    origin: Origin,
) -> None:
    """Keep the participant's claims, if they are new or past half of their age."""
    claims = await tokens.issue(backend, joined.session, joined.id, joined.role)
    if (
        kept is None
        or kept[:-1] != claims[:-1]
        or claims.issued - kept.issued > conf.get().token_max_age / 2
    ):
        await visitor.keep(backend, claims, origin)


async def _admit(
    backend: Backend, code: str, stranger: HttpRequest | None
) -> GuessThrottle | None:
    """Raise `UnknownSession` for an unknown code; count a stranger's failure.

    Return what a stranger who gets in gives a failure back to.
    """
    if stranger is None:
        if not await _exists(backend, code):
            raise _unknown(code)
        return None
    guesses = GuessThrottle(backend, stranger)
    await guesses.check()
    if not await _exists(backend, code):
        await guesses.count()
        raise _unknown(code)
    # Many guesses at once pass the first check together; a hit is reported only while
    # failures are few.
    await guesses.check()
    return guesses


async def _exists(backend: Backend, code: str) -> bool:
    try:
        return await backend.session(code) is not None
    except StateCorrupt:
        # It exists. Opening its record repairs it.
        return True


def _unknown(code: str) -> UnknownSession:
    return UnknownSession(
        f"There is no session {code}. Check the code, or ask for a new one."
    )


@async_unsafe("Inside an event loop: await request.aparticipant() instead.")
def resolve(request: HttpRequest, code: object) -> Participant | None:
    """Return the participant of `request`, None if it has none.

    A signed link decides alone, and must name session `code` unless that is None;
    without a link it is the participant who joined `code` in this Django session.
    Expired, revoked, ended and kicked: None. One call to the cache, none for strangers;
    more for a user without a record, while there are `SECRET_KEY_FALLBACKS`.
    """
    return run(_resolve(get_backend(blocking=True), request, code))


async def aresolve(request: HttpRequest, code: object) -> Participant | None:
    """See `resolve`."""
    return await _resolve(get_backend(blocking=False), request, code)


async def standing_of(backend: Backend, request: HttpRequest) -> Standing | None:
    """Return the standing of whom a request names, for the view's code; else None.

    Nobody else is told whether there has been such a session, or who was kicked.
    """
    claims = await _claims_of(backend, request, code_of(request))
    if claims is None:
        return None
    standings = await backend.standings([claims.key])
    return standings[claims.key]


async def identify(backend: Backend, request: HttpRequest) -> Claims | None:
    """Return the claims of whom a request names, for the view's code; None: nobody.

    They may be void by now, as a token's may; see `check_standing`.
    """
    code = code_of(request)
    claims = await _claims_of(backend, request, code)
    if claims is not None:
        return claims
    found = await _rederived(backend, request, code)
    if found is None:
        return None
    return await tokens.issue(backend, found.session, found.id, found.role)


async def _claims_of(
    backend: Backend, request: HttpRequest, code: object
) -> Claims | None:
    visitor = RequestIdentity(request, blocking=backend.blocking)
    # An invalid link never falls back to another identity, as which its visitor would
    # act unknowingly.
    return visitor.link(code) if visitor.has_link else await visitor.kept(code)


async def _resolve(
    backend: Backend, request: HttpRequest, code: object
) -> Participant | None:
    claims = await _claims_of(backend, request, code)
    if claims is None:
        return await _rederived(backend, request, code)
    profile = await _profile_if_valid(backend, claims)
    if profile is None:
        return None
    if profile == UNKNOWN:
        visitor = RequestIdentity(request, blocking=backend.blocking)
        key = await visitor.successor(backend, claims)
        if key is not None:
            return await _recorded_as(backend, key)
    admit(backend, claims.key)
    claimed = Participant(claims.session, claims.participant, claims.role)
    return as_recorded(claimed, profile)


async def _rederived(
    backend: Backend, request: HttpRequest, code: object
) -> Participant | None:
    """Return who has joined by this Django session, though it keeps no claims of that.

    They have a record, and nothing of theirs was revoked: neither is so of who has left
    or looks in for the first time.
    """
    visitor = RequestIdentity(request, blocking=backend.blocking)
    key = None if visitor.has_link else await visitor.derived(backend, code)
    return None if key is None else await _recorded_as(backend, key)


async def _recorded_as(backend: Backend, key: StoreKey) -> Participant | None:
    """Return who has the record of that key, unless they are out or were revoked."""
    standing = (await backend.standings([key], profiles=True))[key]
    if standing.ended or standing.kicked or standing.revoked_at is not None:
        return None
    return as_recorded(Participant(*key), standing.profile)


async def _is_valid(
    backend: Backend, claims: Claims, *, or_kicked: bool = False
) -> bool:
    """Whether claims are valid; `or_kicked`: also of whom opening a record refuses."""
    try:
        await check_standing(backend, claims, max_age=conf.get().token_max_age)
    except Kicked:
        return or_kicked
    except (InvalidToken, SessionEnded):
        return False
    return True


async def _profile_if_valid(backend: Backend, claims: Claims) -> Profile | None:
    """Return what the record says of the participant; None if the claims are void."""
    max_age = conf.get().token_max_age
    try:
        return await check_standing(backend, claims, max_age=max_age)
    except (InvalidToken, Kicked, SessionEnded):
        return None
