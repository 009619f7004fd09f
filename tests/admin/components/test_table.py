"""Tables that their URL alone describes."""

from __future__ import annotations

from django.http import QueryDict

from sessionstores.admin.components.table import Column, Filter, Layout, Table

Row = tuple[str, int]

LAYOUT: Layout[Row] = Layout(
    columns=(
        Column("name", "Name", lambda row: row[0]),
        Column("size", "Size", lambda row: row[1], "number"),
        Column("note", "Note"),
    ),
    filters=(
        Filter("big", "Big", lambda row: row[1] > 5),
        Filter("small", "Small", lambda row: row[1] <= 5),
    ),
    texts=lambda row: (row[0],),
    tie=lambda row: row[0],
    order="name",
)
ROWS: list[Row] = [(f"row {n:03}", n % 10) for n in range(120)]


def listing(query: str = "") -> Table[Row]:
    return Table(ROWS, LAYOUT, QueryDict(query))


def test_pages_are_cut_out_of_the_sorted_rows() -> None:
    first = listing()
    assert [row[0] for row in first.rows] == [f"row {n:03}" for n in range(25)]
    assert (first.first, first.last, first.found, first.pages) == (1, 25, 120, 5)
    assert first.previous_url == ""
    last = listing("p=9")
    assert (last.page, last.first, last.last) == (5, 101, 120)
    assert last.next_url == ""
    assert last.previous_url == "?p=4#ss-list"
    unknown = ("²", "1e3", "9" * 5_000, "0", "-0", "-1", "-9", "")
    assert {each: listing(f"p={each}").page for each in unknown} == dict.fromkeys(
        unknown, 1
    )


def test_equal_rows_keep_their_order_in_both_directions() -> None:
    rising = listing("o=size&n=200").rows
    falling = listing("o=-size&n=200").rows
    assert [row for row in rising if row[1] == 3] == [
        row for row in falling if row[1] == 3
    ]
    assert [row[1] for row in falling] == sorted((row[1] for row in ROWS), reverse=True)


def test_a_head_sorts_its_column_first_the_usual_way_then_the_other() -> None:
    name, size, note = listing().heads()
    assert (name.sort, name.url) == ("ascending", "?o=-name#ss-list")
    assert (size.sort, size.url, size.numeric) == ("none", "?o=-size#ss-list", True)
    assert (note.sort, note.url) == ("none", "")
    assert listing("o=-size").heads()[1].sort == "descending"
    assert listing("o=-size").heads()[1].url == "?o=size#ss-list"


def test_links_keep_everything_but_what_they_change_and_begin_at_page_one() -> None:
    found = listing("q=row&show=big&o=size&p=2&n=25")
    links = found.filters("All")
    assert [(link.title, link.number, link.current) for link in links] == [
        ("All", 120, False),
        ("Big", 48, True),
        ("Small", 72, False),
    ]
    assert links[2].url == "?q=row&show=small&o=size&n=25#ss-list"
    assert found.next_url == ""
    assert found.previous_url == "?q=row&show=big&o=size&p=1&n=25#ss-list"
    assert found.clear_url == "?o=size&n=25#ss-list"
    assert found.hidden() == [("show", "big"), ("o", "size"), ("n", "25")]
    assert [link.url for link in found.sizes() if link.current] == [
        "?q=row&show=big&o=size&n=25#ss-list"
    ]


def test_a_search_ignores_case_and_what_links_carry_is_quoted() -> None:
    assert listing("q=ROW 01").found == 10
    assert listing("q=%26p%3D2%3Cb%3E").url(p=3) == "?q=%26p%3D2%3Cb%3E&p=3#ss-list"


def test_long_rows_of_pages_have_gaps() -> None:
    many: list[Row] = [(str(n), n) for n in range(1_000)]
    links = Table(many, LAYOUT, QueryDict("p=20")).page_links()
    assert [link and link.title for link in links] == [
        "1", None, "18", "19", "20", "21", "22", None, "40",
    ]  # fmt: skip
    assert [link.title for link in links if link and link.current] == ["20"]


def test_nothing_found_is_one_empty_page() -> None:
    empty = listing("q=nowhere")
    assert (empty.rows, empty.first, empty.last, empty.pages) == ([], 0, 0, 1)
