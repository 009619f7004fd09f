"""Session codes, participant ids, and the cache keys made of them."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, TypeGuard

from django.utils.translation import gettext_lazy as _

from .exceptions import InvalidKey, shown

# Without 0/O and 1/I/L: codes are read aloud and typed from a projector.
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_LENGTH = 6
MAX_ID_LENGTH = 64
# Characters of what is read as a code.
MAX_TYPED = 100

# In the place of the participant: the session's own record. No id can be "*".
SESSION = "*"

# Categories of what people put between the characters of a code: spaces, dashes,
# underscores, and what cannot be seen.
_BETWEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pc"})

_CODE = re.compile(r"[A-Z0-9]{6}", re.ASCII)
_PARTICIPANT = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
# No state may have these as keys; `votes[by.id]` in an action makes keys of ids.
REFUSED_IDS = frozenset({"__proto__", "constructor", "prototype"})

# What a person is told of an id that is none.
NOBODY = _("Nobody can have this id. Check it, then try again.")


def generate_code() -> str:
    """Return a random session code: about 30 bits, unambiguous to read."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))


def check_code(code: object) -> str:
    """Return `code` if it is a session code, else raise `InvalidKey`."""
    if is_code(code):
        return code
    raise InvalidKey(
        f"{shown(code)} is not a session code: six characters of A-Z and 0-9."
        f"{_code_meant(code)}",
        message=_("A code has six letters and digits. Check it, then try again."),
    )


def _code_meant(value: object) -> str:
    """Return the way out for what is nearly a session code."""
    if _read_typed(value) is not None:
        return " normalize_code() makes one of what people type."
    return _attribute_meant(value, ("session", "code"), is_code)


def _attribute_meant(
    value: object, names: Iterable[str], is_meant: Callable[[object], bool]
) -> str:
    # An attribute may be anything, of a request too.
    with suppress(Exception):
        for name in names:
            if not isinstance(value, str) and is_meant(getattr(value, name, None)):
                return f" Pass its .{name}."
    return ""


def is_code(code: object) -> TypeGuard[str]:
    """Return whether `code` is a session code."""
    # fullmatch, since "$" would let a trailing newline pass.
    return isinstance(code, str) and _CODE.fullmatch(code) is not None


def normalize_code(text: object) -> str:
    """Return the session code that somebody has typed, else raise `InvalidKey`.

    Case counts for nothing, nor do spaces, dashes, underscores and invisible
    characters, wherever they are; full-width letters are read as plain ones.
    """
    typed = _read_typed(text)
    return check_code(text) if typed is None else typed


def _read_typed(text: object) -> str | None:
    if not isinstance(text, str) or len(text) > MAX_TYPED:
        return None
    plain = unicodedata.normalize("NFKC", text)
    typed = "".join(
        each for each in plain if unicodedata.category(each) not in _BETWEEN
    )
    # Some letters of other scripts become several, or one of ours, in upper case.
    if not typed.isascii() or not _CODE.fullmatch(typed.upper()):
        return None
    return typed.upper()


def check_participant(participant: object) -> str:
    """Return `participant` if it is a participant id, else raise `InvalidKey`."""
    id = check_stored(participant)
    if id in REFUSED_IDS:
        raise InvalidKey(
            f"{id!r} cannot be a participant id: browsers refuse it as a key of an "
            "object. Put a prefix before it.",
            message=NOBODY,
        )
    return id


def is_participant(participant: object) -> TypeGuard[str]:
    """Return whether `participant` is a participant id."""
    return (
        isinstance(participant, str)
        and _PARTICIPANT.fullmatch(participant) is not None
        and participant not in REFUSED_IDS
    )


def check_stored(participant: object) -> str:
    """Return `participant` if it has the form of an id, else raise `InvalidKey`.

    Earlier releases admitted ids that are refused now: such a record must be found
    and removed like any other.
    """
    if isinstance(participant, str) and _PARTICIPANT.fullmatch(participant):
        return participant
    raise InvalidKey(
        f"{shown(participant)} is not a participant id: {_of_length(participant)}1 to "
        f"{MAX_ID_LENGTH} of a-z, A-Z, 0-9, '_' and '-'."
        f"{_attribute_meant(participant, ('id', 'participant'), is_participant)}",
        message=NOBODY,
    )


