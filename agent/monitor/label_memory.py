"""What of labels outlives a restart: frames that were kept and wait for theirs, and labelled ones; each a
line of JSON, so that a file of them only ever grows at its end."""

import json
import math
from dataclasses import asdict, dataclass

from agent.document import DocumentError, read_json
from agent.monitor.accuracy import Remembered
from agent.structure import StructureProblemsError, structure


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A remembered prediction (``Remembered`` without its place in a stream that has ended), and the true
    class or value once its label is there."""

    frame: str
    name: str
    top: int | None = None
    score: float = 0.0
    value: float | None = None
    auxiliary: float = 0.0
    weight: float | None = None
    true_class: int | None = None
    true_value: float | None = None

    @property
    def remembered(self) -> Remembered:
        return Remembered(
            frame=self.frame,
            name=self.name,
            top=self.top,
            score=self.score,
            value=self.value,
            auxiliary=self.auxiliary,
            at=None,
            weight=self.weight,
        )


def entry_of(kept: Remembered, *, true_class: int | None = None, true_value: float | None = None) -> Entry:
    return Entry(
        frame=kept.frame,
        name=kept.name,
        top=kept.top,
        score=kept.score,
        value=kept.value,
        auxiliary=kept.auxiliary,
        weight=kept.weight,
        true_class=true_class,
        true_value=true_value,
    )


def encode(entry: Entry) -> bytes:
    """One line, with its end. Raises ValueError for what ``decode`` would refuse: a number that is none, a
    name that no message can carry."""
    said = {name: value for name, value in asdict(entry).items() if value is not None}
    line = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    decode(line)
    return line + b"\n"


def decode(line: bytes) -> Entry:
    """Raises ValueError for anything that ``encode`` does not write."""
    try:
        found = structure(read_json(line), Entry)
    except (DocumentError, StructureProblemsError) as error:
        raise ValueError(str(error)) from None
    numbers = (found.score, found.auxiliary, found.value, found.weight, found.true_value)
    if not all(math.isfinite(number or 0.0) for number in numbers):
        raise ValueError("expected finite numbers")
    if min(found.top or 0, found.true_class or 0, found.weight or 0.0) < 0:
        raise ValueError("top, true_class, weight: expected 0 or more")
    return found
