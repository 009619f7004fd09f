"""The print sheet of a session: everybody by name, with step, progress, last action."""

from __future__ import annotations

import time

from django.http import HttpResponse
from django.utils.translation import gettext as _

from ...backends import get_backend
from ...backends.base import run
from ...sessions.presence import attendees
from ..page import AdminPage
from ..people import rows_of
from ..progress import PositionReader, progress_word, total_of
from ..timeline import describe
from .session import missing_page, session_urls


def print_sheet(page: AdminPage, code: str) -> HttpResponse:
    """Show all people of a session on one page, as they are when it is opened."""
    backend = get_backend(blocking=True)
    info = run(backend.session(code))
    if info is None:
        return missing_page(page, backend, code)
    participants = run(backend.participants(code))
    reader = PositionReader(backend, texts=page.rights.state)
    people = rows_of(
        participants,
        attendees(run(backend.connections_of([code]))[code]),
        describe(info.events),
        info,
        now=backend.clock(),
        positions=reader.of_people(code, [each.id for each in participants]),
    )
    people.sort(key=lambda row: (not row.name, row.called.casefold(), row.id))
    return page.render(
        "print_sheet",
        title=_("People of %(session)s") % {"session": info.label or code},
        **session_urls(page, code),
        session=info,
        people=people,
        online=sum(person.tabs > 0 for person in people),
        total=total_of(person.progress for person in people),
        total_word=progress_word("participant"),
        with_steps=any(person.step for person in people),
        with_progress=any(person.progress for person in people),
        at=time.time(),
    )
