"""A table that is searched, filtered, sorted and paged by its URL alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from django.http import QueryDict
from django.utils.functional import Promise

T = TypeVar("T")
Text = str | Promise

SIZES = (25, 50, 100, 200)
# Longer ones find nothing, and come back in every link.
MAX_QUERY = 100


class Column(NamedTuple, Generic[T]):
    """A column: its name in the URL, its title, and by what it sorts.

    Texts sort rising at the first click, numbers and times falling; numbers are aligned
    for comparing. Without a `key` it does not sort at all.
    """

    name: str
    title: Text
    key: Callable[[T], Any] | None = None
    kind: Literal["text", "number", "time"] = "text"


class Filter(NamedTuple, Generic[T]):
    """A choice of rows: its name in the URL, its title, and which rows it keeps."""

    name: str
    title: Text
    keeps: Callable[[T], bool]


class Layout(NamedTuple, Generic[T]):
    """What a kind of table offers; `order` is a column's name, with `-`: falling.

    `texts` are what a search looks through; `tie` keeps equal rows where they are.
    """

    columns: Sequence[Column[T]]
    filters: Sequence[Filter[T]]
    texts: Callable[[T], Sequence[str]]
    tie: Callable[[T], Any]
    order: str
    size: int = SIZES[0]


class Link(NamedTuple):
    """A way to see the table otherwise, and whether it is how it is seen now."""

    title: Text
    url: str
    current: bool = False
    number: int | None = None


class ColumnHead(NamedTuple):
    """The head of a column; `sort` is what `aria-sort` says, `url` "": not sortable."""

    name: str
    title: Text
    url: str
    sort: str
    numeric: bool


class Table(Generic[T]):
    """One page of `rows`, as the parameters q, show, o, p and n ask for.

    Parameters that mean nothing here count as absent: an old bookmark still opens.
    """

    def __init__(self, rows: Sequence[T], layout: Layout[T], given: QueryDict) -> None:
        self._given = given
        self._layout = layout
        self.total = len(rows)
        self.query = given.get("q", "").strip()[:MAX_QUERY]
        self.show = self._choice("show", [each.name for each in layout.filters])
        self.order = self._choice(
            "o",
            [s + c.name for c in layout.columns if c.key for s in ("", "-")],
            layout.order,
        )
        chosen = self._choice("n", [str(size) for size in SIZES], str(layout.size))
        self.size = int(chosen)
        found = self._searched(rows)
        self._counts = {
            each.name: sum(map(each.keeps, found)) for each in layout.filters
        }
        self._all = len(found)
        found = self._filtered(found)
        self.found = len(found)
        self.pages = max(ceil(len(found) / self.size), 1)
        self.page = min(self._number("p"), self.pages)
        begin = (self.page - 1) * self.size
        self.rows = self._sorted(found)[begin : begin + self.size]
        self.first = begin + 1 if self.rows else 0
        self.last = begin + len(self.rows)
        self.narrowed = bool(self.query or self.show)

    def heads(self) -> list[ColumnHead]:
        """Return the heads of the columns, with the links that sort by them."""
        heads = []
        for column in self._layout.columns:
            rising, falling = column.name, f"-{column.name}"
            sort, url = "none", ""
            if column.key is not None:
                first, second = (
                    (rising, falling) if column.kind == "text" else (falling, rising)
                )
                url = self.url(o=second if self.order == first else first, p=None)
                sort = {rising: "ascending", falling: "descending"}.get(
                    self.order, "none"
                )
            heads.append(
                ColumnHead(
                    column.name, column.title, url, sort, column.kind == "number"
                )
            )
        return heads

    def filters(self, everything: Text) -> list[Link]:
        """Return the links that narrow the table, the one that does not first."""
        links = [
            Link(everything, self.url(show=None, p=None), not self.show, self._all)
        ]
        for each in self._layout.filters:
            url = self.url(show=each.name, p=None)
            count = self._counts[each.name]
            links.append(Link(each.title, url, self.show == each.name, count))
        return links

    def around(self) -> list[Link | None]:
        """Return links to the first pages, the last, and those near; None: a gap."""
        near = range(max(self.page - 2, 1), min(self.page + 2, self.pages) + 1)
        numbers = sorted({1, *near, self.pages})
        links: list[Link | None] = []
        for place, number in enumerate(numbers):
            if place and number - numbers[place - 1] > 1:
                links.append(None)
            links.append(Link(str(number), self.url(p=number), number == self.page))
        return links

    def sizes(self) -> list[Link]:
        """Return links to pages of other sizes."""
        return [
            Link(str(size), self.url(n=size, p=None), size == self.size)
            for size in SIZES
        ]

    @property
    def previous_url(self) -> str:
        """The page before; "" on the first."""
        return self.url(p=self.page - 1) if self.page > 1 else ""

    @property
    def next_url(self) -> str:
        """The page after; "" on the last."""
        return self.url(p=self.page + 1) if self.page < self.pages else ""

    @property
    def clear_url(self) -> str:
        """The same table with neither search nor filter."""
        return self.url(q=None, show=None, p=None)

    def hidden(self) -> list[tuple[str, str]]:
        """Return what a search form has to hand on."""
        return [(k, v) for k in ("show", "o", "n") if (v := self._given.get(k))]

    def url(self, **changes: Any) -> str:
        """Return the query string that differs from the present one by `changes`."""
        query = QueryDict(mutable=True)
        for key in ("q", "show", "o", "p", "n"):
            value = changes.get(key, self._given.get(key))
            if key in changes and value is None:
                continue
            if value:
                query[key] = str(value)
        return f"?{query.urlencode()}"

    def _choice(self, key: str, choices: Sequence[str], default: str = "") -> str:
        chosen = self._given.get(key, "")
        return chosen if chosen in choices else default

    def _number(self, key: str) -> int:
        given = self._given.get(key, "")
        # Not isdigit: "²" is one, and no number.
        return max(int(given), 1) if given.isdecimal() and len(given) < 9 else 1

    def _searched(self, rows: Sequence[T]) -> list[T]:
        sought = self.query.casefold()
        if not sought:
            return list(rows)
        texts = self._layout.texts
        return [
            row for row in rows if any(sought in text.casefold() for text in texts(row))
        ]

    def _filtered(self, rows: list[T]) -> list[T]:
        for each in self._layout.filters:
            if each.name == self.show:
                return [row for row in rows if each.keeps(row)]
        return rows

    def _sorted(self, rows: list[T]) -> list[T]:
        rows = sorted(rows, key=self._layout.tie)
        for column in self._layout.columns:
            if column.key is not None and column.name == self.order.lstrip("-"):
                rows.sort(key=column.key, reverse=self.order.startswith("-"))
        return rows
