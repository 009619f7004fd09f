"""Tables that are searched, filtered, sorted and paged by their URL alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from django.core.paginator import Paginator
from django.http import QueryDict
from django.utils.functional import Promise

T = TypeVar("T")
Text = str | Promise

SIZES = (25, 50, 100, 200)
# A search is part of every link of the page.
MAX_QUERY = 100
# The id of the list that a table is in: its links lead there, not to the page's top.
ANCHOR = "#ss-list"


class Column(NamedTuple, Generic[T]):
    """A column: its name in the URL, its title, and the key that it sorts by.

    The first click sorts texts ascending, numbers and times descending; numbers are
    aligned right. A column without a `key` is not sortable.
    """

    name: str
    title: Text
    key: Callable[[T], Any] | None = None
    kind: Literal["text", "number", "time"] = "text"


class Filter(NamedTuple, Generic[T]):
    """A filter: its name in the URL, its title, and a test for the rows to keep."""

    name: str
    title: Text
    keeps: Callable[[T], bool]


class Layout(NamedTuple, Generic[T]):
    """The columns, filters and defaults of a kind of table.

    `texts` returns what a search looks through. `order` is the name of the column to
    sort by, after a `-` descending; `tie` is the sort key of rows that are equal there.
    """

    columns: Sequence[Column[T]]
    filters: Sequence[Filter[T]]
    texts: Callable[[T], Sequence[str]]
    tie: Callable[[T], Any]
    order: str
    size: int = SIZES[0]


class Link(NamedTuple):
    """A link to the table with other parameters; `current` if they are those now."""

    title: Text
    url: str
    current: bool = False
    number: int | None = None


class ColumnHead(NamedTuple):
    """The head of a column; `sort` is its `aria-sort`, `url` "" if not sortable."""

    name: str
    title: Text
    url: str
    sort: str
    numeric: bool


class Table(Generic[T]):
    """One page of `rows`, as the parameters q, show, o, p and n ask for.

    Unknown values count as absent, so that an old bookmark still opens.
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
        paginator = Paginator(self._sorted(found), self.size)
        self._page = paginator.get_page(_page_number(given.get("p", "")))
        self.rows = list(self._page)
        self.found = paginator.count
        self.pages = paginator.num_pages
        self.page = self._page.number
        self.first = self._page.start_index()
        self.last = self._page.end_index()

    def heads(self) -> list[ColumnHead]:
        """Return the heads of the columns, with the links that sort by them."""
        heads = []
        for column in self._layout.columns:
            up, down = column.name, f"-{column.name}"
            sort, url = "none", ""
            if column.key is not None:
                first, second = (up, down) if column.kind == "text" else (down, up)
                url = self.url(o=second if self.order == first else first, p=None)
                sort = {up: "ascending", down: "descending"}.get(self.order, "none")
            heads.append(
                ColumnHead(
                    column.name, column.title, url, sort, column.kind == "number"
                )
            )
        return heads

    def filters(self, everything: Text) -> list[Link]:
        """Return the links to each filter, after one that shows `everything`."""
        links = [
            Link(everything, self.url(show=None, p=None), not self.show, self._all)
        ]
        for each in self._layout.filters:
            url = self.url(show=each.name, p=None)
            count = self._counts[each.name]
            links.append(Link(each.title, url, self.show == each.name, count))
        return links

    def page_links(self) -> list[Link | None]:
        """Return links to the first page, the last, and those near; None for a gap."""
        pages = self._page.paginator
        return [
            Link(str(number), self.url(p=number), number == self.page)
            if isinstance(number, int)
            else None
            for number in pages.get_elided_page_range(
                self.page, on_each_side=2, on_ends=1
            )
        ]

    def sizes(self) -> list[Link]:
        """Return links to pages of other sizes."""
        return [
            Link(str(size), self.url(n=size, p=None), size == self.size)
            for size in SIZES
        ]

    @property
    def sorted_by(self) -> str:
        """The name of the column that the rows are sorted by."""
        return self.order.lstrip("-")

    @property
    def filter_title(self) -> Text:
        """The title of the filter in use; "" if there is none."""
        titles = {each.name: each.title for each in self._layout.filters}
        return titles.get(self.show, "")

    @property
    def previous_url(self) -> str:
        """The URL of the previous page; "" on the first."""
        return self.url(p=self.page - 1) if self._page.has_previous() else ""

    @property
    def next_url(self) -> str:
        """The URL of the next page; "" on the last."""
        return self.url(p=self.page + 1) if self._page.has_next() else ""

    @property
    def clear_url(self) -> str:
        """The URL of the same table without search and filter."""
        return self.url(q=None, show=None, p=None)

    def hidden(self) -> list[tuple[str, str]]:
        """Return the parameters that a search form keeps, by name and value."""
        return [(k, v) for k in ("show", "o", "n") if (v := self._given.get(k))]

    def url(self, **changes: Any) -> str:
        """Return the URL of the table with `changes`; None removes a parameter."""
        query = QueryDict(mutable=True)
        for key in ("q", "show", "o", "p", "n"):
            value = changes.get(key, self._given.get(key))
            if key in changes and value is None:
                continue
            if value:
                query[key] = str(value)
        return f"?{query.urlencode()}{ANCHOR}"

    def _choice(self, key: str, choices: Sequence[str], default: str = "") -> str:
        chosen = self._given.get(key, "")
        return chosen if chosen in choices else default

    def _searched(self, rows: Sequence[T]) -> list[T]:
        query = self.query.casefold()
        if not query:
            return list(rows)
        texts = self._layout.texts
        return [
            row for row in rows if any(query in text.casefold() for text in texts(row))
        ]

    def _filtered(self, rows: list[T]) -> list[T]:
        for each in self._layout.filters:
            if each.name == self.show:
                return [row for row in rows if each.keeps(row)]
        return rows

    def _sorted(self, rows: list[T]) -> list[T]:
        rows = sorted(rows, key=self._layout.tie)
        for column in self._layout.columns:
            if column.key is not None and column.name == self.sorted_by:
                rows.sort(key=column.key, reverse=self.order.startswith("-"))
        return rows


def _page_number(text: str) -> int:
    """Return the number in `text`; 1 if it is not one, or is below 1."""
    try:
        # `Paginator.get_page` shows the last page for numbers below 1.
        return max(int(text), 1)
    except ValueError:
        return 1
