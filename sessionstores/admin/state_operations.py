"""Actions of the site's states as operations: their words, forms and effects."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from inspect import getdoc
from typing import Any, NamedTuple

from django.contrib import messages
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy, override

from ..action_forms.form import ActionForm, label_of
from ..backends import get_backend
from ..backends.base import run
from ..exceptions import ActionRejected, SessionStoresError
from ..humanize import number_text
from ..participants.participant import DEFAULT_ROLE, Participant
from ..sessions.presence import attendees
from ..state import codec
from ..state.declaration import Action, Scope, State, states_in
from ..store.calls import Outcome
from ..store.transactions import perform
from .operations import (
    Done,
    Effect,
    Operation,
    OperationInputs,
    Report,
    TargetKind,
    Text,
)
from .people import published
from .progress import (
    NOWHERE,
    STEP,
    Position,
    PositionReader,
    has_step,
    step_order,
    step_text,
)
from .staff_form import StaffForm
from .targets import OperationTarget, names_text, participant_targets

logger = logging.getLogger("sessionstores.admin")

RUN = "run:"
# Characters of a label on a button.
MAX_LABEL = 60
# Of what an action has returned.
MAX_ANSWER = 200
# A sentence ends with a full stop before a space, or with the paragraph.
_SENTENCE = re.compile(r"(.+?)[.!?](?=\s|$)")


class Offer(NamedTuple):
    """An action of a state that staff may run, with what buttons call it."""

    cls: type[State]
    action: Action
    label: str

    @property
    def name(self) -> str:
        """The state and the action, as the timeline has them: agenda.advance."""
        return f"{self.cls.__sessionstores__.name}.{self.action.name}"

    @property
    def needs_input(self) -> bool:
        """Whether it takes arguments of clients."""
        return bool(self.action.struct.__struct_fields__)


def offers(scope: Scope) -> list[Offer]:
    """Return the actions of declared states that staff may run, those for hosts first.

    An action of the session that is given the participant who acts is left out: staff
    are no participants, and would act as nobody.
    """
    found = [
        Offer(cls, action, words_of(action))
        for cls in states_in(scope)
        for action in cls.__sessionstores__.actions.values()
        if scope == "participant" or not _asks_who(action)
    ]
    labels = [each.label for each in found]
    told_apart = [
        each._replace(label=f"{each.label} ({each.cls.__sessionstores__.name})")
        if labels.count(each.label) > 1
        else each
        for each in found
    ]
    return sorted(
        told_apart, key=lambda each: (not each.action.roles, each.needs_input)
    )


def _asks_who(action: Action) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, Participant)
        for kind in action.injected.values()
    )


def words_of(action: Action) -> str:
    """Return what buttons call an action.

    Its label, the first sentence of its docstring, or its name in words.
    """
    sentence = "" if action.label else _first_sentence(_summary(action))
    text = sentence or label_of(action)
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1].rstrip()}…"


def _summary(action: Action) -> str:
    """Return the first paragraph of an action's docstring, as one line of text."""
    paragraph = (getdoc(action.function) or "").strip().partition("\n\n")[0]
    text = " ".join(paragraph.split())
    # A site may translate it, as it may its other texts.
    return _(text).replace("`", "") if text else ""


def _first_sentence(text: str) -> str:
    found = _SENTENCE.match(text)
    return found[1] if found else text


def state_operations(target: TargetKind) -> list[Operation]:
    """Return the actions of declared states, as operations on such targets."""
    scope: Scope = "session" if target == "sessions" else "participant"
    return [_operation(offer, target) for offer in offers(scope)]


_MANY: dict[TargetKind, Any] = {
    "sessions": ngettext_lazy(
        "%(label)s: %(count)s session?", "%(label)s: %(count)s sessions?", "count"
    ),
    "participants": ngettext_lazy(
        "%(label)s: %(count)s participant?",
        "%(label)s: %(count)s participants?",
        "count",
    ),
}


class _Question(NamedTuple):
    """A format string with an action's label in it."""

    text: Any
    label: str

    def __mod__(self, named: Mapping[str, Any]) -> str:
        return str(self.text % {**named, "label": self.label})


def _operation(offer: Offer, target: TargetKind) -> Operation:
    make: Callable[[Sequence[OperationTarget], Any], ActionForm] | None = None
    if offer.needs_input:
        make = partial(_form, offer)
    one: Text = gettext_lazy("%(label)s: %(name)s?")
    return Operation(
        f"{RUN}{offer.name}",
        offer.label,
        (_Question(one, offer.label), _Question(_MANY[target], offer.label)),  # type: ignore[arg-type]
        partial(_explain, offer),
        partial(_run, offer),
        partial(_report, offer),
        form=make,
        own=True,
    )


def _form(offer: Offer, targets: Sequence[OperationTarget], data: Any) -> StaffForm:
    return StaffForm(offer.cls, offer.action, data)


