"""Reads tables of a FlatBuffer without trusting it: every offset is checked against the buffer.

Enough of the format for a model's header and its metadata; nothing of it is copied or unpacked.
Format: https://flatbuffers.dev/internals
"""

import struct
from dataclasses import dataclass

MAX_VECTOR = 1_000_000
"""Longest vector of tables, numbers or characters that is read element by element."""


class FlatbufferError(ValueError):
    """The bytes are no FlatBuffer, or are damaged."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table at an offset of a buffer; fields are numbered in the order of the schema."""

    data: bytes
    place: int

    @classmethod
    def root(cls, data: bytes) -> "Table":
        return cls(data, _unsigned(data, 0))

    def number(self, field: int, kind: str, default: float = 0) -> float:
        """A scalar; ``kind`` is its struct format character."""
        at = self._field(field)
        return default if at is None else _unpack(self.data, at, kind)

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        return int(self.number(field, kind, default))

    def table(self, field: int) -> "Table | None":
        at = self._field(field)
        return None if at is None else Table(self.data, at + _unsigned(self.data, at))

    def text(self, field: int) -> str:
        return self.blob(field).decode(errors="replace")

    def blob(self, field: int) -> bytes:
        """A vector of bytes, or a string; empty when absent."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def numbers(self, field: int, kind: str) -> tuple[float, ...]:
        start, count = self._vector(field, struct.calcsize("<" + kind))
        if count > MAX_VECTOR:
            raise FlatbufferError("a list is too long")
        return struct.unpack_from(f"<{count}{kind}", self.data, start)

    def integers(self, field: int, kind: str) -> tuple[int, ...]:
        return tuple(int(number) for number in self.numbers(field, kind))

    def tables(self, field: int) -> tuple["Table", ...]:
        start, count = self._vector(field, 4)
        if count > MAX_VECTOR:
            raise FlatbufferError("a list is too long")
        places = range(start, start + 4 * count, 4)
        return tuple(Table(self.data, place + _unsigned(self.data, place)) for place in places)

    def _field(self, field: int) -> int | None:
        """Where a field's value lies, None when it is absent."""
        layout = self.place - int(_unpack(self.data, self.place, "i"))
        entry = 4 + 2 * field
        if entry >= _unpack(self.data, layout, "H"):
            return None
        offset = int(_unpack(self.data, layout + entry, "H"))
        return self.place + offset if offset else None

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        start = at + _unsigned(self.data, at)
        count = _unsigned(self.data, start)
        if start + 4 + count * item_bytes > len(self.data):
            raise FlatbufferError("a list lies outside the file")
        return start + 4, count


def _unsigned(data: bytes, place: int) -> int:
    return int(_unpack(data, place, "I"))


def _unpack(data: bytes, place: int, kind: str) -> float:
    if place < 0 or place + struct.calcsize("<" + kind) > len(data):
        raise FlatbufferError("an offset lies outside the file")
    value: float = struct.unpack_from("<" + kind, data, place)[0]
    return value
