"""Template tags: a page's configuration for its scripts, and forms of actions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec
from django import template
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template import Context, Engine
from django.utils.html import json_script
from django.utils.safestring import SafeString

from ..action_forms import kept
from ..action_forms.fields import plain
from ..action_forms.form import ActionForm, label_of
from ..action_forms.sent import ATTRIBUTES, MAX_LABEL, SentForm, shown_form
from ..participants.participant import Participant
from ..state.declaration import get_action, get_state

register = template.Library()


@register.simple_tag
def sessionstores_config(
    config: dict[str, Any], element_id: str = "sessionstores"
) -> SafeString:
    """Write `participant.config()` as a JSON script element: `connect("#<id>")`.

    It is data, not code, so a Content-Security-Policy does not block it.
    """
    if not isinstance(config, dict):
        raise TypeError(
            "{% sessionstores_config %} takes what participant.config() returned, "
            f"not {type(config).__name__}: is the name in the template's context?"
        )
    return json_script(config, element_id)


@register.simple_tag(takes_context=True)
def sessionstores_form(
    context: Context,
    state: str,
    action: str,
    /,
    *,
    label: str | None = None,
    next: str | None = None,
    values: Mapping[str, object] | None = None,
    htmx: int | None = None,
    **arguments: object,
) -> SafeString:
    """Write a form that calls an action for `request.participant`, without a script.

    Arguments by name, or in `values`, are preset and hidden. `label` is the text of the
    button, else the action's own label or its name in words. `next`: the page of this
    site to show afterwards, else the one that has the form. `htmx`: 2 or 4, whose
    extension sends it over the page's WebSocket; where there is none, by POST. Raises
    `UnknownState`, `UnknownAction`, TypeError for an argument that there is not, for
    another version of htmx and for a request without participant, and
    `ImproperlyConfigured` where the site has no URL for it.
    """
    request = _request(context)
    participant = _participant(request)
    cls = get_state(str(state))
    called = get_action(cls, str(action))
    presets = {**(values or {}), **arguments}
    ids = _ids(request, state, action, presets)
    form = ActionForm(cls, called, presets=presets, auto_id=ids)
    refused = kept.take(request, participant, form)
    if refused is not None:
        form = ActionForm(cls, called, refused.data, presets=presets, auto_id=ids)
        form.show_refusal(refused.told, refused.code)
    if next is None and "HX-Request" not in request.headers:
        # Of a fragment, the page is the one that it is put into, which the referrer is.
        next = request.get_full_path()
    text = label_of(called) if label is None else plain(label)
    given = shown_form(
        request,
        participant,
        form,
        label=text,
        next=next and plain(next),
        sent=None if htmx is None else _sent(form, text, htmx),
    )
    # Not the context of the page, in which escaping may be off.
    engine: Engine = context.template.engine  # type: ignore[union-attr]
    return engine.get_template("sessionstores/action_form.html").render(Context(given))


def _sent(form: ActionForm, label: str, htmx: int) -> SentForm:
    if htmx not in ATTRIBUTES:
        raise TypeError(
            f"{{% sessionstores_form %}} takes htmx=2 or htmx=4, not htmx={htmx!r}."
        )
    name = form.state.__sessionstores__.name
    id = str(form.auto_id).removesuffix("-%s")
    return SentForm(name, form.action.name, id, label[:MAX_LABEL], htmx)  # type: ignore[arg-type]


def _request(context: Context) -> HttpRequest:
    request = getattr(context, "request", None) or context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% sessionstores_form %} needs the request: render(request, …), or the "
            "context processor django.template.context_processors.request."
        )
    return request  # type: ignore[no-any-return]


def _participant(request: Any) -> Participant:
    if not hasattr(type(request), "participant") and not hasattr(
        request, "participant"
    ):
        raise ImproperlyConfigured(
            "{% sessionstores_form %} needs "
            "'sessionstores.middleware.ParticipantMiddleware' in MIDDLEWARE."
        )
    participant: Participant | None = request.participant
    if participant is None:
        raise TypeError(
            "{% sessionstores_form %} is for participants, and this request has none: "
            "guard the view by participant_required, or write it in "
            "{% if request.participant %}."
        )
    return participant


def _ids(request: Any, state: str, action: str, presets: Mapping[str, object]) -> str:
    """Return the pattern of the ids of a form's controls, none of them twice a page."""
    name = f"ss-{state}-{action}"
    if presets:
        shown = {key: plain(value) for key, value in presets.items()}
        name += f"-{crc32(msgspec.json.encode(shown)):x}"
    written: Counter[str] = request.__dict__.setdefault("_action_forms", Counter())
    written[name] += 1
    again = f"-{written[name]}" if written[name] > 1 else ""
    return f"{name}{again}-%s"
