"""Which latency of a row counts, and when two are alike. Pure."""

from collections.abc import Sequence

from calibration.schemes.scheme import Measured

ALIKE = 0.1
"""Times closer than this are no reason to choose: they vary as much from run to run."""


def compared(rows: Sequence[Measured]) -> list[Measured]:
    """Float32 (the first) and what quantizes anything; the rest is float32 again."""
    return [row for i, row in enumerate(rows) if row.quantized or i == 0]


def on_device(rows: Sequence[Measured]) -> bool:
    """Whether a device's latency decides: only where every compared row has one, for a number of this
    machine says nothing beside one of another."""
    return all(row.device_latency_ms is not None for row in compared(rows))


def latency(row: Measured, device: bool) -> float:
    known = row.device_latency_ms if device else None
    return row.latency_ms if known is None else known


def no_slower(one: float, other: float) -> bool:
    return one <= other * (1 + ALIKE)


def faster(one: float, other: float) -> bool:
    return not no_slower(other, one)
