"""What a scheme costs against float32 on the same inputs, and whether that is bearable. Pure."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.outcomes import Truth, labelled, right
from calibration.paired import paired_points
from calibration.schemes.scheme import Measured
from calibration.schemes.trial import Trial, squared_errors

MARGIN_POINTS = 1.0
"""Accuracy, in points, that a scheme may lose."""
MARGIN_MSE = 0.05
"""The share by which the mean squared error of a scheme may be larger."""
FLIPS_ALLOWED = 0.02
"""Without labels: the share of answers that may differ from float32's."""
_RESAMPLES = 1000
_SEED = 20
_PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """``share``: the estimate in margins, so that 1 is just bearable. ``words``: how much, with its 90 %
    interval and what that says about the margin."""

    share: float
    words: str

    @property
    def bearable(self) -> bool:
        return self.share <= 1


def loss(row: Measured, trial: Trial, baseline: Trial, truth: Truth) -> Loss:
    """Of ``trial`` against ``baseline``, by the labels where there are any, else by flips."""
    if truth.tolerance is not None and row.labelled > 1:
        return _squared_loss(squared_errors(trial.answers, truth), squared_errors(baseline.answers, truth))
    if truth.tolerance is None and row.labelled:
        return _accuracy_loss(trial, baseline, truth)
    return Loss(
        share=row.flips / (FLIPS_ALLOWED * row.inputs),
        words=f"{row.flips} of {row.inputs} answers differ from float32's (there are no labels)",
    )


def margin(truth: Truth, row: Measured) -> str:
    """The margin in words."""
    if truth.tolerance is not None and row.labelled > 1:
        return f"{MARGIN_MSE:.0%} of float32's mean squared error"
    if truth.tolerance is None and row.labelled:
        return f"{MARGIN_POINTS:g} point of float32's accuracy"
    return f"{FLIPS_ALLOWED:.0%} of float32's answers"


def _accuracy_loss(trial: Trial, baseline: Trial, truth: Truth) -> Loss:
    known = labelled(baseline.answers, truth)
    before, after = right(baseline.answers, truth)[known], right(trial.answers, truth)[known]
    lost, gained, n = int((before & ~after).sum()), int((~before & after).sum()), len(before)
    points, low, high = paired_points(lost, gained, n)
    said = _about_margin(-points / MARGIN_POINTS, -low / MARGIN_POINTS, -high / MARGIN_POINTS)
    return Loss(
        share=-points / MARGIN_POINTS,
        words=f"{points:+.1f} points ({low:+.1f} … {high:+.1f}) on {n} inputs{said}",
    )


def _squared_loss(after: NDArray[np.float64], before: NDArray[np.float64]) -> Loss:
    """The change of the mean squared error as a share of float32's; its interval is the percentile
    bootstrap over inputs (B. Efron, "Bootstrap methods: another look at the jackknife", Annals of
    Statistics 7 (1979)), seeded: errors have long tails, and a ratio is not symmetric."""
    n = before.size
    rng = np.random.default_rng(_SEED)
    changes = []
    for _ in range(_RESAMPLES):
        places = rng.integers(0, n, n)
        changes.append(_change(after[places], before[places]))
    low, high = (float(end) for end in np.percentile(changes, _PERCENTILES, method="nearest"))
    change = _change(after, before)
    said = _about_margin(change / MARGIN_MSE, high / MARGIN_MSE, low / MARGIN_MSE)
    return Loss(
        share=change / MARGIN_MSE,
        words=f"its MSE {_percent(change)} ({_percent(low)} … {_percent(high)}) on {n} inputs{said}",
    )


def _change(after: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    own, other = float(before.mean()), float(after.mean())
    if own > 0:
        return other / own - 1
    return math.inf if other > 0 else 0.0


def _percent(change: float) -> str:
    return f"{change:+.1%}" if abs(change) < 10 else f"{change + 1:.3g}-fold"


def _about_margin(share: float, worst: float, best: float) -> str:
    """``worst`` and ``best``: the interval's ends, as shares of the margin like the estimate."""
    if share > 1:
        return ""
    if worst > 1:
        return " (too few to rule out a loss beyond the margin)"
    return " (a proven loss, within the margin)" if best > 0 else ""
