"""Frame numbers: those that a browser would round, or that take long to read."""

from __future__ import annotations

import re

import msgspec

from ..state.json_rules import MAX_INTEGER

# Numbers past 1e100 in a frame. Those past 1e288 take hundreds of times as long to read
# as others: a frame of nothing else would hold the process for a third of a second.
MAX_HUGE = 100
# A frame of fewer bytes has no more of them.
TEDIOUS_BYTES = MAX_HUGE * len("1e100,")

# With all digits made equal, only frames that contain one of these can contain a number
# that is too large.
ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
LONG = b"0" * 16
HUGE = b"e000"
PLUS_HUGE = b"e+000"

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_decode = msgspec.json.Decoder().decode


def is_tedious(data: bytes) -> bool:
    """Return whether JSON text has more than `MAX_HUGE` numbers past 1e100."""
    # Texts may hold what looks like one.
    return _huge(data) > MAX_HUGE and _huge(_STRING.sub(b"", data)) > MAX_HUGE


def unusable_number(data: bytes) -> str | None:
    """Return what is wrong with a number in JSON text, None if nothing is."""
    try:
        stack = [_decode(data)]
    except msgspec.DecodeError:
        return "A number is out of range."
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            return f"Integers must lie within ±(2**53-1); {str(value)[:40]} does not."
    return None


def _huge(data: bytes) -> int:
    alike = data.translate(ALIKE)
    return alike.count(HUGE) + alike.count(PLUS_HUGE)
