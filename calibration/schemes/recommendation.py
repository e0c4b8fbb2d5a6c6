"""Which scheme to take, and why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from calibration.outcomes import Truth
from calibration.schemes.latency import compared, faster, latency, no_slower, on_device
from calibration.schemes.loss import Loss, loss, margin
from calibration.schemes.scheme import Measured
from calibration.schemes.trial import Trial

SAME_SIZE = 0.05
"""Files closer in size than this are equally large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    scheme: str
    why: str


def recommend(rows: Sequence[Measured], trials: Sequence[Trial], truth: Truth) -> Recommendation:
    """Of the schemes whose loss against float32 (``rows[0]``) is estimated within the margin (see
    ``loss``), the fastest; of those about as fast (``ALIKE``) the smallest; of those about as small
    (``SAME_SIZE``) float32 itself, then one scale per channel before one per tensor, then the fewest
    bytes. Losses within the margin are equal, proven or not.

    Latencies are the device's where every row has one, else those measured here.
    """
    device = on_device(rows)
    of = {trial.scheme.name: trial for trial in trials}
    losses = {row.scheme.name: loss(row, of[row.scheme.name], trials[0], truth) for row in compared(rows)}
    good = [row for row in compared(rows) if row is rows[0] or losses[row.scheme.name].bearable]
    fastest = min(latency(row, device) for row in good)
    as_fast = [row for row in good if no_slower(latency(row, device), fastest)]
    smallest = min(row.bytes for row in as_fast)
    alike = [row for row in as_fast if row.bytes <= smallest * (1 + SAME_SIZE)]
    chosen = min(alike, key=lambda row: (row is not rows[0], "per-tensor" in row.scheme.name, row.bytes))
    if chosen is rows[0]:
        why = _why_float(rows, good, losses, truth)
    else:
        why = (
            f"Against float32 {_size(rows[0], chosen)}, {_speed(rows[0], chosen, device)} "
            f"{'on the device' if device else 'here'}, {losses[chosen.scheme.name].words}."
        )
    return Recommendation(scheme=chosen.scheme.name, why=why)


def _why_float(
    rows: Sequence[Measured], good: Sequence[Measured], losses: dict[str, Loss], truth: Truth
) -> str:
    if len(good) > 1:
        return f"No scheme within {margin(truth, rows[0])} is faster, or as fast and smaller."
    others = [row for row in compared(rows) if row is not rows[0]]
    if not others:
        return "Nothing else was made that quantizes anything."
    nearest = min(others, key=lambda row: (losses[row.scheme.name].share, row.bytes))
    return (
        f"No scheme is within {margin(truth, rows[0])}; the nearest is {nearest.scheme.name}: "
        f"{losses[nearest.scheme.name].words}."
    )


def _size(before: Measured, after: Measured) -> str:
    ratio = before.bytes / after.bytes
    if max(ratio, 1 / ratio) <= 1 + SAME_SIZE:
        return "about as large"
    return f"{ratio:.1f} times smaller" if ratio > 1 else f"{1 / ratio:.1f} times larger"


def _speed(before: Measured, after: Measured, device: bool) -> str:
    old, new = latency(before, device), latency(after, device)
    if faster(new, old):
        return f"{old / new:.1f} times faster"
    return f"{new / old:.1f} times slower" if faster(old, new) else "about as fast"
