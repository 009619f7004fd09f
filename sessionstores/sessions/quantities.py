"""Quantities: refuse what is no number, with the name of the argument."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from numbers import Integral, Real

from ..exceptions import shown


def check_seconds(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a number, which is not looked at."""
    if not isinstance(value, Real | Decimal):
        way_out = ": pass its .total_seconds()" if isinstance(value, timedelta) else ""
        raise TypeError(
            f"{name} is {shown(value)}; it takes seconds, such as 86_400{way_out}."
        )


def check_count(name: str, value: object) -> None:
    """Raise TypeError unless `value` is a whole number, which is not looked at."""
    if not isinstance(value, Integral):
        raise TypeError(f"{name} is {shown(value)}; it takes a whole number.")
