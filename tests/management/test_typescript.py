"""TypeScript of declared states, as `tsc --strict` judges it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionstores import State, action
from sessionstores.exceptions import MESSAGES
from sessionstores.management.typescript import typescript
from sessionstores.management.typescript_names import RESERVED, names_for
from sessionstores.state.declaration import registry
from tests.management.typed.states import GALLERY
from tests.workshop.states import Agenda as WorkshopAgenda
from tests.workshop.states import Board as WorkshopBoard

with registry.isolated():
    # The demo's: this site has others of these names.
    from project.states import Agenda, Board

ROOT = Path(__file__).parents[2]
TYPED = Path(__file__).parent / "typed"
TSC = ROOT / "node_modules" / "typescript" / "bin" / "tsc"

# In a CI run its absence is a failure.
needs_tsc = pytest.mark.skipif(
    not (TSC.exists() or os.environ.get("CI") == "true"),
    reason="typescript is not installed (npm install)",
)


def complaints(project: Path) -> str:
    """Return what `tsc` says of a project; nothing, if it is right."""
    node = shutil.which("node")
    assert node
    done = subprocess.run(
        [node, TSC, "--project", project],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    assert bool(done.returncode) == bool(done.stdout)
    return done.stdout


# What tsc accepts and refuses


@needs_tsc
def test_tsc_accepts_what_is_right_and_refuses_what_is_wrong() -> None:
    """Each mistake in usage.ts is marked, and a mark without one is a complaint."""
    assert complaints(TYPED) == ""


def test_the_types_in_the_repository_are_those_of_their_states() -> None:
    """Else: manage.py sessionstores_types, or `typescript(GALLERY)`, writes them."""
    assert typescript(GALLERY) == (TYPED / "states.d.ts").read_text(encoding="utf-8")


@needs_tsc
def test_a_site_is_checked_as_the_docs_say(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "typescript.md").read_text()
    static = tmp_path / "workshop" / "static" / "workshop"
    static.mkdir(parents=True)
    (static / "states.d.ts").write_text(
        typescript([WorkshopBoard, WorkshopAgenda], "../sessionstores/client.js")
    )
    blocks = re.findall(r"```(json|ts)\n(.*?)```", page, re.DOTALL)
    (config,) = (json.loads(block) for kind, block in blocks if kind == "json")
    scripts = [block for kind, block in blocks if kind == "ts"]
    assert len(scripts) == 3
    for number, script in enumerate(scripts):
        marked = re.sub(
            r"(?m)^(.* // refused: .*)$", r"// @ts-expect-error\n\1", script
        )
        module = f"{marked}\nexport {{}};\n"
        (static / f"block{number}.ts").write_text(module)
    # Plain JavaScript is checked too.
    (static / "page.js").write_text(scripts[0].partition('session.store("bord')[0])
    _, package = config["compilerOptions"]["rootDirs"]
    assert package.endswith("/site-packages/sessionstores/static")
    installed = (tmp_path / package).parent
    installed.parent.mkdir(parents=True)
    installed.symlink_to(ROOT / "sessionstores")
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    assert complaints(tmp_path) == ""


# The text


@given(st.permutations(GALLERY))
def test_the_order_of_the_states_changes_nothing(states: list[type[State]]) -> None:
    assert typescript(states) == typescript(GALLERY)


def test_the_text_is_one_module_that_ends_with_a_line_end() -> None:
    text = typescript([])
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")
    assert "export interface States {\n}" in text
    assert text.isascii()


def test_the_module_of_the_client_can_be_named() -> None:
    text = typescript([], "../sessionstores/client.js")
    assert text.count('declare module "../sessionstores/client.js" {') == 2
    assert "sessionstores/client." in text
    assert '"sessionstores/client"' not in text


def test_every_general_code_is_known() -> None:
    text = typescript([])
    for code in MESSAGES.keys() - {"error"}:
        assert f'  | "{code}"' in text
    assert '"error"' not in text


def test_a_comment_cannot_be_closed_by_a_docstring() -> None:
    with registry.isolated():

        class Sly(State):
            """*/ export const sly = 1; /*"""

            @action
            def act(self) -> None:
                """One. */

                @deprecated
                """

        text = typescript([Sly])
    assert "*/ export" not in text
    assert "  /** *\\/ export const sly = 1; /* */\n  sly: {" in text
    assert "One. *\\/\n" in text


def test_an_inherited_docstring_is_not_that_of_a_state() -> None:
    with registry.isolated():

        class Plain(State):
            pass

        text = typescript([Plain])
    assert "\n\nexport interface Plain {}\n" in text
    assert "{\n  plain: {" in text


def test_an_annotation_that_cannot_be_sent_is_told() -> None:
    with registry.isolated():

        class Wrong(State):
            @action
            def act(self, what: object) -> None: ...

        with pytest.raises(TypeError, match=r"Wrong\.act.*object"):
            typescript([Wrong])


def test_a_result_that_msgspec_does_not_know_may_be_anything() -> None:
    with registry.isolated():

        class Odd(State):
            @action
            def several(self) -> list[int] | set[int]:
                return []

            @action
            def other(self) -> object:
                return None

        text = typescript([Odd])
    assert "      several: Json;\n      other: Json;\n" in text


# Codes of refusals


def test_codes_are_found_in_what_an_action_calls() -> None:
    text = typescript([Board, Agenda])
    move, choose = '"no_such_card" | "wrong_step"', '"no_such_rank" | "not_sorted"'
    assert f"move: {move} | OtherCode;" in text
    assert f'choose: "no_such_card" | {choose} | "wrong_step" | OtherCode;' in text
    assert 'finish: "not_finished" | OtherCode;' in text
    assert 'advance: "no_such_step" | OtherCode;' in text


def test_an_action_without_source_may_refuse_with_any_code() -> None:
    space = {"State": State, "action": action, "__name__": __name__}
    with registry.isolated():
        exec("class Made(State):\n @action\n def act(self) -> None: ...", space)
        text = typescript([space["Made"]])
    assert "act: OtherCode;" in text


# Names

# Few, so that they collide; some of them end like the second form of others.
NAMES = ["Card", "CardInput", "card", "States", "Json", "string", "a-b", "a_b", "1"]
MODULES = ["deck", "other.deck", "other", "Other.Deck"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(MODULES),
            st.sampled_from([("",), ("Input",), ("", "Input")]),
        ),
        max_size=8,
    )
)
def test_names_are_identifiers_and_unique(
    wanted: list[tuple[str, str, tuple[str, ...]]],
) -> None:
    taken = ["States", "Json"]
    classes = {
        msgspec.defstruct(name, [], module=module): suffixes
        for name, module, suffixes in wanted
    }
    names = names_for(classes, taken)
    assert names.keys() == classes.keys()
    written = [names[cls] + suffix for cls in classes for suffix in classes[cls]]
    assert len(set(written)) == len(written)
    assert not RESERVED.union(taken).intersection(written)
    assert all(name.isidentifier() for name in written)


def test_a_name_that_no_other_has_stays() -> None:
    one, two, three = (
        msgspec.defstruct(name, [], module=module)
        for name, module in (("Card", "a.deck"), ("Card", "b.deck"), ("Pile", "a.deck"))
    )
    assert names_for({one: [""], three: ["", "Input"]}, []) == {
        one: "Card",
        three: "Pile",
    }
    names = names_for({one: [""], two: [""], three: [""]}, [])
    assert names == {one: "ADeckCard", two: "BDeckCard", three: "Pile"}
