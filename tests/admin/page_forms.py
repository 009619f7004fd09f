"""Forms of a page as a browser has them: their controls, and what it would send."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client


class PageForm(HTMLParser):
    """The first form of a page whose method is POST and that has a control `name`."""

    def __init__(self, response: Any, name: str) -> None:
        super().__init__()
        self.forms: list[list[tuple[str, dict[str, str]]]] = []
        self._text: dict[str, str] | None = None
        self.feed(response.content.decode())
        found = [
            each for each in self.forms if any(a.get("name") == name for _, a in each)
        ]
        assert found, f"no form has a control {name!r}"
        self.controls = found[0]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = {key: value if value is not None else key for key, value in attrs}
        if tag == "form":
            self.forms.append([])
        if not self.forms:
            return
        if tag in {"input", "textarea", "button", "select"}:
            self.forms[-1].append((tag, given))
        if tag == "textarea":
            given["value"] = ""
            self._text = given
        if tag == "option" and ("selected" in given or "value" not in self._select):
            self._select["value"] = given["value"]

    @property
    def _select(self) -> dict[str, str]:
        return next(given for tag, given in self.forms[-1][::-1] if tag == "select")

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text["value"] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._text is not None:
            # As in HTML, the first line break is not part of it.
            self._text["value"] = self._text["value"].removeprefix("\n")
            self._text = None

    def sent(self, do: str) -> dict[str, list[str]]:
        """Return what a browser sends if the button `do` is pressed."""
        data: dict[str, list[str]] = {}
        for tag, given in self.controls:
            kind, name = given.get("type", ""), given.get("name", "")
            is_off = kind in {"checkbox", "radio"} and "checked" not in given
            if tag == "button" or is_off or not name or name == "csrfmiddlewaretoken":
                continue
            value = given.get("value", "on" if kind == "checkbox" else "")
            if tag == "textarea":
                value = value.replace("\r\n", "\n").replace("\r", "\n")
                value = value.replace("\n", "\r\n")
            elif tag == "input" and kind != "hidden":
                value = value.replace("\n", "").replace("\r", "")
            data.setdefault(name, []).append(value)
        data["do"] = [do]
        return data

    def press(self, client: Client, url: str, do: str = "save", **typed: str) -> Any:
        """Send it as a browser would, with other values in the controls named."""
        data = self.sent(do) | {name: [value] for name, value in typed.items()}
        return client.post(url, data)
