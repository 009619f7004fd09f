"""Kept identities: who a browser is in each session, as Django's session holds it.

A guest's id in any session follows from one seed, so requests that have all begun with
one seed make one person, whichever of them saves Django's session last. The latest
codes have entries of their own, which earlier releases read; those of the older ones
share one, as short as possible.
"""

from __future__ import annotations

import base64
import hmac
import math
import secrets
import zlib
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import msgspec
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import salted_hmac

from ..keys import is_participant
from .tokens import DEFAULT_ROLE, Claims, parse_claims

SHARED_ENTRY = "sessionstores"
MAX_CODES = 100
# Codes that have an entry of their own.
RECENT = 10
# Of all entries together, compressed. As signed cookies they take up a third more, and
# a browser keeps no cookie of more than 4096 bytes.
MAX_BYTES = 2_000
MAX_SEED_LENGTH = 64


def generate_seed() -> str:
    """Return a random seed of 128 bits."""
    return secrets.token_urlsafe(16)


def guest_id(seed: str, code: str) -> str:
    """Return the id in session `code` of the guest whose browser has `seed`."""
    # Without SECRET_KEY, since the seed is secret: no rotation makes them another.
    return _id_of(hmac.digest(seed.encode(), code.encode(), "sha256"))


def user_id(pk: object, secret_key: str | bytes) -> str:
    """Return a user's id in all sessions; it does not reveal `pk`."""
    digest = salted_hmac(
        "sessionstores.participant", str(pk), secret=secret_key, algorithm="sha256"
    ).digest()
    return _id_of(digest)


def _id_of(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest[:12]).decode()


def is_seed(value: object) -> bool:
    """Return whether `value` can be a seed."""
    return isinstance(value, str) and 16 <= len(value) <= MAX_SEED_LENGTH


class Origin(NamedTuple):
    """From what a browser's ids follow: a guest's seed, and the id of its user."""

    seed: str | None = None
    user: str | None = None

    def updated(self, newer: Origin) -> Origin:
        """Return this with what is only in `newer`, and its user."""
        return Origin(self.seed or newer.seed, newer.user or self.user)

    def ids(self, code: str) -> list[str]:
        """Return the ids in session `code` that follow."""
        guest = None if self.seed is None else guest_id(self.seed, code)
        return [id for id in (self.user, guest) if id is not None]


class KeptIdentities:
    """The origin of a browser's ids, and its claims by code, of the latest codes.

    `session` is Django's, loaded; nothing here does I/O. What is not ours in it, or
    malformed, is left alone and counts for nothing.
    """

    def __init__(self, session: SessionBase) -> None:
        self._session = session

    @property
    def origin(self) -> Origin:
        """From what the ids follow, as far as it is kept yet."""
        seed, user = self._shared.get("seed"), self._shared.get("user")
        return Origin(
            seed if is_seed(seed) else None, user if is_participant(user) else None
        )

    def derive_seed(self) -> str:
        """Return a seed for a browser that has none yet.

        Requests that began with the same session of Django's, at once, derive the same.
        """
        key = self._session.session_key
        if key is None:
            return generate_seed()
        digest = salted_hmac("sessionstores.seed", key, algorithm="sha256").digest()
        return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")

    def get(self, code: str) -> Claims | None:
        """Return the claims that are kept for `code`."""
        claims = parse_claims(self._session.get(_entry(code)))
        if claims is not None:
            return claims if claims.session == code else None
        return self._shared_claims(code)

    def all(self) -> list[Claims]:
        """Return all claims that are kept, the oldest first."""
        codes = dict.fromkeys([*self._codes, *self._own_codes()])
        found = filter(None, map(self.get, codes))
        return sorted(found, key=lambda claims: claims.issued)

    def with_claims(self, claims: Claims) -> list[Claims]:
        """Return all claims, with `claims` as the newest in place of earlier ones."""
        others = [each for each in self.all() if each.session != claims.session]
        return [*others, claims]

    def write(self, held: Iterable[Claims], origin: Origin) -> None:
        """Keep the newest of `held`, given oldest first, and `origin`."""
        kept = list(held)[-MAX_CODES:]
        while len(kept) > 1 and not fits(kept, origin):
            del kept[0]
        entries = _entries(kept, origin)
        for code in self._own_codes():
            if _entry(code) not in entries:
                del self._session[_entry(code)]
        for name, content in entries.items():
            if self._session.get(name) != content:
                self._session[name] = content
        if SHARED_ENTRY not in entries and SHARED_ENTRY in self._session:
            del self._session[SHARED_ENTRY]

    def forget(self, code: str) -> None:
        """Keep no claims for `code` any more; the origin stays."""
        if self.get(code) is not None:
            held = [each for each in self.all() if each.session != code]
            self.write(held, self.origin)

    @property
    def _shared(self) -> dict[str, Any]:
        shared = self._session.get(SHARED_ENTRY)
        return shared if isinstance(shared, dict) else {}

    @property
    def _codes(self) -> dict[str, Any]:
        codes = self._shared.get("codes")
        return codes if isinstance(codes, dict) else {}

    def _own_codes(self) -> list[str]:
        """Return the codes that have an entry of their own."""
        prefix = _entry("")
        names = self._session.keys()
        codes = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        return [code for code in codes if self._is_own(code)]

    def _is_own(self, code: str) -> bool:
        claims = parse_claims(self._session.get(_entry(code)))
        return claims is not None and claims.session == code

    def _shared_claims(self, code: str) -> Claims | None:
        content = self._codes.get(code)
        short = content if isinstance(content, list) else [content]
        issued, participant, role = [*short, None, None, None][:3]
        seed = self.origin.seed
        if participant is None and seed is not None:
            participant = guest_id(seed, code)
        return parse_claims([code, participant, role or DEFAULT_ROLE, issued])


def fits(held: Collection[Claims], origin: Origin) -> bool:
    """Return whether all of `held` can be kept."""
    if len(held) > MAX_CODES:
        return False
    content = msgspec.json.encode(_entries(list(held), origin))
    return len(zlib.compress(content)) <= MAX_BYTES


def _entry(code: str) -> str:
    return f"sessionstores.{code}"


def _entries(held: list[Claims], origin: Origin) -> dict[str, Any]:
    """Return the entries of Django's session that keep `held`, by name."""
    entries: dict[str, Any] = {
        _entry(claims.session): list(claims) for claims in held[-RECENT:]
    }
    shared: dict[str, Any] = {
        name: value for name, value in origin._asdict().items() if value is not None
    }
    if held[:-RECENT]:
        shared["codes"] = {
            claims.session: _shortened(claims, origin.seed) for claims in held[:-RECENT]
        }
    return entries | ({SHARED_ENTRY: shared} if shared else {})


def _shortened(claims: Claims, seed: str | None) -> int | list[Any]:
    """Return the short form: when it was issued, the id and role if need be.

    In whole seconds, rounded down: what a revocation voids stays void.
    """
    issued = math.floor(claims.issued)
    if claims.role != DEFAULT_ROLE:
        return [issued, claims.participant, claims.role]
    if seed is not None and claims.participant == guest_id(seed, claims.session):
        return issued
    return [issued, claims.participant]
