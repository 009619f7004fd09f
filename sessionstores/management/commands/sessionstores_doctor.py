"""`manage.py sessionstores_doctor`: is this site fit for live sessions, as it runs?"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from channels.layers import get_channel_layer
from django.core import checks
from django.core.management.base import BaseCommand

from ...backends import get_backend, problem
from ...backends.base import Backend, run
from ...backends.types import Finding
from ...checks.settings import TAG, usable_conf
from ...exceptions import StoreUnavailable
from ...realtime.channel_layer import LAYER_SECONDS, reaches_others
from ..arguments import for_readers
from ..interrupts import while_read

# From good to bad; the last two are trouble.
LEVELS = ("ok", "note", "warning", "error")
TROUBLE = LEVELS[2:]
# What the command writes to the cache is gone after so long.
TRACE_SECONDS = 5.0


class FindingRow(NamedTuple):
    """A line of the report; a note would be a warning if this were a deployment."""

    level: Literal["ok", "note", "warning", "error"]
    text: str
    hint: str
    source: str


class Command(BaseCommand):
    """Reports on settings, cache and channel layer; a process of its own sees them."""

    help = (
        "Check the settings, then ask the cache and the channel layer themselves. "
        "Exit code 0: all is well; 1: there are errors or warnings; 2: unknown "
        "arguments. It writes one value to the cache, which expires after "
        f"{TRACE_SECONDS:g} s, and sends one message, to itself."
    )
    # What they find goes into the report, instead of preventing it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See `BaseCommand.add_arguments`."""
        parser.add_argument(
            "--deploy",
            action="store_true",
            help="take what concerns deployments for warnings; else these are notes",
        )
        parser.add_argument(
            "--quiet",
            action="store_true",
            help="print errors and warnings only, and nothing if there are none; as "
            "does -v 0",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help='print one object: {"ok": true or false, "findings": [{"level": "ok", '
            '"note", "warning" or "error", "text", "hint", "source"}, …]}',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report; exit with 1 if there is trouble."""
        rows = [
            *settings_rows(deploy=options["deploy"]),
            *cache_rows(),
            *layer_rows(),
        ]
        trouble = [row for row in rows if row.level in TROUBLE]
        if options["quiet"] or options["verbosity"] < 1:
            rows = trouble
        with while_read():
            if options["json"]:
                findings = [row._asdict() for row in rows]
                report = {"ok": not trouble, "findings": findings}
                self.stdout.write(json.dumps(report))
            elif rows:
                self._print(rows)
            self.stdout.flush()
        if trouble:
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
        told = [
            f"{count[level]} {level}{'s' * (count[level] > 1)}"
            for level in ("error", "warning", "note")
            if count[level]
        ]
        worst = max(count, key=LEVELS.index)
        if worst not in TROUBLE:
            told.insert(0, "All is well")
        self.stdout.write(style[worst](", ".join(told) + "."))


def settings_rows(*, deploy: bool) -> Iterator[FindingRow]:
    """Run the system checks, those for deployments too."""
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
        yield FindingRow("ok", "The system checks find nothing.", "", "settings")


def cache_rows() -> Iterator[FindingRow]:
    """Ask the cache what it is, and whether it keeps what it is given."""
    given = usable_conf()
    if given is None or problem(given.cache):
        return  # The system checks say why.
    backend = get_backend(blocking=True)
    failures = []
    try:
        yield run(round_trip(backend))
    except StoreUnavailable as error:
        failures.append(for_readers(error))
    findings: list[Finding] = []
    try:
        # A full server refuses to write, yet says what it is.
        findings = run(backend.examine())
    except StoreUnavailable as error:
        failures.append(for_readers(error))
    if failures:
        hint = "What else it says of itself follows."
        if not findings:
            hint = (
                f"Is the server up, and at the address that CACHES[{given.cache!r}] or "
                "SESSIONSTORES['REDIS'] gives?"
            )
        yield FindingRow("error", failures[0], hint, "cache")
    for finding in findings:
        yield FindingRow(finding.level, finding.text, finding.hint, "cache")


async def round_trip(backend: Backend) -> FindingRow:
    """Write a value, read it back, and let a write that comes too late fail."""
    name, data = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(64)
    started = time.perf_counter()
    absent = await backend.value(name)
    written = await backend.swap_value(name, absent.token, data, seconds=TRACE_SECONDS)
    found = await backend.value(name)
    late = await backend.swap_value(name, absent.token, b"", seconds=TRACE_SECONDS)
    took = (time.perf_counter() - started) * 1000
    if written and found.data == data and not late:
        kind = type(backend).__name__
        reach = "all processes see" if backend.shared else "this process alone sees"
        text = f"{kind} wrote and read in {took:.1f} ms; {reach} what it keeps."
        return FindingRow("ok", text, "", "cache")
    return FindingRow(
        "error",
        "A value that was just written is not there, or another replaced it that came "
        "too late: updates would be lost.",
        "Does a proxy or a replica answer in the server's place, or is it full?",
        "cache",
    )


def layer_rows() -> Iterator[FindingRow]:
    """Send a message through the channel layer, and wait for it."""
    try:
        row = asyncio.run(message_to_self())
    except Exception as error:  # noqa: BLE001 - layers of any make raise anything
        yield FindingRow(
            "error",
            "The channel layer does not deliver: "
            f"{str(error) or f'no answer within {LAYER_SECONDS:g} s'}",
            "Is its server up, and at the address that CHANNEL_LAYERS gives?",
            "channel layer",
        )
    else:
        if row is not None:  # W002 says that there is no layer.
            yield row


async def message_to_self() -> FindingRow | None:
    """Use the channel layer as the hub does; None if there is none."""
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
        raise ValueError(f"{sent!r} arrived as {received!r}")
    reach = "others" if reaches_others(layer) else "this process alone"
    kind = type(layer).__name__
    text = f"{kind} delivered a message in {took:.1f} ms; it reaches {reach}."
    return FindingRow("ok", text, "", "channel layer")
