"""Frame throttle: slow down a tab that sends more than it may, then give it up.

All frames count. Past the budget the tab's next frame is not read until there is a
token for it, so that its own network, and no other tab, waits for it. That costs less
than to close it, since it may come back: it is given up late.
"""

from __future__ import annotations

import asyncio

from django.utils.translation import gettext_lazy as _

from .token_bucket import TokenBucket

# Frames besides actions, a second and at once: our client sends a pong for each ping
# and up to ten metas a second, that of earlier releases one for each turn of a pointer.
FRAMES_PER_SECOND = 60.0
FRAME_BURST = 120.0
# A frame counts once, and once more for each so many characters.
CHARACTERS = 16_384
# Those that the cache is read for: a tab asks for a snapshot three times a second, of
# each document, if every patch is lost on its way.
READS_PER_SECOND = 10.0
READ_BURST = 20.0
# Seconds that a tab may be made to wait in a row, and of each second from then on.
MAX_WAITING = 60.0
WAITING_SHARE = 0.1


class TooManyFrames(Exception):
    """The tab has been slowed down for long, and has kept on."""

    message = _("This page sent too much at once. It connects again by itself.")
    hint = "This tab sends more than the server takes from one."


class FrameThrottle:
    """The budgets of one connection, for its reader to spend from.

    `frames` is spent from for every frame, `reads` for those that the cache is read
    for. `rate_limit`: actions a second and burst, which have a bucket of their own
    and must not use up this one.
    """

    __slots__ = ("_patience", "frames", "reads")

    def __init__(self, rate_limit: tuple[float, float]) -> None:
        rate, burst = rate_limit
        self.frames = TokenBucket(FRAMES_PER_SECOND + rate, FRAME_BURST + burst)
        self.reads = TokenBucket(READS_PER_SECOND, READ_BURST)
        self._patience = TokenBucket(WAITING_SHARE, MAX_WAITING)

    async def wait(self, seconds: float) -> None:
        """Let the tab wait until its credit is earned; raise `TooManyFrames`."""
        if self._patience.spend(seconds):
            raise TooManyFrames
        await asyncio.sleep(seconds)
