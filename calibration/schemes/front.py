"""Which schemes are worth a look. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from calibration.schemes.latency import compared, faster, latency, no_slower, on_device
from calibration.schemes.scheme import Measure, Measured


def mark_front(rows: Sequence[Measured], measure: Measure) -> tuple[Measured, ...]:
    """``rows`` with ``on_front``: the Pareto front over size, latency and quality. A row is off it when
    another is at least as good in all three and better in one; latencies that are ``ALIKE`` are equal,
    and without labels flips stand for quality. What quantizes nothing is float32 again and never on it
    (but for the first row, float32 itself)."""
    device = on_device(rows)
    costs = {row.scheme.name: _costs(row, measure, device) for row in compared(rows)}
    return tuple(
        replace(
            row,
            on_front=row.scheme.name in costs
            and not any(_dominates(other, costs[row.scheme.name]) for other in costs.values()),
        )
        for row in rows
    )


_Costs = tuple[float, float, float]


def _costs(row: Measured, measure: Measure, device: bool) -> _Costs:
    """Bytes, badness, milliseconds."""
    if row.quality is None:
        badness = float(row.flips)
    else:
        badness = -row.quality if measure == "accuracy" else row.quality
    return float(row.bytes), badness, latency(row, device)


def _dominates(other: _Costs, own: _Costs) -> bool:
    as_good = other[0] <= own[0] and other[1] <= own[1] and no_slower(other[2], own[2])
    return as_good and (other[:2] != own[:2] or faster(other[2], own[2]))
