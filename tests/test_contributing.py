"""Check the texts for contributors against the tree, the Makefile and the contracts."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sessionstores"
TEXTS = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "internals.md",
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
IDS = [str(text.relative_to(ROOT)) for text in TEXTS]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

_SHOWN = re.compile(r"```.*?```|`[^`]+`|\"[^\"]+\"", re.DOTALL)
# `store/retry.py` and `realtime/`, and as imports show it, `realtime.protocol`.
_PATH = re.compile(r"(?:\.?\w[\w-]*/)*[\w.][\w-]*\.(?:py|lua|md|toml|ya?ml)|(?:\w+/)+")
_DOTTED = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")


def paths(text: str) -> set[str]:
    """Return the files and folders of the repository that a text names."""
    shown = re.sub(r"<[^>]+>", " ", " ".join(_SHOWN.findall(text)))
    words = set(re.split(r"[\s,;:`\"·]+", shown))
    named = {word for word in words if _PATH.fullmatch(word)}
    tops = set().union(*layers())
    for word in words - named:
        if _DOTTED.fullmatch(word) and word.partition(".")[0] in tops:
            named.add(word.replace(".", "/"))
    return named


def exists(path: str) -> bool:
    """Tell whether a path leads somewhere, from the package or the repository."""
    return any(
        (folder / way).exists()
        for folder in (PACKAGE, ROOT)
        for way in (path, f"{path}.py")
    )


def layers() -> list[set[str]]:
    """Return the layers of CONTRIBUTING.md, high to low."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```layers\n(.*?)```", text, re.DOTALL)
    return [set(re.findall(r"\w+", line)) for line in block.splitlines()]


def members() -> set[str]:
    """Return the packages and modules directly in the package."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    return modules | packages


def test_paths_are_recognised() -> None:
    text = 'See `store/retry.py` and `realtime/`; `state.patch`; "keys.py<br/>admin/". '
    assert paths(text + "Not `apps.ready()`, `.venv/bin/nox`, `a/b`, or cas/x.py.") == {
        "store/retry.py",
        "realtime/",
        "state/patch",
        "keys.py",
        "admin/",
    }
    assert not exists("store/nowhere.py")


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_every_module_named_exists(text: Path) -> None:
    assert [path for path in sorted(paths(text.read_text())) if not exists(path)] == []


def test_modules_are_named_at_all() -> None:
    for name in ("CONTRIBUTING.md", "docs/internals.md"):
        assert len(paths((ROOT / name).read_text())) > 20, name


def test_every_make_target_named_exists_and_every_target_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert set(phony.split()) <= targets
    named: set[str] = set()
    for text in (*TEXTS, ROOT / "README.md"):
        found = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text.read_text(), re.M)
        assert set(found) <= targets, text.name
        named |= set(found)
    assert named == set(phony.split()) - {"help"}


@pytest.mark.parametrize("text", TEXTS, ids=IDS)
def test_links_lead_somewhere(text: Path) -> None:
    for link, _, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", text.read_text()
    ):
        target = text.parent / link if link else text
        assert target.exists(), link
        if anchor:
            assert anchor in set(anchors(target.read_text())), f"{link}#{anchor}"


def anchors(text: str) -> Iterator[str]:
    """Yield the anchors that a code host gives a text's headings."""
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_layers_are_all_that_there_is() -> None:
    named = [name for layer in layers() for name in layer]
    assert sorted(named) == sorted(members())


def test_layers_are_those_that_the_contract_checks() -> None:
    (contract,) = (
        contract
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        and contract["containers"] == [PACKAGE.name]
        and contract.get("exhaustive")
    )
    checked = [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]
    there = [layer & members() for layer in checked]
    assert layers() == [layer for layer in there if layer]


def test_decisions_are_short_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    records = sorted(folder.glob("[0-9]*.md"))
    assert records
    for record in records:
        lines = record.read_text().splitlines()
        number, title = record.name[:4], lines[0].removeprefix("# ")
        assert title.startswith(f"{number}: ")
        assert len(lines) <= 60, record.name
        headings = [line[3:] for line in lines if line.startswith("## ")]
        assert headings == ["Context", "Decision", "Consequences", "Evidence"]
        assert f"[{number}]({record.name}) |" in index


def test_nox_runs_what_is_declared() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Dict)
    }
    pythons, requirements = constants["PYTHONS"], constants["REQUIREMENTS"]
    declared = PROJECT["project"]["classifiers"]
    django, python = "Framework :: Django :: ", "Programming Language :: Python :: "
    assert {django + version for version in pythons} == {
        line for line in declared if line.startswith(django)
    }
    assert set(pythons) == set(requirements)
    assert {
        python + version for several in pythons.values() for version in several
    } >= {line for line in declared if re.fullmatch(python + r"3\.\d+", line)}
    assert PROJECT["project"]["requires-python"] == f">={pythons['5.2'][0]}"


def test_commit_hooks_run_the_pinned_tools() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"entry: (\S+)", hooks) == [
        ".venv/bin/ruff",
        ".venv/bin/ruff",
        ".venv/bin/mypy",
        ".venv/bin/lint-imports",
    ]
    # Another repository's hooks would have versions of their own.
    assert re.findall(r"repo: (.+)", hooks) == ["local"]
