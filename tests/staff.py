"""Members of staff with chosen permissions, and sessions for them to look at."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from sessionstores import StoreKey, stores
from sessionstores.backends import get_backend
from sessionstores.backends.base import run
from sessionstores.backends.types import Lease
from tests.workshop.states import Agenda, Board

CODE = "K7Q2ZD"
ALL = ("view_dashboard", "view_state", "manage_sessions")


def page(name: str, *args: str) -> str:
    """Return the address of one of the admin's pages of live sessions."""
    return reverse(f"admin:sessionstores_livesession_{name}", args=args)


def member(*permissions: str, staff: bool = True, name: str = "mia") -> User:
    """Create a user with these permissions of ours."""
    user = User.objects.create_user(name, is_staff=staff)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="sessionstores", codename__in=permissions
        )
    )
    return user


def signed_in(*permissions: str, name: str = "mia", **options: Any) -> Client:
    """Return a client that is signed in as `member(*permissions)`."""
    client = Client(**options)
    client.force_login(member(*permissions, name=name))
    return client


def fill(*participants: str, code: str = CODE, **session: Any) -> str:
    """Make a session with a board for each participant; return its code."""
    if session:
        code = stores.create_session(**session)
    stores.get(Agenda, code).dispatch(Agenda.advance)
    for participant in participants:
        stores.get(Board, code, participant).dispatch(
            Board.note, f"secret of {participant}"
        )
    return code


def connect(
    participant: str, number: int = 0, *, leaving: bool = False, **meta: Any
) -> Lease:
    """Open a tab as a hub would."""
    lease = Lease(
        f"{participant}-{number}",
        StoreKey(CODE, participant),
        "web-1!x",
        "c",
        frozenset({participant, "*"}),
        json.dumps(meta).encode(),
    )
    backend = get_backend(blocking=True)
    run(backend.lease([lease]))
    if leaving:
        run(backend.release(lease, grace=30))
    return lease
