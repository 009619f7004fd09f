"""Texts of a release: a README whose links work on a package index, and project URLs.

`python docs/release_texts.py REPOSITORY REF` changes README.md and pyproject.toml in
place. The release workflow runs it before it builds: only there is it known where the
repository is, and under which tag its files stay as they are.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)\s]+|(?<=(?:set|src)=\")(?!\w+:)[^\"]+")
_FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_IMAGE = re.compile(r"\.(?:png|svg|jpg|gif|webp)$")
_BEFORE = "[project.optional-dependencies]\n"


def with_absolute_links(text: str, repository: str, ref: str) -> str:
    """Return `text`, its relative links and images leading into the repository."""

    def lead(match: re.Match[str]) -> str:
        path = match[0]
        if _IMAGE.search(path):
            return f"{repository}/raw/{ref}/{path}"
        kind = "tree" if path.endswith("/") else "blob"
        return f"{repository}/{kind}/{ref}/{path.rstrip('/')}"

    parts = _FENCED.split(text)
    # Every second part is a block of code, which is to be pasted as it stands.
    parts[::2] = [_LINK.sub(lead, part) for part in parts[::2]]
    return "".join(parts)


def with_urls(pyproject: str, repository: str, ref: str) -> str:
    """Return pyproject.toml with the URLs that an index shows beside the project."""
    urls = {
        "Documentation": f"{repository}/blob/{ref}/docs/index.md",
        "Source": repository,
        "Changelog": f"{repository}/blob/{ref}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    return pyproject.replace(_BEFORE, f"[project.urls]\n{lines}\n{_BEFORE}", 1)


def main(repository: str, ref: str) -> None:
    """Change both files in place."""
    for name, change in (
        ("README.md", with_absolute_links),
        ("pyproject.toml", with_urls),
    ):
        file = ROOT / name
        file.write_text(change(file.read_text(), repository, ref))


if __name__ == "__main__":
    main(*sys.argv[1:])
