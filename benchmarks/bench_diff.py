"""The patch of one moved card, beside the library that makes JSON patches."""

from __future__ import annotations

import jsonpatch
import msgspec

from benchmarks._rows import Row, interleaved, show
from benchmarks.states import BOARD_1K, BOARD_10K
from sessionstores.state.apply_patch import Json, apply
from sessionstores.state.patch import diff

ROUNDS = 15
# As many calls as take about as long as one of the library's at 10 KB.
OURS, LIBRARY = 200, 5


def rows(name: str, state: Json, microseconds: int, percent: int) -> list[Row]:
    """Move a card from the middle of the deck into a pile, and time the patch."""
    encoded = msgspec.json.encode(state)
    # Both decoded, as in a commit, so that no two values are the same object.
    old, new = msgspec.json.decode(encoded), msgspec.json.decode(encoded)
    new["piles"]["maybe"].insert(2, new["deck"].pop(len(new["deck"]) // 2))
    operations = diff(old, new, "/board")
    assert apply({"board": old}, operations) == {"board": new}

    def ours() -> None:
        for _ in range(OURS):
            diff(old, new, "/board")

    def library() -> None:
        for _ in range(LIBRARY):
            jsonpatch.make_patch(old, new)

    medians = interleaved(ROUNDS, ours=ours, library=library)
    figure, peer = medians["ours"] / OURS * 1e6, medians["library"] / LIBRARY * 1e6
    size = len(msgspec.json.encode(operations))
    share = size / len(encoded) * 100
    peer_size = len(msgspec.json.encode(jsonpatch.make_patch(old, new).patch))
    return [
        Row(
            f"diff of a moved card, {name}",
            f"jsonpatch {peer:.0f} µs",
            f"{figure:.1f} µs",
            f"{peer / figure:.0f} times faster",
            f"≤ {microseconds} µs, ≥ 30",
            figure <= microseconds and peer / figure >= 30,
        ),
        Row(
            f"its patch, {name}",
            f"state {len(encoded)} B, jsonpatch {peer_size} B",
            f"{size} B",
            f"{share:.1f} % of the state",
            f"≤ {percent} %",
            share <= percent,
        ),
    ]


def main() -> None:
    """Print what the patch of a moved card costs."""
    show(*rows("1 KB", BOARD_1K, 10, 15), *rows("10 KB", BOARD_10K, 40, 3))


if __name__ == "__main__":
    main()
