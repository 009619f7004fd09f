"""URL converter for session codes: `path("<code:code>/", board)`."""

from __future__ import annotations

from .keys import CODE_LENGTH, MAX_TYPED, normalize_code

__all__ = ["SessionCodeConverter"]


class SessionCodeConverter:
    """Matches a session code as people type it, and hands it to the view as it is.

    In urls.py: `register_converter(SessionCodeConverter, "code")`. Any word of six
    letters and digits looks like a code: put paths such as `signup/` above it.
    """

    # What is one, `to_python` says: a messenger's link may hold what cannot be seen.
    regex = f"[^/]{{{CODE_LENGTH},{MAX_TYPED}}}"

    def to_python(self, value: str) -> str:
        """Return the code; ValueError if it is none, and the next path is tried."""
        return normalize_code(value)

    def to_url(self, value: str) -> str:
        """Return the code; ValueError if it is none."""
        return normalize_code(value)
