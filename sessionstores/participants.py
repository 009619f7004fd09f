"""Who a request speaks for: joining a session, and being known in it from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.urls import get_script_prefix
from django.utils.asyncio import async_unsafe

from . import codec, conf, tokens
from .backends import get_backend
from .backends.base import Backend, run
from .exceptions import InvalidToken, SessionEnded, StateCorrupt, UnknownSession
from .keys import StoreKey, check_code, check_participant
from .records import open_document, open_record
from .state import Scope, register_injectable, states_in
from .tokens import LINK_SALT, Claims, check_role, check_standing, make_token
from .visitors import LINK_PARAMETER, Guesses, Visitor

DEFAULT_ROLE = "participant"
WEBSOCKET_PATH = "ws/sessionstores/"

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Participant:
    """One person in one session, however many tabs: who acts, and in which role.

    Raises `InvalidKey` for anything but a session code, a participant id and a role.
    """

    session: str
    id: str
    role: str = DEFAULT_ROLE

    def __post_init__(self) -> None:
        check_code(self.session)
        check_participant(self.id)
        check_role(self.role)

    @property
    def key(self) -> StoreKey:
        """The key of the participant's record."""
        return StoreKey(self.session, self.id)

    def token(self) -> str:
        """Sign a token with which a tab connects, good for `TOKEN_MAX_AGE`."""
        return make_token(tokens.issue_here(self.session, self.id, self.role))

    def link(self, url: str) -> str:
        """Return `url` with a signed parameter that makes its visitor this participant.

        Query and fragment stay. Whoever has the link is the participant, on that one
        page and for `TOKEN_MAX_AGE`; it outranks what the browser's Django session
        says and leaves that alone, so several participants fit in one browser.
        """
        claims = tokens.issue_here(self.session, self.id, self.role)
        signed = make_token(claims, salt=LINK_SALT)
        parts = urlsplit(url)
        others = [
            pair
            for pair in parts.query.split("&")
            if pair and pair.partition("=")[0] != LINK_PARAMETER
        ]
        query = "&".join([*others, f"{LINK_PARAMETER}={signed}"])
        return urlunsplit(parts._replace(query=query))

    @async_unsafe("Inside an event loop: await participant.aconfig() instead.")
    def config(self) -> dict[str, Any]:
        """Return what a page needs to show its state at once and connect: JSON.

        Both documents are opened, so what is missing in them is created and
        committed. They are two reads: there is no order between documents. Raises
        what opening raises, among it `SessionEnded`.
        """
        return run(_config(get_backend(blocking=True), self))

    async def aconfig(self) -> dict[str, Any]:
        """See `config`."""
        return await _config(get_backend(blocking=False), self)


register_injectable(Participant)


async def _config(backend: Backend, participant: Participant) -> dict[str, Any]:
    documents: tuple[tuple[str, Scope, StoreKey], ...] = (
        ("me", "participant", participant.key),
        ("session", "session", StoreKey.of_session(participant.session)),
    )
    claims = await tokens.issue(
        backend, participant.session, participant.id, participant.role
    )
    docs: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for doc, scope, key in documents:
        record = await open_document(backend, key)
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
        "docs": docs,
        "states": places,
    }


@async_unsafe("Inside an event loop: await ajoin() instead.")
def join(
    request: HttpRequest,
    code: str,
    *,
    participant: str | None = None,
    role: str | None = None,
    create: bool = False,
) -> Participant:
    """Make the visitor a participant of session `code`, and return who that is.

    The first join decides the id, and the Django session keeps it for as long as that
    lives: `participant` if given (it replaces what was kept), a keyed hash of the
    user's pk for a user (the same in every browser), a random id for a guest. A
    visitor with a signed link for this session is whom the link names, and nothing is
    kept. `role` is kept with the id; left out it stays as it is, "participant" at
    first. The participant's record is opened, so `stores.participants()` lists it,
    and `request.participant` is the result from here on. After a revocation, or
    `TOKEN_MAX_AGE` away, a join gives the id back but not the role.

    `create` makes the session if there is none; otherwise codes that are unknown and
    codes that have ended raise the same `UnknownSession`, and ten of these a minute
    from one address `LimitReached`, before anything is looked up; who has joined
    before is not counted. An address is REMOTE_ADDR, of IPv6 its /64 network: behind
    a proxy, let the server set it from the proxy's header (uvicorn:
    `--proxy-headers`), else all visitors share one.

    Raises `InvalidKey` before any cache access, `SessionLocked` for a newcomer, and
    `LimitReached` past `MAX_PARTICIPANTS` or `MAX_SESSIONS`.
    """
    backend = get_backend(blocking=True)
    return run(
        _join(backend, request, code, participant=participant, role=role, create=create)
    )


async def ajoin(
    request: HttpRequest,
    code: str,
    *,
    participant: str | None = None,
    role: str | None = None,
    create: bool = False,
) -> Participant:
    """See `join`."""
    backend = get_backend(blocking=False)
    return await _join(
        backend, request, code, participant=participant, role=role, create=create
    )


