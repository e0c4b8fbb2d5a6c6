"""JPEG files out of a stream of bytes in which they stand one behind the other. Pure.

A file is followed segment by segment (ITU T.81, annex B), for a thumbnail inside one has start and end
markers of its own. What is damaged is passed over up to the next start of a file, and counted.
"""

import re
from dataclasses import dataclass

START = b"\xff\xd8\xff"
NO_JPEG = "bytes that are no JPEG file"
_START_OF_SCAN, _END = 0xDA, 0xD9
_APPLICATIONS = range(0xE0, 0xF0)
_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}
# Among a scan's data 0xFF is followed by zero or a restart marker; anything else ends the scan.
_SCAN_ENDS = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A whole file, and when its first byte was given to ``feed``."""

    data: bytes
    began_ns: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes between two files that are no whole file, and why not."""

    reason: str


class JpegStream:
    """Give it the bytes as they come; files larger than ``max_bytes`` are passed over."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()
        self._at = 0
        """Up to here the pending file has been followed."""
        self._in_scan = False
        self._applications = 0
        """Up to here stand application segments: a thumbnail in one begins like a file."""
        self._began_ns = 0
        self._lost = False
        """What came last was damage: bytes that go on being no file are no news."""

    def feed(self, data: bytes, at_ns: int) -> list[Jpeg | Damage]:
        """What ``data``, read at ``at_ns``, completes."""
        if not self._pending:
            self._began_ns = at_ns
        self._pending += data
        found: list[Jpeg | Damage] = []
        while (item := self._next(at_ns)) is not None:
            if item != Damage(NO_JPEG) or not self._lost:
                found.append(item)
            self._lost = isinstance(item, Damage)
        return found

    def _next(self, at_ns: int) -> Jpeg | Damage | None:
        if not self._at and not START.startswith(bytes(self._pending[: len(START)])):
            return self._skip(NO_JPEG, at_ns)
        if len(self._pending) < len(START):
            return None
        self._at = self._at or 2
        while True:
            step = self._scan() if self._in_scan else self._segment()
            if step == "more":
                break
            if step == "end":
                return self._complete(at_ns)
            if step == "damaged":
                return self._skip("a damaged JPEG file", at_ns)
        if len(self._pending) > self._max_bytes:
            return self._skip(f"a JPEG file larger than {self._max_bytes:,} bytes", at_ns)
        return None

    def _scan(self) -> str:
        ends = _SCAN_ENDS.search(self._pending, self._at)
        if ends is None:
            # The marker may be cut in two by the end of what is here.
            self._at = max(self._at, len(self._pending) - 1)
            return "more"
        self._at, self._in_scan = ends.start(), False
        return "next"

    def _segment(self) -> str:
        """Pass over one segment. A marker that begins a new file, or is none, is damage."""
        here = self._pending[self._at : self._at + 4]
        if len(here) < 2:
            return "more"
        marker = here[1]
        if here[0] != 0xFF or marker in (0x00, START[1]):
            return "damaged"
        if marker == 0xFF:
            self._at += 1
        elif marker == _END:
            self._at += 2
            return "end"
        elif marker in _BARE:
            self._at += 2
        elif len(here) < 4:
            return "more"
        else:
            length = here[2] << 8 | here[3]
            if length < 2:
                return "damaged"
            if len(self._pending) < self._at + 2 + length:
                return "more"
            self._at += 2 + length
            if marker in _APPLICATIONS:
                self._applications = self._at
            self._in_scan = marker == _START_OF_SCAN
        return "next"

    def _complete(self, at_ns: int) -> Jpeg | Damage:
        data = bytes(self._pending[: self._at])
        began_ns = self._began_ns
        self._drop(self._at, at_ns)
        if len(data) > self._max_bytes:
            return Damage(f"a JPEG file larger than {self._max_bytes:,} bytes")
        return Jpeg(data, began_ns)

    def _skip(self, reason: str, at_ns: int) -> Damage:
        """Pass over what is pending up to the next start, or to what may be the start of one."""
        start = self._pending.find(START, max(self._applications, 1))
        if start < 0:
            start = len(self._pending)
            start -= next((kept for kept in (2, 1) if self._pending.endswith(START[:kept])), 0)
        self._drop(start, at_ns)
        return Damage(reason)

    def _drop(self, count: int, at_ns: int) -> None:
        """What is left came with the newest bytes: only those can hold more than one file."""
        del self._pending[:count]
        self._at, self._applications, self._in_scan, self._began_ns = 0, 0, False, at_ns
