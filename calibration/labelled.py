"""Held-out inputs and their labels, as people keep them.

Images: a CSV with the columns ``file`` and ``label`` (paths relative to the CSV; a ``label`` column
may be absent, a cell empty), a folder with one folder per label, or a flat folder (no labels). What
they are called says nothing of where they lie (``input_names``).
Vectors: a CSV with a header; every column but ``label`` and ``id`` is a value, and an empty cell or
``nan`` a missing one, as the source ``vectors`` reads them on the device.

A label is an output index or a line of the labels file; a number for regression. Other columns of
an image CSV are ignored. Images are listed here and read when asked for, so a large set costs no
memory.
"""

import csv
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from agent import bundle
from agent.contracts import Payload, Vector
from agent.errors import FrameError, LabelError
from agent.preprocess.image_header import SUFFIXES
from calibration import input_names

_TIFF_SUFFIXES = (".tif", ".tiff")
"""Images to people, but nothing that is decoded: said before the long run, not skipped one by one."""
MAX_IMAGE_BYTES = 32 * 2**20
_NO_TIFF = "TIFF is not read: convert it"
_SHOWN = 20
"""Problems of one kind that are listed before the rest is only counted."""

Label: TypeAlias = int | float
ReadLabel: TypeAlias = Callable[[str], Label]
"""A label's text to its value; raises ValueError saying what is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One held-out input: an image file, or a vector's values."""

    name: str
    label: Label | None
    path: Path | None = None
    values: Vector | None = None

    def payload(self) -> Payload:
        """The encoded image or the vector. Raises FrameError when the file cannot be read."""
        if self.path is None:
            assert self.values is not None
            return self.values
        try:
            with self.path.open("rb") as file:
                encoded = file.read(MAX_IMAGE_BYTES + 1)
        except OSError as error:
            raise FrameError(f"{self.name}: cannot be read: {error.strerror}") from None
        if len(encoded) > MAX_IMAGE_BYTES:
            raise FrameError(f"{self.name}: larger than {MAX_IMAGE_BYTES:,} bytes")
        return encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Held-out inputs in the order they were found. ``columns`` names a vector's values."""

    where: str
    inputs: tuple[Input, ...]
    columns: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Input]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)


def read_label_file(path: Path) -> tuple[str, ...]:
    """The lines of a labels file, one per output. Raises LabelError, or BundleError when it is no text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from None
    return bundle.read_labels(content, where=str(path))


def class_label(labels: Sequence[str], outputs: int) -> ReadLabel:
    """How a label of a classifier with ``outputs`` outputs and these label lines is read."""
    lines: dict[str, list[int]] = {}
    for index, line in enumerate(labels):
        lines.setdefault(line.strip(), []).append(index)

    def read(text: str) -> int:
        named = lines.get(text, [])
        index = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
        if index is None and not named:
            raise ValueError(f"{text!r} is neither an output index nor a line of the labels file")
        if len(named) > 1:
            raise ValueError(
                f"{text!r} stands on {len(named)} lines of the labels file: use the output index"
            )
        if index is not None and named and named != [index]:
            raise ValueError(
                f"{text!r} is output {index} by index and output {named[0]} by the labels file: ambiguous"
            )
        found = named[0] if index is None else index
        if found >= outputs:
            raise ValueError(f"{text!r} is beyond the model's {outputs} outputs (0 to {outputs - 1})")
        return found

    return read


def number_label(text: str) -> float:
    """A regression's label."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def find_images(where: Path, read_label: ReadLabel | None) -> Inputs:
    """The images ``where`` names. ``read_label`` None: labels are not used (detection).

    Raises LabelError with every problem.
    """
    if where.is_dir():
        return _folder(where, read_label)
    problems: list[str] = []
    listed: list[tuple[str, Label | None]] = []
    first_line: dict[str, int] = {}
    for line, row in _rows(where, required="file"):
        file = row["file"].strip()
        if (place := os.path.normpath(where.parent / file)) in first_line:
            if read_label is not None:
                problems.append(f"{where}: line {line}: {file} is already on line {first_line[place]}")
            continue
        first_line[place] = line
        problem = _file_problem(where.parent, file)
        if problem:
            problems.append(f"{where}: line {line}: {problem}")
            continue
        listed.append((file, _label(row.get("label"), read_label, f"{where}: line {line}", problems)))
    called = input_names.names([file for file, _ in listed], where.parent.absolute())
    inputs = [Input(name=called[file], label=label, path=where.parent / file) for file, label in listed]
    return _found(where, inputs, problems)


