"""Labels from a CSV: every problem of the file at once, each with its line. Pure."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.errors import LabelError
from agent.telemetry import wire
from agent.telemetry.messages import Label, Labels

TRUTH = "label"
FRAMES = ("frame", "name", "file")
"""The column that says which frame: its id, or (``name`` and ``file``) what its source calls it."""
TEXT_CHARS = 1024
BATCH = 200
"""Most labels in one message."""

# Narrower than ``float``: "nan", "Infinity" and "1_0" are lines a labels file may hold.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    header: tuple[str, ...]
    frame: int
    truth: int


def read_labels(text: str, *, where: str) -> tuple[Label, ...]:
    """The labels in a CSV with a header: ``label``, and one of ``frame``, ``name`` and ``file``.

    Raises LabelError with every problem, each ``<where> line <n>: …``. A frame that is labelled
    twice alike counts once.
    """
    rows = _rows(text, where)
    if not rows:
        raise LabelError(f"{where}: empty; expected a header such as name,label")
    columns = _columns(rows[0][1], where)
    if len(rows) == 1:
        raise LabelError(f"{where}: holds no labels")
    found: dict[str, tuple[int, Label]] = {}
    problems: list[str] = []
    for line, cells in rows[1:]:
        place = f"{where} line {line}"
        try:
            label = _label(cells, columns, place)
        except LabelError as error:
            problems += error.problems
            continue
        frame = label.frame or label.name or ""
        earlier, same = found.setdefault(frame, (line, label))
        if same != label:
            problems.append(f"{place}: {frame!r} has another label in line {earlier}")
    if problems:
        raise LabelError(*problems)
    return tuple(label for _, label in found.values())


def parse_label(text: str, *, where: str) -> int | float | str:
    """An integer is an output index, another number a value, anything else a line of the labels file.

    A number is ASCII digits with at most a minus, a fraction and an exponent.
    """
    text = text.strip()
    if not text or len(text) > TEXT_CHARS:
        raise LabelError(f"{where}: expected a label of 1 to {TEXT_CHARS} characters, got {len(text)}")
    if not text.isprintable():
        raise LabelError(f"{where}: the label holds control characters")
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise LabelError(f"{where}: expected a finite number, got {text}")
    if _INTEGER.fullmatch(text) and abs(number) < 2**53:
        return int(text)
    return number


def in_batches(labels: Sequence[Label]) -> Iterator[tuple[Label, ...]]:
    """The labels in their order, as many at a time as one message may hold, in number and in bytes."""
    batch: list[Label] = []
    held = 0
    for label in labels:
        # A body of one label is a little larger than what the label adds to a body of many.
        size = len(wire.body_json(Labels(labels=(label,))).encode())
        if batch and (len(batch) == BATCH or held + size > wire.BODY_BYTES):
            yield tuple(batch)
            batch, held = [], 0
        batch.append(label)
        held += size
    if batch:
        yield tuple(batch)


def _rows(text: str, where: str) -> list[tuple[int, list[str]]]:
    """The lines that hold anything, with their numbers."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise LabelError(f"{where} line {reader.line_num}: not CSV ({error})") from None


def _columns(cells: Sequence[str], where: str) -> _Columns:
    header = tuple(cell.strip() for cell in cells)
    problems = []
    if header.count(TRUTH) != 1:
        problems.append(f"{where}: expected one column {TRUTH!r}")
    frames = [place for place, name in enumerate(header) if name in FRAMES]
    if len(frames) != 1:
        problems.append(f"{where}: expected one column of {', '.join(FRAMES)}")
    if problems:
        told = ", ".join(header)
        raise LabelError(*(f"{problem}; its columns are {told[:200]}" for problem in problems))
    return _Columns(header=header, frame=frames[0], truth=header.index(TRUTH))


def _label(cells: Sequence[str], columns: _Columns, place: str) -> Label:
    if len(cells) != len(columns.header):
        raise LabelError(f"{place}: expected {len(columns.header)} cells, got {len(cells)}")
    kind, frame = columns.header[columns.frame], cells[columns.frame].strip()
    problems = []
    if not frame or len(frame) > TEXT_CHARS or not frame.isprintable():
        problems.append(f"{place}: expected a {kind} of 1 to {TEXT_CHARS} printable characters")
    try:
        truth = parse_label(cells[columns.truth], where=place)
    except LabelError as error:
        raise LabelError(*problems, *error.problems) from None
    if problems:
        raise LabelError(*problems)
    return Label(label=truth, frame=frame) if kind == "frame" else Label(label=truth, name=frame)
