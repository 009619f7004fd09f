"""Items of an outbox: what waits to be written to a tab, besides texts."""

from __future__ import annotations

from . import protocol

# Operations that one patch frame carries; past that, a snapshot is shorter.
JOIN_BYTES = 16_384


class WaitingPatch:
    """A patch of a document, and those that have joined it."""

    __slots__ = ("base", "doc", "parts", "rev", "size", "text")

    def __init__(self, doc: str, base: str, rev: str, ops: bytes, text: str) -> None:
        self.doc = doc
        # Its frame, as long as no other has joined it; "" if that is not made yet.
        self.text = text
        self.base = base
        self.rev = rev
        self.parts = [ops]
        self.size = len(ops)

    def join(self, base: str, rev: str, ops: bytes) -> bool:
        """Take in a commit; False if it does not fit, or they are too long now."""
        if base == self.rev:
            self.parts.append(ops)
            self.rev = rev
        elif rev == self.base:
            # Two threads may publish their commits in reverse order.
            self.parts.insert(0, ops)
            self.base = base
        else:
            return False
        self.size += len(ops)
        return self.size <= JOIN_BYTES

    def frame(self) -> str:
        """Return the frame of all that has joined."""
        if len(self.parts) == 1:
            return self.text or protocol.patch(
                self.doc, self.base, self.rev, self.parts[0]
            )
        inner = (part[1:-1] for part in self.parts)
        ops = b"[" + b",".join(part for part in inner if part) + b"]"
        return protocol.patch(self.doc, self.base, self.rev, ops)


class WaitingSnapshot:
    """A snapshot of a document, which is read when its turn comes."""

    __slots__ = ("doc",)

    def __init__(self, doc: str) -> None:
        self.doc = doc


class WaitingPing:
    """The newest ping."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class WaitingPresence:
    """A presence frame, which is made when its turn comes."""

    __slots__ = ()


WaitingItem = str | WaitingPing | WaitingPresence | WaitingPatch | WaitingSnapshot