def _file_problem(folder: Path, file: str) -> str:
    """What is wrong with a CSV's ``file``, or ""."""
    path = folder / file
    if not file or not path.is_file():
        return f"no file {file or '(empty)'}"
    return f"{file}: {_NO_TIFF}" if path.suffix.lower() in _TIFF_SUFFIXES else ""


def find_vectors(where: Path, read_label: ReadLabel | None) -> Inputs:
    """The vectors in the CSV ``where``. Raises LabelError with every problem."""
    problems: list[str] = []
    inputs: list[Input] = []
    columns: tuple[str, ...] = ()
    for line, row in _rows(where, required=None):
        columns = columns or tuple(column for column in row if column not in ("label", "id"))
        try:
            values = np.array([_value(row[column], column) for column in columns], np.float64)
        except ValueError as error:
            problems.append(f"{where}: line {line}: {error}")
            continue
        label = _label(row.get("label"), read_label, f"{where}: line {line}", problems)
        name = row.get("id", "").strip() or f"{where.name}:{line}"
        inputs.append(Input(name=name, label=label, values=values))
    repeated = [name for name, count in Counter(found.name for found in inputs).items() if count > 1]
    problems += [f"{where}: the name {name!r} appears twice" for name in repeated]
    if not columns and not problems:
        problems.append(f"{where}: no rows of values")
    return _found(where, inputs, problems, columns)


def _folder(where: Path, read_label: ReadLabel | None) -> Inputs:
    problems: list[str] = []
    inputs: list[Input] = []
    folders = sorted(path for path in where.iterdir() if path.is_dir() and not path.name.startswith("."))
    flat = _files_in(where, SUFFIXES)
    for folder in (where, *folders):
        problems += [f"{path}: {_NO_TIFF}" for path in _files_in(folder, _TIFF_SUFFIXES)]
    if folders and flat and read_label is not None:
        problems.append(f"{where}: holds both images and folders: one folder per label, or only images")
    for folder in folders:
        label = _label(folder.name, read_label, f"{where}: folder {folder.name}", problems)
        inputs += [
            Input(name=path.relative_to(where).as_posix(), label=label, path=path)
            for path in _files_in(folder, SUFFIXES)
        ]
    inputs += [Input(name=path.name, label=None, path=path) for path in flat]
    return _found(where, inputs, problems)


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def _rows(where: Path, *, required: str | None) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV with a header: line number and cells by column."""
    try:
        with where.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [column.strip() for column in next(reader, [])]
            _check_header(where, header, required)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise LabelError(
                        f"{where}: line {reader.line_num}: {len(cells)} cells, the header has {len(header)}"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except OSError as error:
        raise LabelError(f"{where}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError(f"{where}: not a CSV file: {error}") from None


def _check_header(where: Path, header: list[str], required: str | None) -> None:
    repeated = [column for column, count in Counter(header).items() if count > 1]
    if repeated:
        raise LabelError(f"{where}: line 1: the column {repeated[0]!r} appears twice")
    if required is not None and required not in header:
        raise LabelError(f"{where}: line 1: the header has no column {required!r} (expected: file,label)")


def _value(cell: str, column: str) -> float:
    cell = cell.strip()
    if cell.lower() in ("", "nan"):
        return math.nan
    try:
        return number_label(cell)
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None


def _label(text: str | None, read_label: ReadLabel | None, place: str, problems: list[str]) -> Label | None:
    if read_label is None or text is None or not text.strip():
        return None
    try:
        return read_label(text.strip())
    except ValueError as error:
        problems.append(f"{place}: label {error}")
        return None


def _found(where: Path, inputs: list[Input], problems: list[str], columns: tuple[str, ...] = ()) -> Inputs:
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [f"{where}: and {len(problems) - _SHOWN} more problems"]
    if not inputs and not problems:
        problems.append(f"{where}: no inputs found ({', '.join(SUFFIXES)})")
    if problems:
        raise LabelError(*problems)
    return Inputs(where=str(where), inputs=tuple(inputs), columns=columns)
