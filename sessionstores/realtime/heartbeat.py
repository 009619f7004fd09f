"""What a heartbeat does with one tab: a ping, if its token counts and it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from .. import conf
from ..backends.types import Standing
from ..exceptions import InvalidToken, SessionEnded
from ..keys import StoreKey
from ..participants.tokens import Claims, check_claims, make_token
from ..state.revisions import Rev
from . import protocol
from .connection import Connection
from .protocol import Close

# A tab that owes a pong for so many heartbeats is given up.
PATIENCE = 2.5
# Of its time, a token lives so long before a tab is sent a newer one.
RENEW_AFTER = 0.75

# What is taken for true of a participant while the cache does not tell.
GOOD = Standing(ended=False, revoked_at=None)


def owes(connection: Connection, beats: float) -> bool:
    """Tell whether a ping has waited for its pong for more than so many heartbeats."""
    asked = connection.outbox.asked
    if asked is None:
        return False
    return asyncio.get_running_loop().time() - asked > beats * conf.get().heartbeat


def stands(connection: Connection, standing: Standing) -> bool:
    """Tell whether the connection's token still counts; close it if not."""
    max_age = conf.get().token_max_age
    try:
        check_claims(connection.claims, standing, max_age=max_age)
    except SessionEnded:
        connection.close(Close.ENDED, protocol.end("ended"))
    except InvalidToken as error:
        connection.close(Close.TOKEN, protocol.error(error.code, str(error)))
    else:
        return True
    return False


def ping(
    connection: Connection,
    revs: Mapping[str, Rev | None],
    heads: Mapping[StoreKey, Rev | None] | None,
    standing: Standing | None,
) -> None:
    """Ping a tab, or close it if it has no right to that or has not answered.

    `revs` is what was on its way to it when the heads were asked for. Without heads,
    or a standing, the cache did not tell.
    """
    if not stands(connection, standing or GOOD):
        return
    if owes(connection, PATIENCE):
        message = "This tab answered no ping for too long."
        connection.close(Close.SLOW, protocol.error("slow", message))
        return
    if standing is not None:
        _renew_token(connection)
    shown = None if heads is None else _shown(connection, revs, heads)
    connection.outbox.ping(protocol.ping(shown))


def _shown(
    connection: Connection,
    revs: Mapping[str, Rev | None],
    heads: Mapping[StoreKey, Rev | None],
) -> dict[str, str]:
    """Return the heads to tell a tab; what it needs anew is sent along."""
    shown = {}
    for name, document in connection.names.items():
        head = heads.get(document.key)
        if document.owed:
            # What the tab has is known since it was to get the first.
            connection.outbox.refresh(name)
            continue
        # What was sent since the heads were read is newer than they are.
        if document.rev != revs[name] or document.key not in heads:
            continue
        if head is None:
            document.gone = document.shown is not None
            connection.refresh(document)
        else:
            shown[name] = str(head)
    return shown


def _renew_token(connection: Connection) -> None:
    claims = connection.claims
    newer = Claims.now(claims.session, claims.participant, claims.role)
    if newer.issued - claims.issued > RENEW_AFTER * conf.get().token_max_age:
        connection.claims = newer
        connection.outbox.post(protocol.token(make_token(newer)))
