"""`manage.py sessionstores_doctor`: find misconfigurations of the running site."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from channels.layers import get_channel_layer
from django.conf import settings
from django.core import checks

from ...backends import get_backend, places_redis, problem
from ...backends.base import Backend, run
from ...backends.database import DatabaseBackend
from ...backends.types import Finding
from ...checks.layers import default_layer, is_on_redis, unusable_layer
from ...checks.settings import TAG, usable_conf
from ...conf import Conf
from ...exceptions import StoreUnavailable
from ...realtime.channel_layer import LAYER_SECONDS, reaches_others
from ..arguments import SiteCommand, one_line, read_error
from ..interrupts import quiet_on_closed_pipe
from ..socket_probe import probe

# From good to bad; the last two make the command fail.
LEVELS = ("ok", "note", "warning", "error")
FAILING = LEVELS[2:]
# The value that the command writes to the cache expires after this time.
VALUE_SECONDS = 5.0
# In the texts of servers that have answered; else there may be none.
ANSWERED = (
    " refused (",
    " does not speak as one ",
    "sentinels want a password",
    "createcachetable",
)


class FindingRow(NamedTuple):
    """A finding of the report; a note would be a warning in a deployment."""

    level: Literal["ok", "note", "warning", "error"]
    text: str
    hint: str
    source: str


class Command(SiteCommand):
    """Reports on settings, cache, channel layer and WebSocket, as this process sees."""

    help = (
        "Check the settings, then test the cache, the channel layer and the site's "
        "WebSocket. Exit code 0: no errors or warnings; 1: errors or warnings; 2: "
        "unknown arguments. It writes one value to the cache, which expires after "
        f"{VALUE_SECONDS:g} s, sends one message to itself through the channel layer, "
        "and opens one connection to ASGI_APPLICATION, inside this process."
    )
    # Their findings are part of the report and must not prevent it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument(
            "--deploy",
            action="store_true",
            help="report what concerns deployments as warnings instead of notes",
        )
        parser.add_argument(
            "--quiet",
            action="store_true",
            help="print errors and warnings only, like -v 0; nothing without any",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help='print one object: {"ok": true or false, "findings": [{"level": "ok", '
            '"note", "warning" or "error", "text", "hint", "source"}, …]}',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report; exit with 1 if there are errors or warnings."""
        rows = [
            *settings_rows(deploy=options["deploy"]),
            *cache_rows(),
            *layer_rows(),
            *socket_rows(),
        ]
        failing = [row for row in rows if row.level in FAILING]
        if options["quiet"] or options["verbosity"] < 1:
            rows = failing
        with quiet_on_closed_pipe():
            if options["json"]:
                findings = [row._asdict() for row in rows]
                report = {"ok": not failing, "findings": findings}
                self.stdout.write(json.dumps(report))
            elif rows:
                self._print(rows)
            self.stdout.flush()
        if failing:
            sys.exit(1)

    def _print(self, rows: list[FindingRow]) -> None:
        colours = (
            self.style.SUCCESS,
            self.style.MIGRATE_HEADING,
            self.style.WARNING,
            self.style.ERROR,
        )
        style = dict(zip(LEVELS, colours, strict=True))
        width = max(len(row.source) for row in rows)
        for row in rows:
            level = style[row.level](f"{row.level:7}")
            self.stdout.write(f"{level}  {row.source:{width}}  {row.text}")
            if row.hint:
                self.stdout.write(f"{'':7}  {'':{width}}  {row.hint}")
        count = Counter(row.level for row in rows)
        parts = [
            f"{count[level]} {level}{'s' * (count[level] > 1)}"
            for level in ("error", "warning", "note")
            if count[level]
        ]
        worst = max(count, key=LEVELS.index)
        if worst not in FAILING:
            parts.insert(0, "All is well")
        self.stdout.write(style[worst](", ".join(parts) + "."))


def settings_rows(*, deploy: bool) -> Iterator[FindingRow]:
    """Run the system checks, including those for deployments."""
    always = checks.run_checks(tags=[TAG])
    found = checks.run_checks(tags=[TAG], include_deployment_checks=True)
    found = [message for message in found if not message.is_silenced()]
    for message in found:
        level: Literal["note", "warning", "error"] = "warning"
        if message.level >= checks.ERROR:
            level = "error"
        elif message not in always and not deploy:
            level = "note"
        yield FindingRow(level, message.msg, message.hint or "", str(message.id))
    if not found:
        yield FindingRow("ok", "The system checks found no problems.", "", "settings")


def cache_rows() -> Iterator[FindingRow]:
    """Write to the cache and read from it, and ask it about its configuration."""
    given = usable_conf()
    if given is None or problem(given.cache):
        yield skipped("cache")
        return
    backend = get_backend(blocking=True)
    failures = []
    try:
        yield run(round_trip(backend))
    except StoreUnavailable as error:
        failures.append(read_error(error))
    findings: list[Finding] = []
    try:
        # A full server refuses writes, but still reports on itself.
        findings = run(backend.examine())
    except StoreUnavailable as error:
        failures.append(read_error(error))
    if failures:
        # A database reports its failure as what it has found.
        findings = [each for each in findings if read_error(each.text) != failures[0]]
        hint = "The findings below are what it still reports."
        if not findings:
            hint = cache_hint(given, backend, failures[0])
        yield FindingRow("error", failures[0], hint, "cache")
    for finding in findings:
        yield FindingRow(finding.level, finding.text, finding.hint, "cache")


