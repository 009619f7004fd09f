"""Views of the demo: joining, a board, and the facilitator's page of all boards."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST, require_safe

from sessionstores import (
    Participant,
    forms,
    join,
    participant_required,
    stores,
)
from sessionstores.middleware import ParticipantRequest
from sessionstores.views import JoinView

from .forms import JoinForm
from .plain import ACTIONS, rows_of
from .states import CARDS, Agenda, Board
from .workers import MAY_FLUSH, WORKER_NUMBER, worker_statuses
from .workshop import (
    CAST,
    FACILITATOR,
    LABEL,
    LOOPBACK,
    STEP_TITLES,
    cast_of,
    open_workshop,
    progress_of,
)


class Home(JoinView):
    """Let a guest join with a code and a name."""

    form_class = JoinForm
    template_name = "workshop/home.html"
    success_url = "board"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the page shows."""
        return super().get_context_data(**kwargs, label=LABEL)

    def joined(self, participant: Participant, form: forms.JoinForm) -> None:
        """Note the name on the guest's board."""
        board = stores.get(Board, *participant.key)
        board.dispatch(Board.introduce, form.cleaned_data["name"])


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Open a new workshop, with the visitor as its facilitator."""
    code = open_workshop()
    join(request, code, participant=FACILITATOR, role="facilitator")
    return redirect("together", code=code)


@never_cache
@require_safe
@xframe_options_sameorigin
@participant_required
def board(
    request: ParticipantRequest, code: str, *, shared: bool = False
) -> HttpResponse:
    """Show a participant's own board or, with `shared`, the one for everybody."""
    participant = participant_of(request)
    context = board_context(participant)
    context["shared"] = shared
    context["react_url"] = participant.link(reverse("react", args=[code]))
    context["page"]["store"] = "shared_board" if shared else "board"
    return render(request, "workshop/board.html", context)


@never_cache
@require_safe
@xframe_options_sameorigin
@participant_required
def react(request: ParticipantRequest, code: str) -> HttpResponse:
    """Show a participant's own board, drawn by React."""
    participant = participant_of(request)
    context = board_context(participant)
    context["page"] |= {
        "person": participant.id,
        "steps": STEP_TITLES,
        "board": participant.link(reverse("board", args=[code])),
        "texts": {
            "board": _("The board without React"),
            "keys": _(
                "Tap a card, then its place. Or drag it, or press the place’s number."
            ),
            "slow": _("Slow network: 600 ms there and back"),
            "steps": _("Steps of the workshop"),
        },
    }
    return render(request, "workshop/react.html", context)


@never_cache
@require_safe
@participant_required
def plain(request: ParticipantRequest, code: str) -> HttpResponse:
    """Show a participant's own board to a browser that runs no script."""
    participant = participant_of(request)
    board = stores.get(Board, code, participant.id).state
    step = stores.get(Agenda, code).state.step
    placed, wanted = board.progress(step)
    context = {
        "name": board.name or participant.id,
        "step": step,
        "step_title": STEP_TITLES[step - 1],
        "placed": placed,
        "wanted": wanted,
        "action": ACTIONS[step - 1],
        "rows": rows_of(board, step),
        "board_url": participant.link(reverse("board", args=[code])),
    }
    return render(request, "workshop/plain.html", context)


@never_cache
@require_safe
@participant_required
def together(request: ParticipantRequest, code: str) -> HttpResponse:
    """Show the facilitator's panel beside the boards of the cast."""
    facilitator = facilitator_of(request)
    pages = ["restart", "end"]
    if WORKER_NUMBER:
        pages += ["workers", "kill"]
    if MAY_FLUSH:
        pages += ["flush"]
    people = [
        {
            "id": person.id,
            "name": person.id.title(),
            "board": person.link(reverse("board", args=[code])),
            "react": person.link(reverse("react", args=[code])),
            "shared": person.link(reverse("shared", args=[code])),
        }
        for person in cast_of(code)
    ]
    context = {
        "config": facilitator.config(),
        "code": code,
        "label": LABEL,
        "people": people,
        "step_titles": STEP_TITLES,
        "progress": progress_of(code),
        "is_local": request.get_host().partition(":")[0] in LOOPBACK,
        "workers": worker_statuses() if WORKER_NUMBER else [],
        "join_url": request.build_absolute_uri(f"{reverse('home')}?code={code}"),
        "links": {name: facilitator.link(reverse(name, args=[code])) for name in pages},
    }
    return render(request, "workshop/together.html", context)


@require_POST
@participant_required
def restart(request: ParticipantRequest, code: str) -> HttpResponse:
    """Take one participant's cards back to the deck."""
    facilitator = facilitator_of(request)
    store = stores.get(Board, code, request.POST.get("participant", ""))
    if store.peek() is not None:
        store.dispatch(Board.start_over)
    return redirect(facilitator.link(reverse("together", args=[code])))


@require_POST
@participant_required
def end(request: ParticipantRequest, code: str) -> HttpResponse:
    """End the workshop, for good."""
    facilitator_of(request)
    stores.end_session(code)
    return redirect("home")


def board_context(participant: Participant) -> dict[str, Any]:
    """Return what the pages of a participant's board have in common."""
    code = participant.session
    config = participant.config()
    if WORKER_NUMBER and participant.id in CAST:
        # Neighbours use different workers: see project/relay.py.
        config["url"] += f"?seat={CAST.index(participant.id)}"
    board = stores.get(Board, code, participant.id).state
    name = config.get("name") or board.name or participant.id
    return {
        "config": config,
        "name": name,
        "step_titles": STEP_TITLES,
        "plain_url": participant.link(reverse("plain", args=[code])),
        "page": {"cards": CARDS, "name": name},
    }


def participant_of(request: ParticipantRequest) -> Participant:
    """Return the participant of a request behind @participant_required."""
    return cast("Participant", request.participant)


def facilitator_of(request: ParticipantRequest) -> Participant:
    """Return the participant of a request if they are the facilitator; else 403."""
    participant = participant_of(request)
    if participant.role != "facilitator":
        raise PermissionDenied(_("Only the facilitator may see this."))
    return participant
