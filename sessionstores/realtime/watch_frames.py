"""Watch frames: what a tab sends to be shown other participants' states."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ..state.json_rules import REFUSED_NAMES

# Tabs make keys of ids.
UNUSABLE = "|".join(sorted(REFUSED_NAMES))
# A participant's id, or "*": everybody, whoever comes later too.
Watched = Annotated[
    str, Meta(pattern=rf"\A(?:\*|(?!(?:{UNUSABLE})\Z)[A-Za-z0-9_-]{{1,64}})\Z")
]


class WatchFrame(Struct, frozen=True, tag_field="type", tag="watch"):
    """Show a participant's states, as far as this tab's role may watch them."""

    participant: Watched


class UnwatchFrame(Struct, frozen=True, tag_field="type", tag="unwatch"):
    """Show them no more."""

    participant: Watched
