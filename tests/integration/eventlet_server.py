"""Serves the WSGI site of the tests by eventlet; at its end it names shared locks.

A lock of eventlet's that greenlets of two threads of the system use is waited for
without end, once in a while.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import atexit  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from typing import Any  # noqa: E402
from weakref import WeakSet  # noqa: E402

from eventlet import patcher, wsgi  # noqa: E402
from eventlet.green.thread import LockType  # noqa: E402

native_id = patcher.original("threading").get_native_id
locks: WeakSet[LockType] = WeakSet()


def made(lock: Any, *args: Any, make: Any = LockType.__init__) -> None:
    """Make a lock that knows where it was made, and which threads have taken it."""
    make(lock, *args)
    lock.stack, lock.threads = traceback.format_stack(limit=8), set()
    locks.add(lock)


def taken(
    lock: Any, *args: Any, take: Any = LockType.acquire, **options: Any
) -> object:
    """Take a lock."""
    # The interpreter's own, made before, have none.
    getattr(lock, "threads", set()).add(native_id())
    return take(lock, *args, **options)


def name_shared() -> None:
    """Write where locks were made that threads have shared."""
    for lock in locks:
        if len(lock.threads) > 1:
            sys.stderr.write(f"A shared lock, made here: {' '.join(lock.stack)}\n")


LockType.__init__, LockType.acquire = made, taken
LockType.__enter__ = taken

if __name__ == "__main__":
    from tests.integration.greenlet_site import application

    atexit.register(name_shared)
    # What a shell starts in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wsgi.server(eventlet.listen(("127.0.0.1", int(sys.argv[1]))), application)
