"""The labelled photographs of the data pack."""

import csv
from dataclasses import dataclass
from pathlib import Path

from agent.errors import MachineError


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """An encoded picture; ``label`` is the output index of models with 1001 outputs."""

    name: str
    folder: str
    encoded: bytes
    label: int


def photographs(pack: Path, limit: int | None = None) -> tuple[Photograph, ...]:
    """All of them, or ``limit`` spread evenly over the folders. Raises MachineError."""
    try:
        with (pack / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        if limit is not None and limit < len(rows):
            rows = [rows[number * len(rows) // limit] for number in range(limit)]
        return tuple(_photograph(pack, row) for row in rows)
    except (OSError, KeyError, ValueError) as error:
        raise MachineError(f"{pack}: the data pack is incomplete: {error}") from None


def _photograph(pack: Path, row: dict[str, str]) -> Photograph:
    path = Path(row["file"])
    encoded = (pack / "images" / path).read_bytes()
    folder, label = str(path.parent), int(row["output_index_1001"])
    return Photograph(name=path.name, folder=folder, encoded=encoded, label=label)
