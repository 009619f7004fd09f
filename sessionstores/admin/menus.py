"""Menus of operations: those that a page offers, in order, under their heads."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _

from .operations import Operation, TargetKind
from .participant_operations import PARTICIPANT_OPERATIONS
from .session_operations import SESSION_OPERATIONS
from .state_operations import RUN, offers, state_operations

# Actions of participants, run for the whole session: for everybody in it, or for those
# at the lowest step.
EVERYBODY = "everybody:"
SLOWEST = "slowest:"
# Those that a page has beside its menu.
_AT_HAND = frozenset({"message", "extend", "lock", "unlock", "name", "role"})

_OWN = _("Actions of this site")
_FOR_EVERYBODY = _("For everybody")
_FOR_SLOWEST = _("For the slowest, at the lowest step")
_MORE = _("More")
_DESTRUCTIVE = _("Cannot be undone")


class MenuEntry(NamedTuple):
    """An entry of a menu of operations; `own`: an action of a state of the site.

    `at_hand`: a page has a button for it beside the menu. `head` is what it stands
    under in the menu.
    """

    name: str
    title: Any
    destructive: bool = False
    own: bool = False
    at_hand: bool = False
    head: Any = _MORE


def standard_operations(target: TargetKind) -> tuple[Operation, ...]:
    """Return the operations that every site has."""
    return SESSION_OPERATIONS if target == "sessions" else PARTICIPANT_OPERATIONS


def find_operation(name: str, target: TargetKind) -> Operation | None:
    """Return the operation of this name for such targets; None if there is none."""
    found = standard_operations(target)
    if name.startswith(RUN):
        found = tuple(state_operations(target))
    return next((each for each in found if each.name == name), None)


def menu(target: TargetKind) -> list[MenuEntry]:
    """Return the menu for ticked sessions, or for ticked participants."""
    found = [each for each in _standard(target) if each.name != "name"]
    return _ordered(_own(target) + found if target == "participants" else found)


def participant_menu() -> list[MenuEntry]:
    """Return the menu of one participant."""
    return _ordered(_own("participants") + _standard("participants"))


def session_menu(*, locked: bool, steps: bool = False) -> list[MenuEntry]:
    """Return the menu of one session, which can be locked or unlocked, not both.

    `steps`: whether it is known of anybody at which step they are.
    """
    pointless = "lock" if locked else "unlock"
    standard = [each for each in _standard("sessions") if each.name != pointless]
    found = _own("sessions") + standard
    for offer in offers("participant"):
        title = offer.label
        found.append(
            MenuEntry(f"{EVERYBODY}{offer.name}", title, own=True, head=_FOR_EVERYBODY)
        )
        if steps:
            found.append(
                MenuEntry(f"{SLOWEST}{offer.name}", title, own=True, head=_FOR_SLOWEST)
            )
    return _ordered(found)


def _standard(target: TargetKind) -> list[MenuEntry]:
    return [
        MenuEntry(
            each.name,
            each.title,
            each.destructive,
            at_hand=each.name in _AT_HAND,
            head=_DESTRUCTIVE if each.destructive else _MORE,
        )
        for each in standard_operations(target)
        if not each.of_kicked
    ]


def _own(target: TargetKind) -> list[MenuEntry]:
    """Return the site's actions; those of hosts that need no input are at hand.

    If there are none for hosts, it is those of everybody.
    """
    found = offers("session" if target == "sessions" else "participant")
    easy = [each for each in found if not each.needs_input]
    at_hand = [each for each in easy if each.action.roles] or easy
    return [
        MenuEntry(
            f"{RUN}{each.name}",
            each.label,
            own=True,
            at_hand=each in at_hand,
            head=_OWN,
        )
        for each in found
    ]


def _ordered(found: list[MenuEntry]) -> list[MenuEntry]:
    """Return entries in the order of their heads, destructive ones last."""
    heads = [_OWN, _FOR_EVERYBODY, _FOR_SLOWEST, _MORE, _DESTRUCTIVE]
    return sorted(found, key=lambda each: heads.index(each.head))
