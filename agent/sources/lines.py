"""Lines of a file, a pipe or standard input, as they are written; of bounded length.

Reading never blocks for good: a feed that is closed while it waits ends within ``WAKE_S``.
"""

import os
import select
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.errors import SourceError
from agent.sources.pace import Pace

STANDARD_INPUT = "-"
CHUNK_BYTES = 65536
WAKE_S = 0.1


@dataclass(frozen=True, slots=True)
class Line:
    """``number`` counts from 1 in its file; ``text`` is None when it was too long to keep."""

    number: int
    text: bytes | None


class LineReader:
    """Reads ``path`` (``-``: standard input) line by line.

    With ``follow`` the end of the file is not the end: what is appended is read when it comes, and
    a file that was replaced or cut short is read again from its start (its lines count from 1).
    """

    def __init__(
        self, path: str, *, pace: Pace, follow: bool, poll_interval_s: float, max_bytes: int
    ) -> None:
        self._path = path
        self._pace = pace
        self._follow = follow
        self._poll_interval_s = poll_interval_s
        self._max_bytes = max_bytes
        self._file = self._open()
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)

    def __iter__(self) -> Iterator[Line]:
        number, pending, overlong = 0, b"", False
        while (chunk := self._next_chunk()) is not None:
            if not chunk:
                number, pending, overlong = 0, b"", False
                continue
            *complete, pending = (pending + chunk).split(b"\n")
            for text in complete:
                number += 1
                yield Line(number, None if overlong or len(text) > self._max_bytes else text)
                overlong = False
            if len(pending) > self._max_bytes:
                overlong, pending = True, b""
        if (pending or overlong) and not self._pace.closed:
            yield Line(number + 1, None if overlong else pending)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _next_chunk(self) -> bytes | None:
        """What was written next; empty: the file begins anew; None: it is at its end."""
        while not self._pace.closed:
            if not self._regular and not select.select([self._file], [], [], WAKE_S)[0]:
                continue
            try:
                chunk = os.read(self._file, CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise SourceError(f"{self._path}: cannot be read: {error.strerror}") from error
            if chunk:
                return chunk
            if not self._follow or self._path == STANDARD_INPUT:
                return None
            if self._replaced():
                return b""
            self._pace.rest(self._poll_interval_s)
        return None

    def _replaced(self) -> bool:
        """Whether the file at our path is no longer the one we read; then it is opened anew."""
        if not self._regular:
            return False
        try:
            there = Path(self._path).stat()
        except OSError:
            return False  # Between a rotation's two steps.
        cut_short = there.st_size < os.lseek(self._file, 0, os.SEEK_CUR)
        if os.path.samestat(there, os.fstat(self._file)) and not cut_short:
            return False
        fresh = self._open()
        os.close(self._file)
        self._file = fresh
        return True

    def _open(self) -> int:
        try:
            if self._path == STANDARD_INPUT:
                return os.dup(0)
            # Without O_NONBLOCK a named pipe would hold us here until somebody writes.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be opened: {error.strerror}") from error
        if stat.S_ISDIR(os.fstat(file).st_mode):
            os.close(file)
            raise SourceError(f"{self._path}: is a folder, not a file")
        return file