def cache_hint(given: Conf, backend: Backend, failure: str) -> str:
    """Return where the server of the records is set, and what to ask about it."""
    place = f"CACHES[{given.cache!r}]"
    if places_redis(given.redis):
        place = "SESSIONSTORES['REDIS']"
    elif isinstance(backend, DatabaseBackend):
        place = f"DATABASES, which {place} names a table of"
    if any(text in failure for text in ANSWERED):
        return f"It is the one in {place}."
    return f"Is the server running, at the address in {place}?"


def skipped(source: str) -> FindingRow:
    """Return the row for what cannot be tried with the settings as they are."""
    text = "Not tried: correct the settings first."
    return FindingRow("note", text, "The errors of the checks say which.", source)


async def round_trip(backend: Backend) -> FindingRow:
    """Write a value, read it back, and check that a stale write is refused."""
    name, data = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(64)
    started = time.perf_counter()
    absent = await backend.value(name)
    written = await backend.swap_value(name, absent.token, data, seconds=VALUE_SECONDS)
    found = await backend.value(name)
    stale = await backend.swap_value(name, absent.token, b"", seconds=VALUE_SECONDS)
    took = (time.perf_counter() - started) * 1000
    if written and found.data == data and not stale:
        kind = type(backend).__name__
        reach = "all processes" if backend.shared else "this process alone"
        text = f"{kind} wrote and read in {took:.1f} ms; records are seen by {reach}."
        return FindingRow("ok", text, "", "cache")
    return FindingRow(
        "error",
        "A value that was just written is missing, or a stale write replaced it: "
        "updates would be lost.",
        "Does a proxy or a replica answer instead of the server, or is it full?",
        "cache",
    )


def layer_rows() -> Iterator[FindingRow]:
    """Send a message through the channel layer and receive it."""
    if reason := unusable_layer():
        text = "Not tried: no channel layer can be made of CHANNEL_LAYERS."
        yield FindingRow("error", text, f"{reason}.", "channel layer")
        return
    try:
        row = asyncio.run(message_to_self())
    except Exception as error:  # noqa: BLE001 - layers may raise anything
        yield FindingRow(
            "error",
            "The channel layer does not deliver: "
            f"{one_line(error) or f'no answer within {LAYER_SECONDS:g} s'}",
            layer_hint(error),
            "channel layer",
        )
    else:
        if row is not None:  # Without a layer: W002.
            yield row


def layer_hint(error: Exception) -> str:
    """Return what to look at where the channel layer has raised an error."""
    # redis-py is known to the backend alone.
    kinds = {each.__name__ for each in type(error).__mro__}
    config = default_layer().get("CONFIG") or {}
    hosts = config.get("hosts") if isinstance(config, Mapping) else None
    if "AuthenticationError" in kinds or str(error).startswith(("NOAUTH", "WRONGPASS")):
        return (
            "Its server was reached. Give the right username and password in "
            "CHANNEL_LAYERS['default']['CONFIG'], 'hosts': [{'address': 'redis://…', "
            "'password': '…'}]."
        )
    if "ResponseError" in kinds:
        return (
            "Its server was reached, and refused that: correct the 'hosts' in the "
            "CONFIG of CHANNEL_LAYERS['default'], or what its user may do."
        )
    if not kinds.isdisjoint({"OSError", "ConnectionError", "TimeoutError"}):
        if is_on_redis() and not hosts:
            return (
                "CHANNEL_LAYERS['default']['CONFIG'] has no 'hosts', so its server is "
                "looked for at redis://localhost:6379."
            )
        return "Is its server running, at the address in CHANNEL_LAYERS?"
    return (
        "Correct the BACKEND of CHANNEL_LAYERS['default'], or its CONFIG, whose keys "
        "are arguments of that class."
    )


def socket_rows() -> Iterator[FindingRow]:
    """Open the site's WebSocket, as a tab would."""
    if not getattr(settings, "ASGI_APPLICATION", None):
        return  # W001.
    if usable_conf() is None:
        yield skipped("WebSocket")
        return
    finding = asyncio.run(probe())
    yield FindingRow(finding.level, finding.text, finding.hint, "WebSocket")


async def message_to_self() -> FindingRow | None:
    """Use the channel layer as the hub does; None without a layer."""
    layer: Any = get_channel_layer()
    if layer is None:
        return None
    started = time.perf_counter()
    channel = await asyncio.wait_for(layer.new_channel(), LAYER_SECONDS)
    sent = {"type": "sessionstores.doctor", "body": secrets.token_hex(8)}
    await asyncio.wait_for(layer.send(channel, sent), LAYER_SECONDS)
    received = await asyncio.wait_for(layer.receive(channel), LAYER_SECONDS)
    took = (time.perf_counter() - started) * 1000
    if received != sent:
        return FindingRow(
            "error",
            f"The channel layer changes messages: {sent!r} arrived as {received!r}.",
            "Does the site's own layer, or a serializer of its CONFIG, do that?",
            "channel layer",
        )
    reach = "all processes" if reaches_others(layer) else "this process alone"
    kind = type(layer).__name__
    text = f"{kind} delivered a message in {took:.1f} ms; it reaches {reach}."
    return FindingRow("ok", text, "", "channel layer")
