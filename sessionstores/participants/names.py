"""Names: what participants are called, checked and stripped of surrounding space."""

from __future__ import annotations

import unicodedata

from ..exceptions import InvalidKey, shown

MAX_NAME_LENGTH = 80

# Control characters, lone surrogates, and breaks of lines and paragraphs.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
# They turn the direction of the text that follows a name.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What a name may contain, but not consist of: spaces, and what cannot be seen.
_UNSEEN = frozenset({"Zs", "Cf", "Cn", "Mn", "Me"})
# Letters by category that are shown as nothing: fillers, and the blank of Braille.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def check_name(name: object) -> str:
    """Return `name` without surrounding space, if it is one, else raise `InvalidKey`.

    It then has 1 to `MAX_NAME_LENGTH` characters of any script, of which one can be
    seen, no control characters, line breaks or lone surrogates, and none that change
    the direction of text. It need not be unique.
    """
    if not isinstance(name, str):
        raise InvalidKey(f"{shown(name)} is not a name: it is not text.")
    stripped = name.strip()
    if len(stripped) > MAX_NAME_LENGTH:
        raise InvalidKey(
            f"A name of {len(stripped)} characters is too long: give at most "
            f"{MAX_NAME_LENGTH}."
        )
    refused = [each for each in stripped if _is_refused(each)]
    if refused:
        raise InvalidKey(
            f"{shown(stripped)} is not a name: leave out {refused[0]!r}, which is "
            f"{_kind(refused[0])}."
        )
    if not any(map(_is_seen, stripped)):
        raise InvalidKey(
            f"{shown(name)} is not a name: give 1 to {MAX_NAME_LENGTH} "
            "characters, of which one can be seen."
        )
    return stripped


def _kind(character: str) -> str:
    if character in _DIRECTIONS:
        return "a mark that turns the direction of text"
    if unicodedata.category(character) == "Cs":
        return "half of a character"
    is_break = len(f"a{character}a".splitlines()) > 1
    return "a line break" if is_break else "a control character"


def _is_refused(character: str) -> bool:
    return unicodedata.category(character) in _REFUSED or character in _DIRECTIONS


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN and character not in _BLANK
