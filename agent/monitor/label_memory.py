"""What of labels outlives a restart: frames that were kept and wait for theirs, and labelled ones; each a
line of JSON, so that a file of them only ever grows at its end."""

import json
import math
from dataclasses import asdict, dataclass, fields, replace

from agent.document import DocumentError, read_json
from agent.monitor.accuracy import Remembered
from agent.structure import StructureProblemsError, structure


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry(Remembered):
    """A remembered prediction, and the true class or value once its label is there. One that was read has no
    ``at``: the stream it was a place in has ended."""

    at: int | None = None
    true_class: int | None = None
    true_value: float | None = None


def entry_of(kept: Remembered, *, true_class: int | None = None, true_value: float | None = None) -> Entry:
    known = {field.name: getattr(kept, field.name) for field in fields(Remembered)}
    return Entry(**known, true_class=true_class, true_value=true_value)


def encode(entry: Entry) -> bytes:
    """One line, with its end. Raises ValueError for what ``decode`` would refuse: a number that is none, a
    name that no message can carry."""
    said = {name: value for name, value in asdict(replace(entry, at=None)).items() if value is not None}
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
    if found.at is not None:
        raise ValueError("unknown key 'at'")
    if min(found.top or 0, found.true_class or 0, found.weight or 0.0) < 0:
        raise ValueError("top, true_class, weight: expected 0 or more")
    return found
