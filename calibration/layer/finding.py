"""What a look at the layers can find, and the words it is said in."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from calibration.layer.measures import Measure

Kind: TypeAlias = Literal[
    "weights", "scale", "unlike", "per-tensor", "clipped", "constant", "ties", "retrained"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``kind`` for programs, ``sentence`` for people. ``tensors``: positions of the measures it is
    about, each with what is wrong there in a few words."""

    kind: Kind
    sentence: str
    tensors: tuple[tuple[int, str], ...] = ()


def place(measure: Measure) -> str:
    """A tensor in a sentence: its operator and name, of names that a converter joined the first."""
    return f"{measure.pair.op} '{measure.name.split(';')[0]}'"


def ranges(measure: Measure) -> str:
    low, high = measure.calibrated or (0.0, 0.0)
    return f"calibrated {in_range(low, high)}, seen {in_range(*measure.seen)}"


def in_range(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def times(factor: float) -> str:
    return f"{factor:.1f}×" if factor < 10 else f"{min(factor, 1e6):.0f}×"


def decibels(measure: Measure) -> str:
    return "no measurable noise" if measure.snr_db is None else f"{measure.snr_db:.0f} dB"


def others(count: int) -> str:
    return f", and {count} more tensor{'s' if count > 1 else ''}" if count else ""
