"""Sphinx configuration of the documentation site, which `make docs` builds."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import django
from django.conf import settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.admin",
        "django.contrib.messages",
        "django.contrib.sessions",
        "channels",
        "sessionstores",
    ],
    SECRET_KEY="signs nothing",
    USE_TZ=True,
)
django.setup()

import sessionstores  # noqa: E402

project = "sessionstores"
author = copyright = "The sessionstores authors"
version = release = sessionstores.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = "sessionstores"
# Pages show some of them by HTML of their own.
html_extra_path = sorted(map(str, DOCS.glob("*.png")))

myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
# Frames are JSON with arrows.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "literal"
nitpicky = True
# A build without a network has no inventories of other projects. Our own private names
# and type variables stand in signatures, and have no page.
nitpick_ignore_regex = [
    ("py:.*", r"(?!sessionstores\.).*"),
    ("py:.*", r"sessionstores\.(\w+\.)+(?:[A-Z]{1,2}|View|GetResponse|Scope|P\.\w+)"),
]

# Of files above docs/, these are pages of the site; all others are added as they are.
_PAGES = {
    "README.md": "how-to/install.md",
    "SECURITY.md": "explanation/security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "licence.md",
}
_LINK = re.compile(r"\[([^\]\n]+)\]\(([\w./-]+)(#[\w-]+)?\)")
# A line of a toctree. A pattern that nothing matches would be a warning.
_PATTERN = re.compile(r"^[\w/]+\*\n", re.MULTILINE)
_CODE = re.compile(r"``?([A-Za-z_]\w*)``?(?!_|`)")


def _lead_links(text: str, written: Path, docname: str) -> str:
    """Let links to files above docs/ lead to what the site has of them.

    `written`: the folder that they are relative to.
    """
    here = (DOCS / docname).parent

    def lead(match: re.Match[str]) -> str:
        shown, path, anchor = match.groups()
        target = Path(os.path.normpath(written / path))
        name = str(target.relative_to(ROOT)) if ROOT in target.parents else ""
        if name in _PAGES:
            target = DOCS / _PAGES[name]
        elif DOCS not in target.parents:
            if target.is_file():
                return f"{{download}}`{shown} <{os.path.relpath(target, here)}>`"
            return f"{shown} (`{path}`)" if target.exists() else match[0]
        return f"[{shown}]({os.path.relpath(target, here)}{anchor or ''})"

    return _LINK.sub(lead, text)


def _prepare_page(app: Any, docname: str, content: list[str]) -> None:
    text = _PATTERN.sub(lambda line: line[0] if _found(line[0]) else "", content[0])
    content[0] = _lead_links(text, (DOCS / docname).parent, docname)


def _found(pattern: str) -> bool:
    return any(DOCS.glob(f"{pattern.strip()}.md"))


def _prepare_include(app: Any, path: Path, docname: str, content: list[str]) -> None:
    # Of `docname`, some versions of MyST give only the last part.
    content[0] = _lead_links(content[0], (DOCS / path).parent, app.env.docname)


def _link_names(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Let public names in a docstring be links."""

    def link(match: re.Match[str]) -> str:
        known = match[1] in sessionstores.__all__ and match[1] != "stores"
        return f":py:obj:`~sessionstores.{match[1]}`" if known else f"``{match[1]}``"

    lines[:] = [_CODE.sub(link, line) for line in lines]


def _skip_twins(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out methods whose docstring only refers to their sync twin."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("See `") else None


def _check_files(app: Any, error: Exception | None) -> None:
    """Fail if a page of the site shows or links a file that is not there.

    Sphinx does not look into HTML that stands in a page.
    """
    site = Path(app.outdir)
    lost = {
        f"{page.relative_to(site)}: {target}"
        for page in site.rglob("*.html")
        for target in re.findall(r'(?:src|srcset|href)="([^"#?]+)', page.read_text())
        if not target.startswith(("http:", "https:", "mailto:", "data:", "javascript:"))
        and not (page.parent / unquote(target)).exists()
    }
    if error is None and lost:
        raise SystemExit("\n".join(["Files are missing:", *sorted(lost)]))


def setup(app: Any) -> None:
    """Connect the transformations of pages and docstrings, and the last check."""
    app.connect("source-read", _prepare_page)
    app.connect("include-read", _prepare_include)
    app.connect("autodoc-process-docstring", _link_names)
    app.connect("autodoc-skip-member", _skip_twins)
    app.connect("build-finished", _check_files)
