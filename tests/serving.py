"""A server in the test's own process, with real sockets and the test's own records."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from channels.routing import URLRouter

from sessionstores.routing import websocket_urlpatterns
from tests.sockets import PATIENCE, until


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve tabs by uvicorn, in this loop; give the address of its WebSockets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            URLRouter(websocket_urlpatterns),
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve([listening]))
        await until(lambda: server.started or running.done(), "uvicorn")
        host, port = listening.getsockname()
        try:
            yield f"ws://{host}:{port}/ws/sessionstores/"
        finally:
            server.should_exit = True
            async with asyncio.timeout(PATIENCE):
                await running
