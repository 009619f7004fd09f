"""The workers of a server, and what each says of records in its memory."""

from __future__ import annotations

import logging
import sys

import pytest
from pytest_django import Settings

from sessionstores.backends import drop_backends, get_backend
from sessionstores.backends.server_workers import announced_workers

PROGRAM = "/site/.venv/bin/"
MODULE = "/site/.venv/lib/uvicorn/__main__.py"


@pytest.mark.parametrize(
    ("line", "environ", "workers"),
    [
        (f"{PROGRAM}uvicorn site.asgi:app --workers 2", {}, 2),
        (f"{PROGRAM}uvicorn site.asgi:app --workers=4 --port 80", {}, 4),
        (f"{MODULE} site.asgi:app --workers 3", {}, 3),
        ("uvicorn.exe site.asgi:app --workers 3", {}, 3),
        (f"{PROGRAM}gunicorn site.wsgi -w 2 -b :80", {}, 2),
        (f"{PROGRAM}gunicorn site.wsgi -w4", {}, 4),
        (f"{PROGRAM}hypercorn -w=2 site.asgi:app", {}, 2),
        (f"{PROGRAM}granian --workers 2 site.asgi:app", {}, 2),
        (f"{PROGRAM}granian site.asgi:app", {"GRANIAN_WORKERS": "3"}, 3),
        (f"{PROGRAM}gunicorn site.wsgi", {"WEB_CONCURRENCY": "3"}, 3),
        (f"{PROGRAM}uvicorn a:b --workers 1", {"WEB_CONCURRENCY": "3"}, 1),
        (f"{PROGRAM}uvicorn site.asgi:app", {}, 1),
        (f"{PROGRAM}uvicorn site.asgi:app --workers", {}, 1),
        (f"{PROGRAM}uvicorn a:b --workers 2 --reload", {"WEB_CONCURRENCY": "2"}, 1),
        (f"{PROGRAM}daphne site.asgi:app", {"WEB_CONCURRENCY": "3"}, 1),
        ("manage.py runserver", {"WEB_CONCURRENCY": "3"}, 1),
        ("manage.py import -w 4", {}, 1),
        ("", {}, 1),
    ],
)
def test_workers_are_as_many_as_the_server_was_told(
    line: str, environ: dict[str, str], workers: int
) -> None:
    assert announced_workers(line.split(), environ) == workers
    assert announced_workers([], {}) == 1


@pytest.mark.parametrize(
    ("words", "silenced", "logged"),
    [
        ([f"{PROGRAM}uvicorn", "a:b", "--workers", "2"], [], True),
        ([f"{PROGRAM}uvicorn", "a:b", "--workers", "2"], ["sessionstores.W004"], False),
        ([f"{PROGRAM}uvicorn", "a:b"], [], False),
    ],
)
def test_a_worker_with_others_warns_once_of_records_in_its_memory(
    words: list[str],
    silenced: list[str],
    logged: bool,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", words)
    settings.SILENCED_SYSTEM_CHECKS = silenced
    drop_backends()
    with caplog.at_level(logging.WARNING, "sessionstores.backends"):
        for blocking in (True, False, True):
            get_backend(blocking=blocking)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == logged
    for text in texts:
        assert "The cache 'default' keeps records in the memory of this proc" in text
        assert "The server has 2 workers. Set SESSIONSTORES['CACHE']" in text
        assert "(sessionstores.W004)" in text
