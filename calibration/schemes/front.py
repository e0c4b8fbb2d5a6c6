"""Which schemes are worth a look, and which one to take. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from calibration.schemes.scheme import Measure, Measured


def mark_front(rows: Sequence[Measured], measure: Measure) -> tuple[Measured, ...]:
    """``rows`` with ``on_front``: the Pareto front over size, latency and quality. A row is off it when
    another is at least as good in all three and better in one; without labels, flips stand for quality.
    What quantizes nothing is float32 again and never on it (but for the first row, float32 itself)."""
    rivals = [row for i, row in enumerate(rows) if row.quantized or i == 0]
    costs = {row.scheme.name: _costs(row, measure) for row in rivals}
    return tuple(
        replace(
            row,
            on_front=row.scheme.name in costs
            and not any(_dominates(other, costs[row.scheme.name]) for other in costs.values()),
        )
        for row in rows
    )


def _costs(row: Measured, measure: Measure) -> tuple[float, float, float]:
    if row.quality is None:
        badness = float(row.flips)
    else:
        badness = -row.quality if measure == "accuracy" else row.quality
    latency = row.device_latency_ms if row.device_latency_ms is not None else row.latency_ms
    return float(row.bytes), latency, badness


def _dominates(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(other, own, strict=True)) and other != own
