"""Token renewal: take a newer token from a tab, and send it one in time."""

from __future__ import annotations

from .. import conf
from ..exceptions import InvalidToken, Kicked, SessionStoresError
from ..participants.tokens import Claims, check_claims, make_token, read_token
from . import protocol
from .connection import Connection
from .error_frames import error_frame
from .frame_head import FrameHead

# Renew a token after this fraction of TOKEN_MAX_AGE.
RENEW_AFTER = 0.75

TOKEN = FrameHead(of="token")


async def take_token(connection: Connection, token: str) -> None:
    """Use a tab's newer token; one for another participant is refused."""
    max_age = conf.get().token_max_age
    try:
        claims = read_token(token, max_age=max_age)
        if claims.key != connection.key:
            raise InvalidToken(
                f"The token is for {claims.key}, and this connection is of "
                f"{connection.key}: open another one for it."
            )
        standings = await connection.backend.standings([claims.key])
        check_claims(claims, standings[claims.key], max_age=max_age)
    except SessionStoresError as error:
        await connection.outbox.reply(error_frame(error, TOKEN))
        if isinstance(error, Kicked):
            connection.kick()
    else:
        connection.claims = claims
        if connection.on_view is not None:
            connection.on_view(connection)


def renew_token(connection: Connection) -> None:
    """Send the tab a newer token if its own is due."""
    claims = connection.claims
    newer = Claims.now(*connection.key, connection.actor.role)
    if newer.issued - claims.issued > RENEW_AFTER * conf.get().token_max_age:
        connection.claims = newer
        connection.outbox.post(protocol.token(make_token(newer)))
