"""Workshops of one running demo, so that each test has its own without a new server."""

from __future__ import annotations

import html
import re

from tests.demo_process import DemoProcess
from tests.project.test_demo import Visitor

BOARD = r'href="([^"]+)"[^>]*>{name}’s board on its own'
REACT = r'{name}’s board on its own</a> · <a href="([^"]+)"[^>]*>React board'


class Workshop:
    """A new workshop with its cast; has the addresses that a demo prints of its own."""

    def __init__(self, demo: DemoProcess) -> None:
        self.demo = demo
        self.base = demo.base
        visitor = Visitor()
        visitor.get(f"{self.base}/")
        _, page, _ = visitor.post(f"{self.base}/start/")
        code, token = _found(r'action="/(\w{6})/\w+/\?ss_participant=([^"]+)"', page)
        self.code = code
        self.urls = {
            "All in one page": f"{self.base}/{code}/together/?ss_participant={token}",
            "Join as a guest": f"{self.base}/?code={code}",
            "Admin": demo.url("Admin"),
        }
        for name in ("Ada", "Ben"):
            (path,) = _found(BOARD.format(name=name), page)
            self.urls[name] = f"{self.base}{path}"
            (path,) = _found(REACT.format(name=name), page)
            self.urls[f"{name} in React"] = f"{self.base}{path}"
        # What staff sign in with, and the code where the demo says it.
        self.output = re.sub(r"workshop \w{6}", f"workshop {code}", demo.output)
        self.signed_in = demo.signed_in

    def url(self, label: str) -> str:
        """Return the address that a demo prints behind `label`."""
        return self.urls[label]


Demo = DemoProcess | Workshop


def _found(pattern: str, page: str) -> tuple[str, ...]:
    match = re.search(pattern, page)
    assert match, page
    return tuple(html.unescape(group) for group in match.groups())