async def _join(
    backend: Backend,
    request: HttpRequest,
    code: str,
    *,
    participant: str | None,
    role: str | None,
    create: bool,
) -> Participant:
    check_code(code)
    if participant is not None:
        check_participant(participant)
    if role is not None:
        check_role(role)
    visitor = Visitor(request, blocking=backend.blocking)
    visitor.require_session()
    link = visitor.link(code) if participant is None else None
    if link is not None and not await _counts(backend, link):
        link = None
    kept = await visitor.kept(code)
    known = link or kept
    good = kept if kept and await _counts(backend, kept) else None
    if not create:
        await _admit(backend, code, request if known is None else None)
    if participant is None:
        participant = await visitor.mint() if known is None else known.participant
    if role is None:
        # Who was revoked may come back, but not with the rights that they had.
        given = link or good
        same = given if given and given.participant == participant else None
        role = same.role if same else DEFAULT_ROLE
    joined = Participant(code, participant, role)
    try:
        await open_record(backend, joined.key, states_in("participant"))
    except SessionEnded:
        raise _unknown(code) from None
    if link is None:
        await _keep(backend, visitor, good, joined)
    request.participant = joined  # type: ignore[attr-defined]
    return joined


async def _keep(
    backend: Backend, visitor: Visitor, kept: Claims | None, joined: Participant
) -> None:
    """Write down who joined, if that is new or half way to its end."""
    claims = await tokens.issue(backend, joined.session, joined.id, joined.role)
    if (
        kept is None
        or kept[:-1] != claims[:-1]
        or claims.issued - kept.issued > conf.get().token_max_age / 2
    ):
        await visitor.keep(claims)


async def _admit(backend: Backend, code: str, stranger: HttpRequest | None) -> None:
    """Raise `UnknownSession` if there is no such session; count a stranger's guess."""
    if stranger is None:
        if not await _exists(backend, code):
            raise _unknown(code)
        return
    guesses = Guesses(backend, stranger)
    await guesses.check()
    if not await _exists(backend, code):
        await guesses.count()
        raise _unknown(code)
    # Many guesses at once pass the first check together; what they find is told only
    # while failures are few.
    await guesses.check()


async def _exists(backend: Backend, code: str) -> bool:
    try:
        return await backend.session(code) is not None
    except StateCorrupt:
        # There is one. Whoever opens its record sets that right.
        return True


def _unknown(code: str) -> UnknownSession:
    return UnknownSession(
        f"There is no session {code}. Check the code, or ask for a new one."
    )


@async_unsafe("Inside an event loop: await aresolve() instead.")
def resolve(request: HttpRequest, code: object) -> Participant | None:
    """Return the participant that `request` speaks for, None if it is nobody's.

    A signed link decides alone, and must name session `code` unless that is None;
    without one it is whoever joined `code` in this Django session. Expired, revoked
    and ended: None. One call to the cache, none for strangers.
    """
    return run(_resolve(get_backend(blocking=True), request, code))


async def aresolve(request: HttpRequest, code: object) -> Participant | None:
    """See `resolve`."""
    return await _resolve(get_backend(blocking=False), request, code)


async def _resolve(
    backend: Backend, request: HttpRequest, code: object
) -> Participant | None:
    visitor = Visitor(request, blocking=backend.blocking)
    # A bad link never falls back to another identity: its visitor would act as one.
    if visitor.has_link:
        claims = visitor.link(code)
    else:
        claims = await visitor.kept(code)
    if claims is None or not await _counts(backend, claims):
        return None
    return Participant(claims.session, claims.participant, claims.role)


async def _counts(backend: Backend, claims: Claims) -> bool:
    try:
        await check_standing(backend, claims, max_age=conf.get().token_max_age)
    except (InvalidToken, SessionEnded):
        return False
    return True


def participant_required(view: View) -> View:
    """Refuse with 403 (PermissionDenied) unless the request has a participant.

    For sync and async views; classes have `ParticipantRequiredMixin`. Needs
    `ParticipantMiddleware`.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def aguarded(request: Any, *args: Any, **kwargs: Any) -> Any:
            _require_middleware(request)
            _allow(await request.aparticipant())
            return await view(request, *args, **kwargs)

        return aguarded  # type: ignore[return-value]

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> Any:
        _require_middleware(request)
        _allow(request.participant)
        return view(request, *args, **kwargs)

    return guarded  # type: ignore[return-value]


class ParticipantRequiredMixin:
    """`participant_required` for class-based views, sync and async; name it first."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Let the view answer, or refuse."""
        _require_middleware(request)
        view: Any = super()
        if not getattr(self, "view_is_async", False):
            _allow(request.participant)
            return view.dispatch(request, *args, **kwargs)

        async def guarded() -> Any:
            _allow(await request.aparticipant())
            return await view.dispatch(request, *args, **kwargs)

        return guarded()


def _allow(participant: Participant | None) -> None:
    if participant is None:
        raise PermissionDenied("Join the session first.")


def _require_middleware(request: HttpRequest) -> None:
    if not hasattr(request, "aparticipant"):
        raise ImproperlyConfigured(
            "participant_required needs "
            "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
        )