def _explain(offer: Offer, targets: Sequence[OperationTarget]) -> Iterable[str]:
    summary = _summary(offer.action)
    if not summary:
        yield _("An action of this site.")
    elif _first_sentence(summary) != summary[:-1] or offer.action.label:
        # What the question does not say already.
        yield summary


def _run(offer: Offer, target: OperationTarget, inputs: OperationInputs) -> Effect:
    backend = get_backend(blocking=True)
    key, cls, action = target.key, offer.cls, offer.action
    arguments = inputs.values
    try:
        outcome = run(perform(backend, key, cls, action, arguments, actor=None))
    except SessionStoresError:
        raise
    except Exception as error:
        # As for a tab: a mistake of the site's, which its log tells.
        logger.exception("%s: the action %s failed", key, offer.name)
        raise ActionRejected(
            _("The action failed. The server’s log says why.")
        ) from error
    return _effect(offer, outcome, texts=inputs.texts)


def _effect(offer: Offer, outcome: Outcome, *, texts: bool) -> Effect:
    """Return what an action did; `texts`: staff may be told texts that states tell.

    Whoever may see the pages may read the log, so that it has numbers alone.
    """
    with override("en"):
        called = f"{words_of(offer.action)} ({offer.name})"
    said = _answer(outcome.result)
    answer = said if texts else ""
    if outcome.base == outcome.rev:
        return Effect(f"{called}: nothing changed.", changed=False, text=answer)
    step = None if said else _step_after(offer.cls, outcome)
    shown = step_text(step)
    if not shown:
        return Effect(f"{called}: done.", text=answer)
    is_number = isinstance(step, int)
    if is_number or texts:
        answer = _("Now at step %(step)s.") % {"step": shown}
    now = f"step {shown}" if is_number else "another step"
    return Effect(f"{called}: now at {now}.", text=answer)


def _answer(result: object) -> str:
    """Return what an action has returned, if that is a text for people; else ""."""
    if not isinstance(result, str | Promise):
        return ""
    text = " ".join(str(result).split())
    return text if len(text) <= MAX_ANSWER else f"{text[: MAX_ANSWER - 1]}…"


def _step_after(cls: type[State], outcome: Outcome) -> Any:
    """Return the step to which an action has led; None if it has not changed it."""
    change, name = outcome.change, cls.__sessionstores__.name
    if change is None or not has_step(cls) or (after := change.after.get(name)) is None:
        return None
    before = change.before.get(name)
    step = _step_in(cls, after)
    return None if before is not None and step == _step_in(cls, before) else step


def _step_in(cls: type[State], stored: bytes) -> Any:
    value = getattr(codec.decode(cls, stored), STEP)
    return value.value if isinstance(value, Enum) else value


def _report(
    offer: Offer, done: Sequence[Done], inputs: OperationInputs
) -> Iterable[Report]:
    by_effect: dict[tuple[str, bool], list[OperationTarget]] = {}
    for target, effect in done:
        by_effect.setdefault((effect.text, effect.changed), []).append(target)
    for (text, changed), targets in by_effect.items():
        level = messages.SUCCESS if changed else messages.INFO
        if not text:
            text = (
                _("%(label)s: done.") if changed else _("%(label)s: nothing changed.")
            )
            text %= {"label": offer.label.removesuffix("…")}
        if len(done) > 1 or not targets[0].key.is_session:
            text = _("%(who)s: %(text)s") % {"who": who_text(targets), "text": text}
        yield Report(text, level)


def who_text(targets: Sequence[OperationTarget]) -> str:
    """Return the names of targets, and how many they are if they are many."""
    names = names_text([each.name for each in targets])
    if len(targets) <= 1:
        return names
    if targets[0].key.is_session:
        text = ngettext("%(count)s session", "%(count)s sessions", len(targets))
    else:
        text = ngettext("%(count)s person", "%(count)s people", len(targets))
    counted = text % {"count": number_text(len(targets))}
    return f"{counted} ({names})"


class Slowest(NamedTuple):
    """The participants at the lowest step; `step` is "" if nobody has one."""

    step: str
    targets: list[OperationTarget]


def slowest(code: str, *, texts: bool) -> Slowest:
    """Return those at the lowest step, as the session's page shows steps.

    Hosts, who have another role than everybody's, do not count while there are others.
    `texts`: staff may see steps that are no numbers.
    """
    backend = get_backend(blocking=True)
    people = {each.id: each for each in participant_targets(code)}
    present = attendees(run(backend.connections_of([code]))[code])
    positions = PositionReader(backend, texts=texts).of_people(code, [*people])
    steps = {
        id: step
        for id in people
        if (step := published(present.get(id), STEP) or _at(positions, id))
    }
    others = [id for id in steps if people[id].role == DEFAULT_ROLE]
    counted = others or [*steps]
    if not counted:
        return Slowest("", [])
    lowest = min((steps[id] for id in counted), key=step_order)
    behind = [people[id] for id in counted if steps[id] == lowest]
    return Slowest(lowest, behind)


def _at(positions: Mapping[str, Position], id: str) -> str:
    return positions.get(id, NOWHERE).step
