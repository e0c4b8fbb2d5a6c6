"""Sensor readings, one a line: CSV with a header, or JSON lines; from a file, a pipe or standard input.

A record is one line: a quoted line break inside a CSV cell is not read.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.sources.lines import STANDARD_INPUT, Line, LineReader
from agent.sources.pace import Pace, problems
from agent.sources.rows import CsvFormat, HeaderError, JsonFormat, Row, RowError, csv_format

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """Vectors from lines; a frame's name is its row's id, or ``<file>:<line>``."""

    path: str
    """The file or named pipe; ``-`` is standard input."""
    format: Literal["auto", "csv", "jsonl"] = "auto"
    """``auto``: JSON lines when the first line begins with a brace, otherwise CSV."""
    columns: tuple[str, ...] = ()
    """The vector's elements by column or key; none: every CSV column but the id, or the JSON key
    ``values`` (a list)."""
    id_column: str = "id"
    """The column or key that names a row, where there is one."""
    follow: bool = False
    """Wait at the end for lines to be appended; a replaced file is read from its start."""
    poll_interval_s: float = 0.5
    """Seconds between two looks at the end of a followed file."""
    fps: float | None = None
    """Rows a second, like a sensor that waits for nobody; none: as fast as the model takes them."""
    max_line_bytes: int = 65536
    """A longer line is skipped."""

    @property
    def live(self) -> bool:
        return self.fps is not None

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        found = problems(
            fps=self.fps, poll_interval_s=self.poll_interval_s, max_line_bytes=self.max_line_bytes
        )
        if len(set(self.columns)) < len(self.columns):
            found.append("columns: one is named twice")
        return found

    def open(self) -> "VectorsFeed":
        """Raises SourceError for a file that is missing or cannot be read."""
        return VectorsFeed(self)


class VectorsFeed:
    """The opened file."""

    resumes = False

    def __init__(self, source: Vectors) -> None:
        self._source = source
        self._name = "stdin" if source.path == STANDARD_INPUT else Path(source.path).name
        self._pace = Pace(source.fps)
        self._lines = LineReader(
            source.path,
            pace=self._pace,
            follow=source.follow,
            poll_interval_s=source.poll_interval_s,
            max_bytes=source.max_line_bytes,
        )
        self._reading = False
        self._lock = Lock()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        with self._lock:
            if self._pace.closed:
                return
            self._reading = True
        try:
            yield from self._rows()
        finally:
            self._lines.release()

    def close(self) -> None:
        self._pace.close()
        with self._lock:
            # A file must not be closed under the thread that reads from it.
            if not self._reading:
                self._lines.release()

    def _rows(self) -> Iterator[Frame | Skipped]:
        layout: CsvFormat | JsonFormat | None = None
        for line in self._lines:
            if line.number == 1:
                layout = self._json() if self._source.format == "jsonl" else None
            name = f"{self._name}:{line.number}"
            item: Row | Skipped
            try:
                text = _text(line)
                if not text.strip():
                    continue
                if layout is None:
                    layout = self._layout(text)
                    if isinstance(layout, CsvFormat):
                        continue
                item = layout.row(text)
            except RowError as error:
                if layout is None:
                    raise SourceError(f"{self._source.path}: line {line.number}: {error}") from error
                item = Skipped(name=name, reason=f"line {line.number}: {error}")
            if not self._pace.turn():
                return
            yield _frame(item, name) if isinstance(item, Row) else item

    def _layout(self, first: str) -> CsvFormat | JsonFormat:
        if self._source.format == "auto" and first.lstrip().startswith("{"):
            return self._json()
        try:
            return csv_format(first, columns=self._source.columns, id_column=self._source.id_column)
        except HeaderError as error:
            raise SourceError(f"{self._source.path}: {error}") from error

    def _json(self) -> JsonFormat:
        return JsonFormat(columns=self._source.columns, id_column=self._source.id_column)


def _frame(row: Row, name: str) -> Frame:
    return Frame(payload=row.values, captured_ns=time.monotonic_ns(), name=row.id or name)


def _text(line: Line) -> str:
    if line.text is None:
        raise RowError("longer than max_line_bytes")
    encoded = line.text.removeprefix(BYTE_ORDER_MARK) if line.number == 1 else line.text
    try:
        return encoded.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError:
        raise RowError("no UTF-8") from None
