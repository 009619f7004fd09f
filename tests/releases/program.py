"""A process of a site that does what it reads from its input, whatever the release.

Each line is a JSON object: `do` names a function below, `cache` the alias that holds
the records, the rest are arguments. Each is answered by a line: `{"result": …}`, or
`{"error": …}` with the code of an error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import django
import msgspec

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import RequestFactory, override_settings  # noqa: E402

import sessionstores  # noqa: E402
from sessionstores import Conflict, Participant, SessionStoresError, stores  # noqa: E402
from sessionstores.middleware import ParticipantMiddleware  # noqa: E402

if "SITE_STATES" not in os.environ:
    from tests.faults.site.states import Log
elif "SITE_SCORES" in os.environ:
    import_module(f"tests.releases.{os.environ['SITE_STATES']}.scores")


def where() -> str:
    """Return where the package is."""
    return str(sessionstores.__file__)


def create_table() -> None:
    """Make the table of the cache in the database."""
    call_command("createcachetable", verbosity=0)


def write(code: str, participant: str, line: str) -> None:
    """Add a line."""
    stores.get(Log, code, participant).dispatch(Log.write, line)


def visit(code: str, participant: str) -> None:
    """Look in, and change nothing."""
    stores.get(Log, code, participant).snapshot()


def write_many(code: str, participant: str, by: str, times: int) -> None:
    """Add lines one after the other, each as often as it takes."""
    for number in range(times):
        while True:
            with suppress(Conflict):
                write(code, participant, f"{by} {number}")
                break


def look(code: str, participant: str) -> Any:
    """Return rev and lines, None if there is no record."""
    snapshot = stores.get(Log, code, participant).peek()
    return snapshot and [str(snapshot.rev), snapshot.state.lines]


def create(label: str, keep: float) -> str:
    """Create a session."""
    return stores.create_session(label=label, keep=keep)


def overview(code: str) -> Any:
    """Return what the figures say of a session."""
    (line,) = [each for each in stores.stats().summaries if each.code == code]
    return [line.label, line.participants, line.bytes, line.keep > 0]


def token(code: str, participant: str) -> str:
    """Issue a token."""
    return Participant(code, participant).token()


def link(code: str, participant: str) -> str:
    """Issue a signed link."""
    return Participant(code, participant).link("/board/")


def visitor(url: str, code: str) -> str | None:
    """Return whom a signed link is taken for."""
    request: Any = RequestFactory().get(url)
    request.session = {}
    request.resolver_match = SimpleNamespace(kwargs={"code": code})
    ParticipantMiddleware(lambda _: HttpResponse())(request)
    return request.participant and str(request.participant.id)


def sweep(code: str) -> int:
    """Remove a session's participants, however short they have been idle."""
    return stores.sweep(session=code, idle_for=0).participants


def cleanup(code: str, participant: str) -> bool:
    """Remove a participant."""
    return stores.cleanup_participant(code, participant)


def revoke(code: str, participant: str) -> bool:
    """Make a participant's tokens void."""
    stores.revoke(code, participant)
    return True


def kick(code: str, participant: str) -> bool:
    """Remove a participant, and keep them out; the release before cannot."""
    return stores.kick(code, participant)


def readmit(code: str, participant: str) -> bool:
    """Keep somebody out no longer; the release before cannot."""
    return stores.readmit(code, participant)


def disconnect(code: str, participant: str) -> bool:
    """Close a participant's tabs."""
    stores.disconnect(code, participant)
    return True


def send(code: str, words: str) -> None:
    """Send a message to all tabs of a session."""
    stores.send(code, {"words": words})


def introduce(code: str, participant: str, name: str, role: str) -> list[bool]:
    """Give a participant a name and a role."""
    return [
        stores.set_name(code, participant, name),
        stores.set_role(code, participant, role),
    ]


def people(code: str) -> Any:
    """Return names and roles of all participants."""
    return {each.id: [each.name, each.role] for each in stores.people(code)}


def extend(code: str, seconds: float) -> bool:
    """Keep a session for longer."""
    return stores.extend(code, seconds)


def lock(code: str) -> None:
    """Let nobody new in."""
    stores.lock(code)


def end(code: str) -> None:
    """End a session."""
    stores.end_session(code)


def act(
    state: str, action: str, code: str, participant: str, arguments: dict[str, Any]
) -> None:
    """Run an action of a state of any name."""
    store = stores.get(state, code, participant)
    store.dispatch(getattr(store.cls, action), **arguments)


def page(code: str, participant: str) -> Any:
    """Return rev and states as a page is given them."""
    document = Participant(code, participant).config()["docs"]["me"]
    return [document["rev"], document["states"]]


def look_at(state: str, code: str, participant: str) -> Any:
    """Return a state as it is decoded, its fields in the order of their names."""
    found = stores.get(state, code, participant).state
    names = sorted(found.__struct_fields__)
    return msgspec.to_builtins({name: getattr(found, name) for name in names})


PROGRAM: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        where,
        create_table,
        write,
        visit,
        write_many,
        look,
        create,
        overview,
        token,
        link,
        visitor,
        sweep,
        cleanup,
        revoke,
        kick,
        readmit,
        disconnect,
        send,
        introduce,
        people,
        extend,
        lock,
        end,
        act,
        page,
        look_at,
    )
}


def main() -> None:
    """Do what the input says, until it ends."""
    for line in sys.stdin:
        request = json.loads(line)
        function = PROGRAM[request.pop("do")]
        given = {**settings.SESSIONSTORES, "CACHE": request.pop("cache")}
        answer: dict[str, Any] = {}
        with override_settings(SESSIONSTORES=given):
            try:
                answer["result"] = function(**request)
            except SessionStoresError as error:
                answer["error"] = error.code
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
