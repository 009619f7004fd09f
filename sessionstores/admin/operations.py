"""Operations of staff: what they ask, what they run, and what they say they did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE
from django.utils.functional import Promise

from ..keys import StoreKey
from .targets import OperationTarget

Text = str | Promise
TargetKind = Literal["sessions", "participants"]


@dataclass(frozen=True)
class OperationInputs:
    """The input of an operation: what its form has, cleaned.

    `announcement` returns the data that tabs are sent for a message; a site may
    override it. `texts`: whoever runs it may see texts that states tell.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    announcement: Callable[[str], Any] = lambda text: {"announcement": text}
    texts: bool = False


class Effect(NamedTuple):
    """The effect of an operation on one target.

    `log` is the text of the admin's log, in English. `changed` is False if it was so
    already. `text` is what the target's own code says of it, in words for staff.
    """

    log: str
    changed: bool = True
    text: str = ""


Done = tuple[OperationTarget, Effect]


class Report(NamedTuple):
    """A message about what was done; `level` as in `django.contrib.messages`."""

    text: str
    level: int = messages.SUCCESS


@dataclass(frozen=True)
class Operation:
    """An operation on sessions or participants.

    `asks` are the questions to confirm: a format string for the `name` of one target,
    and one for the `count` of several. `explain` returns what else is said before it.
    `run` returns None for a target that has gone meanwhile; `report` says what was
    done. `form` makes the form of its input, if it needs any, for targets and the data
    that was sent. `destructive`: it cannot be undone. `single`: it is for one target.
    `of_kicked`: it is for those whom their session keeps out. `own`: it is an action of
    a state of the site.
    """

    name: str
    title: Text
    asks: tuple[Text, Any]
    explain: Callable[[Sequence[OperationTarget]], Iterable[Text]]
    run: Callable[[OperationTarget, OperationInputs], Effect | None]
    report: Callable[[Sequence[Done], OperationInputs], Iterable[Report]]
    form: Callable[[Sequence[OperationTarget], Any], forms.Form] | None = None
    destructive: bool = False
    flag: int = CHANGE
    single: bool = False
    of_kicked: bool = False
    own: bool = False

    def question(self, targets: Sequence[OperationTarget]) -> str:
        """Return the question to confirm."""
        one, many = self.asks
        if len(targets) == 1:
            return str(one % {"name": targets[0].name})
        return str(many % {"count": len(targets)})


class Telling(NamedTuple):
    """What is said of an operation that worked: of one target, and of several.

    `same` says it of those for which it was so already, and nothing changed.
    """

    one: Text
    many: Any
    same: tuple[Text, Any] | None = None

    def report(self, done: Sequence[Done], inputs: OperationInputs) -> Iterable[Report]:
        """Return the messages; format strings have `name`, `count` and the input."""
        changed = [target for target, effect in done if effect.changed]
        same = [target for target, effect in done if not effect.changed]
        if changed:
            yield Report(_told(self.one, self.many, changed, inputs))
        if same and self.same is not None:
            yield Report(_told(*self.same, same, inputs), messages.INFO)


def _told(
    one: Text, many: Any, targets: Sequence[OperationTarget], inputs: OperationInputs
) -> str:
    named = {**inputs.values, "count": len(targets), "name": targets[0].name}
    return str((one if len(targets) == 1 else many) % named)


def saying(*texts: Text) -> Callable[[Sequence[OperationTarget]], Iterable[Text]]:
    """Return an `Operation.explain` that says the same of all targets."""
    return lambda targets: texts


def log_name(key: StoreKey) -> str:
    """Return a key as the admin's log has it: `K7Q2ZD`, or `K7Q2ZD:alice`."""
    return key.session if key.is_session else str(key)
