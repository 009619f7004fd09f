"""The public surface of a release, taken from its code as it runs, as JSON.

`python -m tests.releases.surface` prints that of the `sessionstores` on the path. It
runs with any release: it finds private modules by the public names that they hold.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import io
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import django
import msgspec

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
if __name__ == "__main__":
    django.setup()

from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib import admin
from django.core.cache.backends import locmem
from django.core.management import call_command, load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from django.test import override_settings
from prometheus_client.parser import text_string_to_metric_families

import sessionstores
from sessionstores import Participant, exceptions, routing, signals, stores

PACKAGE = Path(sessionstores.__file__).parent
COMMANDS = ("sessionstores_doctor", "storestats", "sweepstores")
PATIENCE = 20.0

Shape = dict[str, Any]


def modules() -> Iterator[ModuleType]:
    """Import and yield all modules of the package that can be imported."""
    for found in pkgutil.walk_packages(sessionstores.__path__, "sessionstores."):
        # Needs a package that is not asked for here.
        if found.name != "sessionstores.panel":
            yield importlib.import_module(found.name)


def holder(name: str) -> ModuleType:
    """Return the module that defines a name."""
    for module in modules():
        value = vars(module).get(name)
        home = getattr(value, "__module__", None)
        if value is not None and home in (None, module.__name__, "builtins"):
            return module
    raise LookupError(name)


def sources() -> str:
    """Return all Python source of the package as one text."""
    return "\n".join(file.read_text() for file in sorted(PACKAGE.rglob("*.py")))


def types_of(value: Any) -> Any:
    """Return a value's type; of an object, by key; of a list, of its first element."""
    if isinstance(value, dict):
        return {key: types_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [types_of(each) for each in value[:1]]
    return "number" if type(value) in (int, float) else type(value).__name__


# Settings, keys, errors, signals


def settings() -> Shape:
    """Return the keys of the setting with their defaults."""
    with override_settings(SESSIONSTORES={}):
        conf = importlib.import_module("sessionstores.conf").get()
    is_struct = isinstance(conf, msgspec.Struct)
    given = msgspec.structs.asdict(conf) if is_struct else dataclasses.asdict(conf)
    return {name.upper(): value for name, value in given.items()}


def keys() -> Shape:
    """Return keys as they are made, and those under which a cache holds a session."""
    module = importlib.import_module("sessionstores.keys")
    code = "K7Q2ZD"
    made = [
        module.cache_key("ss", code, "p", "alice"),
        module.cache_key("ss", code, "s"),
        module.shared_key("ss", "reg", "7"),
        str(module.StoreKey(code, "alice")),
        str(module.StoreKey.of_session(code)),
    ]
    board = board_class()
    stores.get(board, code, "alice").dispatch(board.move, "ace", "keep")
    stores.create_session(label="Kept", keep=60)
    stores.revoke(code, "alice")
    cache = locmem._caches["sessionstores:default"]
    stored = sorted(key for key in cache if code in key)
    stores.end_session(code)
    ended = sorted(key for key in cache if code in key)
    return {"made": made, "stored": stored, "ended": ended}


def board_class() -> Any:
    """Return the state that the test site declares."""
    return importlib.import_module("tests.workshop.states").Board


def errors() -> Shape:
    """Return the wire code and the builtin parents of every error."""
    return {
        name: {
            "code": cls.code,
            "parents": sorted(
                base.__name__
                for base in cls.__mro__
                if base.__module__ == "builtins" and base not in Exception.__mro__
            ),
        }
        for name, cls in vars(exceptions).items()
        if isinstance(cls, type) and issubclass(cls, exceptions.SessionStoresError)
    }


def signal_names() -> list[str]:
    """Return the names of the signals."""
    return sorted(
        name for name, value in vars(signals).items() if isinstance(value, Signal)
    )


# Commands, checks, loggers, figures


def commands() -> Shape:
    """Return the options of the commands, those of Django left out."""
    shared = {
        option
        for action in BaseCommand().create_parser("manage.py", "any")._actions
        for option in action.option_strings
    }
    found: Shape = {}
    for name in COMMANDS:
        parser = load_command_class("sessionstores", name).create_parser("manage", name)
        found[name] = {
            "/".join(action.option_strings) or action.dest: (
                f"nargs {action.nargs}, required {action.required}, "
                f"default {action.default!r}, choices {action.choices}"
            )
            for action in parser._actions
            if not shared & {*action.option_strings}
        }
    return found


def exit_codes() -> list[int]:
    """Return the codes with which the commands exit, by the text of their modules."""
    found = set()
    for module in modules():
        if ".management" not in module.__name__ or module.__file__ is None:
            continue
        text = Path(module.__file__).read_text()
        for value in re.findall(r"(?:sys\.exit\(|returncode=)(\w+)", text):
            named = vars(module).get(value, value)
            if str(named).isdecimal():
                found.add(int(named))
    return sorted(found)


def metrics() -> Shape:
    """Return the type and the labels of each metric, on a site that has been used."""
    board = board_class()
    code = stores.create_session()
    stores.get(board, code, "alice").dispatch(board.move, "ace", "keep")
    stores.cleanup_participant(code, "alice")
    stores.sweep()
    # A cache server says this; there is none in memory.
    server: Any = SimpleNamespace(used=1)
    stats = msgspec.structs.replace(stores.stats(), server=server)
    found = holder("exposition").exposition(stats)
    # Earlier releases have one content type, so they name none.
    text = (found if isinstance(found, bytes) else found[0]).decode()
    return {
        family.name: {
            "type": family.type,
            "labels": sorted({name for each in family.samples for name in each.labels}),
        }
        for family in text_string_to_metric_families(text)
    }


def report() -> Any:
    """Return what `storestats --json` prints, as types."""
    out = io.StringIO()
    call_command("storestats", json=True, stdout=out)
    return types_of(json.loads(out.getvalue()))


# The wire


def inbound() -> Shape:
    """Return the fields of the frames that tabs may send, and which are required."""
    protocol = holder("SUBPROTOCOL")
    frames = [
        vars(protocol)[name]
        for name in ("Frame", "InboundFrame")
        if name in vars(protocol)
    ]
    return {
        cls.__struct_config__.tag: {
            name: name in required_fields(cls) for name in cls.__struct_fields__
        }
        for cls in get_args(frames[0])
    }


def required_fields(cls: Any) -> set[str]:
    """Return the fields of a struct that have no default: the first ones."""
    names = cls.__struct_fields__
    return set(names[: len(names) - len(cls.__struct_defaults__)])


class Tab:
    """A WebSocket that keeps the types of all frames that the server sends."""

    def __init__(self, code: str, participant: str, seen: Shape) -> None:
        self.token = Participant(code, participant).token()
        self.participant = participant
        self.seen = seen
        self.socket = WebsocketCommunicator(
            URLRouter(routing.websocket_urlpatterns),
            "/ws/sessionstores/",
            headers=[(b"origin", b"http://testserver")],
            subprotocols=["sessionstores.v1"],
        )

    async def open(self) -> None:
        """Connect, and wait for the first snapshots."""
        await self.socket.connect(PATIENCE)
        await self.say(
            type="hello",
            token=self.token,
            client=f"{self.participant}1",
            meta={"name": self.participant},
        )
        for _ in range(2):
            await self.hear("snapshot")

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self.socket.send_to(text_data=json.dumps(frame))

    async def hear(self, kind: str) -> Shape:
        """Wait for a frame of that type, and note those on the way."""
        while True:
            frame: Shape = json.loads(await self.socket.receive_from(PATIENCE))
            fields = self.seen.setdefault(frame["type"], {})
            fields |= {name: types_of(value) for name, value in frame.items()}
            if frame["type"] == kind:
                return frame


async def outbound() -> Shape:
    """Return the fields of the frames that tabs are sent, in a session of two tabs.

    Fields whose keys are ids, revs or states are objects, not looked into.
    """
    seen: Shape = {}
    code = await stores.acreate_session()
    alice, other = Tab(code, "alice", seen), Tab(code, "alice", seen)
    other.participant = "other"
    await alice.open()
    await other.open()
    move = {"type": "action", "state": "board", "action": "move"}
    await alice.say(**move, id=1, args={"card": "ace", "pile": "keep"})
    await alice.hear("ack")
    await other.hear("patch")
    await alice.say(**move, id=2, args={"card": "nowhere", "pile": "keep"})
    await alice.hear("reject")
    await alice.say(type="nonsense")
    await alice.hear("error")
    await stores.asend(code, {"words": "Lunch!"})
    await alice.hear("message")
    await alice.hear("ping")
    await alice.hear("presence")
    await stores.aend_session(code)
    for tab in (alice, other):
        await tab.hear("end")
        closed = await tab.socket.receive_output(PATIENCE)
        assert closed["type"] == "websocket.close", closed
        await tab.socket.wait()
    return {
        kind: {
            name: "dict" if isinstance(value, dict) and name != "limits" else value
            for name, value in fields.items()
        }
        for kind, fields in seen.items()
    }


def wire() -> Shape:
    """Return the frames both ways, the close codes and the subprotocol."""
    protocol = holder("SUBPROTOCOL")
    path = Path(str(protocol.__file__))
    others = path.parent.glob("*_frames.py")
    text = "".join(each.read_text() for each in (path, *others))
    with override_settings(SESSIONSTORES={"HEARTBEAT": 0.1, "AUTO_SWEEP": False}):
        sent = asyncio.run(outbound())
    return {
        "subprotocol": protocol.SUBPROTOCOL,
        "close": sorted(int(code) for code in protocol.Close),
        "inbound": inbound(),
        "outbound": sent,
        "outbound types": sorted(set(re.findall(r'"type": ?"(\w+)"', text))),
        "routes": [str(each.pattern) for each in routing.websocket_urlpatterns],
    }


# Pages


def pages() -> Shape:
    """Return the admin's URLs, the template tags, and what the client exports."""
    model_admin = next(
        each
        for model, each in admin.site._registry.items()
        if model._meta.app_label == "sessionstores"
    )
    library = importlib.import_module("sessionstores.templatetags.sessionstores")
    script = (PACKAGE / "static" / "sessionstores" / "client.js").read_text()
    exported = r"^export (?:async )?(?:class|function) (\w+)"
    passed_on = re.findall(r"^export \{([\w, ]+)\} from", script, re.MULTILINE)
    return {
        "admin": {str(each.name): str(each.pattern) for each in model_admin.urls},
        "tags": sorted([*library.register.tags, *library.register.filters]),
        "client": sorted(
            [
                *re.findall(exported, script, re.MULTILINE),
                *re.findall(r"\w+", " ".join(passed_on)),
            ]
        ),
    }


def surface() -> Shape:
    """Return the whole surface."""
    text = sources()
    return {
        "names": sorted(sessionstores.__all__),
        "settings": settings(),
        "keys": keys(),
        "errors": errors(),
        "signals": signal_names(),
        "commands": commands(),
        "exit codes": exit_codes(),
        "checks": sorted(set(re.findall(r'"(sessionstores\.[EW]\d{3})"', text))),
        "loggers": sorted(set(re.findall(r'getLogger\("([\w.]+)"\)', text))),
        "metrics": metrics(),
        "storestats": report(),
        "wire": wire(),
        "pages": pages(),
    }


if __name__ == "__main__":
    json.dump(surface(), sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
