"""What a release says of itself on a package index leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://code.example/people/sessionstores"


@pytest.fixture
def texts() -> ModuleType:
    """The script, which lies in no package."""
    spec = importlib.util.spec_from_file_location(
        "release_texts", ROOT / "docs" / "release_texts.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_links_of_its_readme_are_absolute(texts: ModuleType) -> None:
    before = (ROOT / "README.md").read_text()
    after = texts.with_absolute_links(before, REPOSITORY, "v1.0.0")
    fenced = r"^```.*?^```"
    flags = re.DOTALL | re.MULTILINE
    assert re.findall(fenced, after, flags) == re.findall(fenced, before, flags)
    plain = re.sub(fenced, "", after, flags=flags)
    links = re.findall(r'\]\(([^)]+)\)|(?:srcset|src)="([^"]+)"', plain)
    found = ["".join(each) for each in links]
    assert len(found) > 10
    assert [each for each in found if not each.startswith("https://")] == []
    inside = [
        match
        for each in found
        if (match := re.match(rf"{REPOSITORY}/(blob|raw|tree)/v1\.0\.0/([^#]+)", each))
    ]
    assert len(inside) > 10
    for match in inside:
        kind, path = match.groups()
        assert (ROOT / path).is_dir() if kind == "tree" else (ROOT / path).is_file()
        assert (kind == "raw") == path.endswith((".png", ".svg"))
    # An image that is a link: both of them.
    assert f"({REPOSITORY}/raw/v1.0.0/docs/admin-overview.png)]({REPOSITORY}/blob" in (
        after
    )
    # Nothing else changes, and doing it twice changes nothing more.
    assert after.replace(f"{REPOSITORY}/", "").count("\n") == before.count("\n")
    assert texts.with_absolute_links(after, REPOSITORY, "v1.0.0") == after


def test_its_project_urls_are_those_of_the_repository(texts: ModuleType) -> None:
    before = (ROOT / "pyproject.toml").read_text()
    after = tomllib.loads(texts.with_urls(before, REPOSITORY, "v1.0.0"))
    urls = after["project"].pop("urls")
    assert after == tomllib.loads(before)
    assert set(urls) == {"Documentation", "Source", "Changelog", "Issues"}
    for url in urls.values():
        assert url.startswith(REPOSITORY)
        if match := re.search(r"/blob/v1\.0\.0/(.+)", url):
            assert (ROOT / match[1]).is_file()


def test_a_release_says_so_before_it_is_built() -> None:
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    script, build = (
        workflow.index(each)
        for each in ("python docs/release_texts.py", "python -m build")
    )
    assert script < build


def test_the_docs_are_part_of_a_source_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"/docs", "/README.md", "/CHANGELOG.md"} <= set(included)
