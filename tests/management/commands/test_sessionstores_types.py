"""`manage.py sessionstores_types`: what it writes, compares, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from sessionstores import State, action
from sessionstores.management.arguments import USAGE
from sessionstores.management.typescript import typescript
from sessionstores.state.declaration import registry
from tests.management.typed.states import GALLERY
from tests.management.typed.states import Board as TypedBoard

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def gallery() -> Iterator[None]:
    """Only the states of the gallery are declared."""
    with registry.isolated(*GALLERY):
        yield


def call(*arguments: str, **options: Any) -> tuple[str, str]:
    """Return what the command says: results, and messages."""
    out, errors = StringIO(), StringIO()
    call_command(
        "sessionstores_types", *arguments, stdout=out, stderr=errors, **options
    )
    return out.getvalue(), errors.getvalue()


def refusal(*arguments: str) -> tuple[int, str, str]:
    """Return exit code, results and message of a command that fails."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("sessionstores_types", *arguments, stdout=out)
    return caught.value.returncode, out.getvalue(), str(caught.value)


def test_it_prints_the_types_of_all_states() -> None:
    assert call() == (typescript(GALLERY), "")


def test_it_writes_a_file_only_if_that_differs(tmp_path: Path) -> None:
    file = tmp_path / "states.d.ts"
    assert call("--output", str(file)) == ("", f"{file} was written.\n")
    assert file.read_bytes() == typescript(GALLERY).encode()
    before = file.stat().st_mtime_ns
    assert call("--output", str(file)) == ("", f"{file} is up to date.\n")
    assert file.stat().st_mtime_ns == before
    file.write_text("")
    assert call("--output", str(file), verbosity=0) == ("", "")
    assert file.read_text() == typescript(GALLERY)


def test_a_check_accepts_what_was_written_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "states.d.ts"
    call("--output", str(file))
    # As git writes it on Windows.
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    before = file.read_bytes()
    said = call("--output", str(file), "--check")
    assert said == ("", f"{file} is up to date.\n")
    assert file.read_bytes() == before


def test_a_check_shows_how_a_file_differs(tmp_path: Path) -> None:
    file = tmp_path / "states.d.ts"
    call("--output", str(file))
    text = file.read_text()
    file.write_text(text.replace("deck: readonly string[]", "deck: readonly number[]"))
    code, out, message = refusal("--output", str(file), "--check")
    assert code == 1
    assert out.startswith(f"--- {file}\n+++ the declared states\n@@ ")
    assert "-  readonly deck: readonly number[];\n" in out
    assert "+  readonly deck: readonly string[];\n" in out
    assert message == (
        f"{file} is out of date: run manage.py sessionstores_types with --output "
        f"{file}, and commit it."
    )
    assert "number[];" in file.read_text()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\n"])
def test_a_check_refuses_a_file_of_anything_else(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "states.d.ts"
    file.write_bytes(content)
    assert refusal("--output", str(file), "--check")[0] == 1
    assert file.read_bytes() == content


def test_a_check_of_no_file_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "states.d.ts"
    code, out, message = refusal("--output", str(file), "--check")
    assert code == 1
    assert out.count("\n+") > 100
    assert message.startswith(f"{file} does not exist: run manage.py")
    assert not file.exists()


def test_a_check_needs_a_file() -> None:
    assert refusal("--check") == (
        USAGE,
        "",
        "--check also needs --output, the file to look at.",
    )


@pytest.mark.parametrize(
    ("name", "why"), [("none/states.d.ts", "cannot be written"), ("", "cannot be read")]
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, why: str
) -> None:
    code, _, message = refusal("--output", str(tmp_path / name))
    assert code == 1
    assert f"{why}: " in message


def test_the_module_is_that_of_the_option(tmp_path: Path) -> None:
    file = tmp_path / "states.d.ts"
    call("--output", str(file), "--module", "../client.js")
    assert 'declare module "../client.js"' in file.read_text()
    assert call("--output", str(file), "--module", "../client.js", "--check")
    assert refusal("--output", str(file), "--check")[0] == 1


def test_what_cannot_be_used_is_told_by_name() -> None:
    class Wrong(State):
        @action
        def act(self, what: object) -> None: ...

    code, out, message = refusal()
    assert (code, out) == (1, "")
    assert "Wrong.act" in message


def test_a_name_that_two_states_have_is_told() -> None:
    class Board(TypedBoard, name="board"):
        pass

    code, out, message = refusal()
    assert (code, out) == (1, "")
    assert message.startswith("The name 'board' is declared by ")


def test_the_text_does_not_depend_on_how_texts_are_hashed() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "manage.py", "sessionstores_types"],
            capture_output=True,
            check=True,
            cwd=ROOT,
            timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    (text,) = texts
    assert b"export interface Board" in text