def _of_length(value: object) -> str:
    if not isinstance(value, str) or len(value) <= MAX_ID_LENGTH:
        return ""
    return f"it is {len(value)} characters long. An id has "


class StoreKey(NamedTuple("StoreKey", [("session", str), ("participant", str)])):
    """The session and participant that a record belongs to; `K7Q2ZD:alice` as text.

    `participant` is `"*"` for the session's own record. Both parts are checked:
    anything else raises `InvalidKey`.
    """

    __slots__ = ()

    def __new__(cls, session: str, participant: str) -> StoreKey:
        check_code(session)
        if participant != SESSION:
            check_participant(participant)
        return super().__new__(cls, session, participant)

    @classmethod
    def parse(cls, text: object) -> StoreKey:
        """Parse `K7Q2ZD:alice`; raise `InvalidKey` for anything else."""
        session, colon, participant = (
            text.partition(":") if isinstance(text, str) else ("", "", "")
        )
        if not colon or participant == SESSION:
            raise InvalidKey(
                f"{shown(text)} is not a store key such as 'K7Q2ZD:alice'."
            )
        return cls(session, participant)

    @classmethod
    def stored(cls, session: str, participant: str) -> StoreKey:
        """Return the key of what the cache may hold; see `check_stored`."""
        check_code(session)
        if participant != SESSION:
            check_stored(participant)
        return cls._make((session, participant))

    @classmethod
    def is_valid(cls, text: object) -> bool:
        """Return whether `parse` accepts `text`."""
        try:
            cls.parse(text)
        except InvalidKey:
            return False
        return True

    @classmethod
    def of_session(cls, session: str) -> StoreKey:
        """Return the key of the session's own record."""
        return cls(session, SESSION)

    @property
    def is_session(self) -> bool:
        """Whether this is the session's own record."""
        return self.participant == SESSION

    def __str__(self) -> str:
        return f"{self.session}:{self.participant}"


def cache_key(prefix: str, session: str, kind: str, name: str = "") -> str:
    """Return the cache key of one part of a session: `ss:{K7Q2ZD}:p:alice`.

    Keys cannot collide, since codes and ids hold no colon; every cache accepts them
    (ASCII, no space, under 250 characters); the braces make a Redis Cluster keep a
    session's keys in one slot.
    """
    return f"{prefix}:{{{session}}}:{kind}:{name}"


def check_quarantine(key: object) -> str:
    """Return the cache key of data that was set aside; `InvalidKey` for any other."""
    if not isinstance(key, str) or "}:q:" not in key:
        raise InvalidKey(
            f"{shown(key)} is not a key of data that was set aside, such as "
            "'ss:{K7Q2ZD}:q:alice:0123456789abcdef'. The log of "
            "sessionstores.backends names it."
        )
    return key


def shared_key(prefix: str, kind: str, name: str) -> str:
    """Return the cache key of data shared by all sessions: `ss:reg:7`.

    `kind` is "reg", whose names are numbers or empty, or "v", whose names hold no
    brace, and neither "v:" nor "reg:" at the start or after a colon. So no key is that
    of another prefix too, even one that begins alike: see `only_ours`.
    """
    return f"{prefix}:{kind}:{name}"


def keys_of_records(prefix: str, names: Iterable[str]) -> list[StoreKey]:
    """Return the store keys of the records among these cache keys."""
    pattern = re.compile(
        re.escape(prefix) + r":\{([A-Z0-9]{6})\}:(?:s:|p:([a-zA-Z0-9_-]{1,64}))"
    )
    matches = filter(None, map(pattern.fullmatch, names))
    return [StoreKey._make((match[1], match[2] or SESSION)) for match in matches]


def only_ours(prefix: str, names: Iterable[str]) -> list[str]:
    """Return those of these cache keys that are of this prefix.

    A key that begins with it may be of a longer one, of another site: `ss:staging`.
    """
    pattern = re.compile(
        re.escape(prefix)
        + r":(?:\{[A-Z0-9]{6}\}:.*|reg:[0-9]*|v:(?!(?:.*:)?(?:reg|v):)[^{}]*)",
        re.DOTALL,
    )
    return list(filter(pattern.fullmatch, names))
