"""One line of CSV or JSON to one named vector. Pure."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contracts import Vector


class RowError(ValueError):
    """A row cannot be used; the others can."""


class HeaderError(ValueError):
    """The chosen columns are not in the file: no row can be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A reading, and the id it came with."""

    values: Vector
    id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFormat:
    """Where the values and the id stand in each record of ``cells`` cells."""

    columns: tuple[str, ...]
    positions: tuple[int, ...]
    id_position: int | None
    cells: int

    def row(self, text: str) -> Row:
        """Raises RowError. An empty cell or ``nan`` is a missing value (NaN)."""
        cells = _cells(text)
        if len(cells) != self.cells:
            raise RowError(f"{len(cells)} cells where the header has {self.cells}")
        values = [
            _number(cells[position], column)
            for column, position in zip(self.columns, self.positions, strict=True)
        ]
        name = cells[self.id_position].strip() if self.id_position is not None else None
        return Row(values=np.array(values, np.float64), id=name or None)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonFormat:
    """``{"values": […]}`` without ``columns``, otherwise one key for each; null is missing (NaN)."""

    columns: tuple[str, ...]
    id_column: str

    def row(self, text: str) -> Row:
        """Raises RowError."""
        return self.of(read_json(text))

    def of(self, record: object) -> Row:
        """The row of an object that is read already. Raises RowError."""
        if not isinstance(record, Mapping):
            raise RowError(f"expected an object, got {_shown(record)}")
        values = [_json_number(value, name) for name, value in self._values(record)]
        name = record.get(self.id_column)
        return Row(values=np.array(values, np.float64), id=None if name is None else str(name))

    def _values(self, record: Mapping[str, Any]) -> Sequence[tuple[str, object]]:
        missing = [name for name in self.columns or ("values",) if name not in record]
        if missing:
            raise RowError(f"no {' and no '.join(map(repr, missing))}")
        if self.columns:
            return [(name, record[name]) for name in self.columns]
        values = record["values"]
        if not isinstance(values, list) or not values:
            raise RowError(f"values: expected a list of numbers, got {_shown(values)}")
        return [(f"values[{index}]", value) for index, value in enumerate(values)]


def read_json(text: str) -> object:
    """Raises RowError."""
    try:
        record: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"no JSON: {error}") from None
    return record


def csv_format(header: str, *, columns: Sequence[str], id_column: str) -> CsvFormat:
    """How to read the records under ``header``: ``columns``, or all but the id when it is empty.

    Raises HeaderError when a column is missing or stands there twice.
    """
    try:
        names = [name.strip() for name in _cells(header)]
    except RowError as error:
        raise HeaderError(f"the header is {error}") from None
    chosen = tuple(columns) or tuple(name for name in names if name != id_column)
    faults = [
        f"column {name!r} {'stands there twice' if name in names else 'is missing'}"
        for name in dict.fromkeys(chosen)
        if names.count(name) != 1
    ]
    if faults or not chosen:
        raise HeaderError(
            f"{'; '.join(faults) or 'no column of values'} (the header has: {', '.join(names)})"
        )
    return CsvFormat(
        columns=chosen,
        positions=tuple(names.index(name) for name in chosen),
        id_position=names.index(id_column) if id_column in names else None,
        cells=len(names),
    )


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise RowError(f"no CSV: {error}") from None


def _number(cell: str, column: str) -> float:
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        # Python would read 1_000 as a thousand.
        value = float(cell) if "_" not in cell else math.inf
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise RowError(f"{column}: expected a finite number, got {_shown(cell)}")
    return value


def _json_number(value: object, name: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or _too_large(value):
        raise RowError(f"{name}: expected a finite number, got {_shown(value)}")
    return float(value)


def _too_large(value: int | float) -> bool:
    try:
        return math.isinf(float(value))
    except OverflowError:
        return True


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 40 else text[:39] + "…"
