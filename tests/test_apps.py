"""What the app connects at start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.checks.registry import registry
from django.test import override_settings

from sessionstores.event_bus import Change, Creation, Note, Serving, bus
from sessionstores.realtime.publisher import publisher
from sessionstores.realtime.staff import nudger
from sessionstores.realtime.timeline import timeline
from sessionstores.state.declaration import get_state
from tests.logs import NEVER_SLOW

ROOT = Path(__file__).parent.parent

SITE = f"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from types import ModuleType
settings = ModuleType("site_settings")
settings.SECRET_KEY = "x"
settings.USE_TZ = True
settings.INSTALLED_APPS = ["sessionstores", "cards"]
settings.SESSIONSTORES = {{"SLOW_OPERATION_MS": {NEVER_SLOW}}}
sys.modules["site_settings"] = settings
cards = ModuleType("cards")
cards.__path__ = [sys.argv[1]]
cards.__file__ = sys.argv[1] + "/__init__.py"
sys.modules["cards"] = cards
import django
django.setup()
"""


def run_site(code: str, states: str, folder: Path) -> str:
    """Run `code` in a site of its own, whose app `cards` has `states.py`."""
    (folder / "states.py").write_text(states)
    (folder / "site.py").write_text(SITE + code)
    finished = subprocess.run(
        [sys.executable, "-W", "error", folder / "site.py", folder],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.fspath(ROOT)},
    )
    return finished.stdout + finished.stderr


STATES = """
from sessionstores import Participant, State, action

class Pile(State):
    cards: list[str] = []

    @action
    def put(self, card: str, *, by: Participant) -> None:
        self.cards.append(card)
"""


def test_app_has_a_name_that_people_read() -> None:
    config = apps.get_app_config("sessionstores")
    assert str(config.verbose_name) == "Live sessions"


def test_every_commit_calls_the_few_listeners_that_need_it() -> None:
    assert bus.listeners(Change) == (timeline.note, publisher.publish)
    assert timeline.on_activity == nudger.note


def test_apps_that_get_ready_again_connect_nothing_twice(settings: Any) -> None:
    before = {kind: bus.listeners(kind) for kind in (Change, Note, Creation, Serving)}
    checks = len(registry.registered_checks)
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS]):
        pass
    assert {kind: bus.listeners(kind) for kind in before} == before
    assert len(registry.registered_checks) == checks


def test_a_site_without_the_admin_notifies_no_staff(tmp_path: Path) -> None:
    code = """
import sys
from sessionstores.realtime.staff import nudger
from sessionstores.realtime.timeline import timeline
print(timeline.on_activity == nudger.note, "prometheus_client" in sys.modules)
"""
    assert run_site(code, STATES, tmp_path) == "False False\n"


def test_modules_of_the_package_subscribe_nothing_by_being_imported() -> None:
    code = """
import pkgutil
from importlib import import_module
import django
from django.apps import apps
import sessionstores
from sessionstores.apps import SessionStoresConfig
from sessionstores.event_bus import Change, bus
from sessionstores.realtime.publisher import publisher
from sessionstores.realtime.staff import nudger
from sessionstores.realtime.timeline import timeline
SessionStoresConfig.ready = lambda self: None
django.setup()
for module in pkgutil.walk_packages(sessionstores.__path__, "sessionstores."):
    import_module(module.name)
print(bus._listeners)
"""
    finished = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    assert finished.stdout == "{}\n", finished.stderr


def test_checks_are_registered() -> None:
    assert registry.tag_exists("sessionstores", include_deployment_checks=True)


def test_states_modules_are_discovered() -> None:
    assert get_state("board").__module__ == "tests.workshop.states"


def test_site_without_asgi_layers_or_routing_still_has_its_stores(
    tmp_path: Path,
) -> None:
    code = """
from sessionstores import stores
pile = stores.get("pile", stores.create_session(), "alice")
pile.dispatch(type(pile.state).put, "ace")
print(pile.state.cards)
"""
    assert run_site(code, STATES, tmp_path) == "['ace']\n"


def test_package_can_be_imported_before_there_are_settings() -> None:
    imports = "import sessionstores, sessionstores.middleware; print('fine')"
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", imports],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"},
    )
    assert finished.stdout == "fine\n", finished.stderr


def test_error_in_a_states_module_stops_the_start(tmp_path: Path) -> None:
    shown = run_site("print('started')", "import no_such_module", tmp_path)
    assert "no_such_module" in shown
    assert "started" not in shown


def test_duplicate_state_names_are_found_by_the_check(tmp_path: Path) -> None:
    code = """
from django.core.management import call_command
call_command("check")
"""
    shown = run_site(
        code,
        STATES + STATES.replace("Pile(State)", "Heap(State, name='pile')"),
        tmp_path,
    )
    assert "sessionstores.E003" in shown
    assert "cards.states.Heap" in shown
